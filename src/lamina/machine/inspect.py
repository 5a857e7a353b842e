"""Looking at a machine without disturbing it: address translation for debuggers.

The architecture's own translate routine is evaluated against a host that reads state and page
tables and changes neither.
"""

from typing import cast

from lamina.base.bits import U64
from lamina.bus.space import AddressSpace
from lamina.engine.vcpu import VCpu
from lamina.ir.evaluate import Evaluator, Host, Leave
from lamina.isa.arch import FETCH, READ
from lamina.isa.disasm import Disassembler
from lamina.isa.riscv.dialect import dialect


class Onlooker:
    """A Host (of `ir.evaluate`) of which only the reading half exists."""

    def __init__(self, vcpu: VCpu, space: AddressSpace) -> None:
        self._vcpu = vcpu
        self._space = space

    def get(self, slot: str) -> int:
        return self._vcpu.get(slot)

    def reg_get(self, file: str, index: int) -> int:
        return self._vcpu.reg(file, index)

    def phys_load(self, gpa: int, size: int) -> tuple[int, int]:
        if self._space.find_ram(gpa, size) is None:
            return 0, 0
        return int.from_bytes(self._space.read(gpa, size), "little"), 1

    def phys_cas(self, gpa: int, expected: int, new: int, size: int) -> tuple[int, int]:
        """Accessed and dirty bits are not set on behalf of an onlooker."""
        return expected, 1

    def trap(self, cause: int, tval: int) -> None:
        raise Leave


def translate(vcpu: VCpu, space: AddressSpace, gva: int, access: int = READ) -> int | None:
    """The guest-physical address that the vCPU would access now, or None if it would fault."""
    routine = Evaluator(vcpu.arch.routines["translate"])
    try:
        return routine(cast(Host, Onlooker(vcpu, space)), gva & U64, access, 1)[0]
    except Leave:
        return None


def fetch(vcpu: VCpu, space: AddressSpace, pc: int) -> tuple[int, int] | None:
    """(bits, bytes) of the instruction at a virtual address, or None if it cannot be fetched."""
    bits, length = 0, 2
    for at in (0, 2):
        gpa = translate(vcpu, space, pc + at, FETCH)
        if gpa is None or space.find_ram(gpa, 2) is None:
            return None
        bits |= space.read_u16(gpa) << 8 * at
        length = vcpu.arch.insn_length(bits & 0xFFFF)
        if length == 2:
            break
    return bits, length


def disassemble(vcpu: VCpu, space: AddressSpace, pc: int, count: int) -> list[str]:
    """Up to `count` instructions from a virtual address on: address, bits, text."""
    disassembler = Disassembler(vcpu.arch.table, dialect())
    lines = []
    for _ in range(count):
        found = fetch(vcpu, space, pc)
        if found is None:
            break
        bits, length = found
        text = disassembler.text(bits, length, pc)
        lines.append(f"{pc:#018x}  {f'{bits:0{2 * length}x}':8}  {text}")
        pc = pc + length & U64
    return lines
