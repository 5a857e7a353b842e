"""What the SBI needs of the machine around it.

The Machine provides it; tests provide a fake. Every method may be called from the host thread of
any vCPU, several at a time, and the SBI holds no lock of its own while it calls one.
"""

from typing import Protocol

from lamina.devices.finisher import ShutdownRequest
from lamina.engine.vcpu import VCpu


class SbiHost(Protocol):
    """The Machine's side. Harts are numbered 0 .. harts-1, and a number is its hart ID."""

    @property
    def harts(self) -> int:
        """How many there are; at least one."""

    def vcpu(self, hart: int) -> VCpu:
        """The registers of a hart. The SBI touches only those of the hart that calls."""

    # -- other harts -------------------------------------------------------------------------
    def restart(self, hart: int, pc: int, a0: int, a1: int) -> None:
        """Reset a hart to supervisor mode at `pc`: satp 0, SIE 0, nothing cached or pending.

        The hart is not runnable while this is under way; `kick` follows once it is.
        """

    def kick(self, hart: int) -> None:
        """Have a hart's thread look again at whether it is runnable, and at its interrupts."""

    def raise_software(self, hart: int) -> None:
        """Set the hart's SSIP and kick it."""

    def clear_software(self, hart: int) -> None:
        """Clear the hart's SSIP, atomically against `raise_software`."""

    def fence(self, harts: list[int], tlb: bool, icache: bool) -> None:
        """Have harts drop translations, decoded instructions or both; returns when all have.

        The caller may be among them. A hart that is outside of guest code (asleep, or in a call
        like this one) counts as done as soon as it must fence before its next instruction: two
        harts that fence each other must not wait for ever.
        """

    # -- time --------------------------------------------------------------------------------
    def arm_timer(self, hart: int, deadline: int) -> None:
        """Set stimecmp to `deadline` in timebase ticks; all ones is never."""

    def ticks(self) -> int:
        """The timebase now."""

    def steal_ns(self, hart: int) -> int:
        """Host time in ns, since the machine was made, in which the hart could not run though
        it wanted to."""

    # -- outside -----------------------------------------------------------------------------
    def shutdown(self, request: ShutdownRequest) -> None:
        """The guest wants to stop; may return, the calling hart does not run on."""

    def console_write(self, text: bytes) -> None:
        """Print on the debug console; takes all of it."""

    def console_read(self, limit: int) -> bytes:
        """At most `limit` bytes of input that is already there; does not wait."""

    # -- memory ------------------------------------------------------------------------------
    def read(self, gpa: int, length: int) -> bytes:
        """A copy of guest RAM; BusError unless all of it is RAM."""

    def write(self, gpa: int, data: bytes) -> None:
        """Store to guest RAM; BusError, and nothing stored, unless all of it is RAM."""

    def translate(self, hart: int, gva: int) -> int | None:
        """Where the hart would read `gva` now, in supervisor mode; None where it would trap."""
