"""A machine for the SBI's tests: real vCPUs, a little RAM, and a record of what the SBI asked for.

It runs no guest: tests put a call into a hart's registers and look at what came of it.
"""

from lamina.base.bits import U64
from lamina.base.errors import BusError
from lamina.engine.vcpu import VCpu
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.fields import SSIP
from lamina.machine.sbi import Sbi

RAM = 0x8000_0000
RAM_SIZE = 0x4_0000
RAM_END = RAM + RAM_SIZE
PAGE_TABLE_OFFSET = 0xFFFF_FFC0_0000_0000  # what the fake's translation adds to a GPA
ALL = U64


def negative(number):
    """A number below zero as a register holds it."""
    return number & U64


class FakeHost:
    """SbiHost whose effects are lists and dicts to look at."""

    def __init__(self, harts=4):
        self.harts = harts
        self.vcpus = [VCpu(RISCV64, n) for n in range(harts)]
        self.ram = bytearray(RAM_SIZE)
        self.log = []  # (name, arguments...) in order
        self.timers = {}
        self.printed = b""
        self.typed = b""
        self.steal = 0
        self.on_restart = lambda: None
        for n, vcpu in enumerate(self.vcpus):
            vcpu.reset(hart_id=n, paravirtual=True)

    def vcpu(self, hart):
        return self.vcpus[hart]

    def restart(self, hart, pc, a0, a1):
        self.log.append(("restart", hart, pc, a0, a1))
        self.vcpus[hart].reset(hart_id=hart, pc=pc, paravirtual=True)
        self.vcpus[hart].set_reg("x", 10, a0)
        self.vcpus[hart].set_reg("x", 11, a1)
        self.on_restart()

    def kick(self, hart):
        self.log.append(("kick", hart))

    def raise_software(self, hart):
        self.log.append(("raise", hart))
        self.vcpus[hart].set("mip_soft", self.vcpus[hart].get("mip_soft") | SSIP)

    def clear_software(self, hart):
        self.vcpus[hart].set("mip_soft", self.vcpus[hart].get("mip_soft") & ~SSIP)

    def fence(self, harts, tlb, icache):
        self.log.append(("fence", harts, tlb, icache))

    def arm_timer(self, hart, deadline):
        self.timers[hart] = deadline

    def ticks(self):
        return 0

    def steal_ns(self, hart):
        return self.steal

    def shutdown(self, request):
        self.log.append(("shutdown", request))

    def console_write(self, text):
        self.printed += text

    def console_read(self, limit):
        text, self.typed = self.typed[:limit], self.typed[limit:]
        return text

    def _span(self, gpa, length):
        if not RAM <= gpa <= gpa + length <= RAM_END:
            raise BusError(f"no RAM at {gpa:#x}")
        return slice(gpa - RAM, gpa - RAM + length)

    def read(self, gpa, length):
        return bytes(self.ram[self._span(gpa, length)])

    def write(self, gpa, data):
        self.ram[self._span(gpa, len(data))] = data

    def translate(self, hart, gva):
        gpa = gva - PAGE_TABLE_OFFSET
        return gpa if gpa >= 0 else None


class Bench:
    """An Sbi on a FakeHost, called by the numbers of extension and function."""

    def __init__(self, harts=4):
        self.host = FakeHost(harts)
        self.sbi = Sbi(self.host)

    def request(self, hart, eid, fid, *args):
        """Make a call and leave the registers to look at."""
        vcpu = self.host.vcpus[hart]
        for n in range(6):
            vcpu.set_reg("x", 10 + n, args[n] if n < len(args) else 0x5A5A_0000 + n)
        vcpu.set_reg("x", 16, fid)
        vcpu.set_reg("x", 17, eid)
        self.sbi.call(hart)

    def result(self, hart=0):
        """(error, value); the error as a signed number."""
        error = self.host.vcpus[hart].reg("x", 10)
        return error - (error >> 63 << 64), self.host.vcpus[hart].reg("x", 11)

    def call(self, eid, fid, *args, hart=0):
        self.request(hart, eid, fid, *args)
        return self.result(hart)

    def start(self, hart, pc=RAM, opaque=0):
        assert self.call(0x48534D, 0, hart, pc, opaque) == (0, 0)

    def logged(self, name):
        return [entry[1:] for entry in self.host.log if entry[0] == name]
