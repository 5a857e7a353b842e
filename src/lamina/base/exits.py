"""Why an engine hands a vCPU back to the machine: a closed set."""

from enum import IntEnum


class Exit(IntEnum):
    """The state is exact at each of these; `pc` is the next instruction."""

    LIMIT = 1  # the instruction budget is used up
    REQUEST = 2  # somebody asked the vCPU to come out (stop, pause, a posted event)
    IDLE = 3  # the guest waits for an interrupt (wfi)
    HYPERCALL = 4  # a call to the hypervisor; pc is behind the calling instruction
    STUCK = 5  # the trap vector itself cannot be fetched: the vCPU would trap for ever
    BREAKPOINT = 6  # the machine's breakpoint at pc
    TRAP = 7  # a trap was taken and the machine watches traps
