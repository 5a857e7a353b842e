# Ends at once with status 7: shows that a guest's exit status reaches the host.
.include "machine.inc"

        .text
        .globl  _start
_start: park_other_harts
        finish  (7 << 16) | FINISHER_FAIL
