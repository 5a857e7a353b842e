"""The RISC-V builder: what instruction bodies are written against, and the state of a hart.

`h.x[rd]`, `h.f[fd]` are the register files, `h.csr.mstatus` a CSR's backing slot. The table of all
instructions is `RV64`; each extension's file adds its own.
"""

from typing import Any

from lamina.ir.build import Builder, Operand, Val
from lamina.isa.arch import RegFile
from lamina.isa.insn import InsnTable


class _File:
    """A register file seen from an instruction body: `h.x[rs1]`, `h.x[rd] = value`."""

    def __init__(self, h: Builder, name: str) -> None:
        self._h = h
        self._name = name

    def __getitem__(self, index: Operand) -> Val:
        return self._h.reg(self._name, index)

    def __setitem__(self, index: Operand, value: Operand) -> None:
        self._h.set_reg(self._name, index, value)


class _Slots:
    """State slots as attributes: `h.s.mstatus`, `h.s.mstatus = value`."""

    def __init__(self, h: Builder) -> None:
        object.__setattr__(self, "_h", h)

    def __getattr__(self, name: str) -> Val:
        h: Builder = object.__getattribute__(self, "_h")
        return h.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        h: Builder = object.__getattribute__(self, "_h")
        h.set(name, value)


class Hart(Builder):
    """Captures the meaning of a RISC-V instruction or routine."""

    def __init__(self, name: str, params: tuple[int, ...] = ()) -> None:
        super().__init__(name, params)
        self.x = _File(self, "x")
        self.f = _File(self, "f")
        self.s = _Slots(self)

    def illegal(self) -> None:
        """Raise an illegal-instruction exception; tval is the instruction itself."""
        self.trap(2, self.operand("insn"))


RV64 = InsnTable(Hart)
FILES = [
    RegFile("x", 32, zero=True, prefix="x"),
    RegFile("f", 32, prefix="f", floating=True),
    RegFile("pmpaddr", 16),
]
