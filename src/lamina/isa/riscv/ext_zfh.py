"""Zfh and Zfhmin: half-precision floating point (RISC-V unprivileged specification, "Zfh").

Zfhmin is the part that stores and converts; Zfh adds arithmetic. The instructions' meanings are
in `fp_insns`, once for all formats.
"""

from lamina.isa.riscv import fp_insns
from lamina.isa.riscv.fp import D, H, S
from lamina.isa.riscv.hart import RV64

minimal = RV64.extension("Zfhmin")

fp_insns.declare_memory(minimal, H)
fp_insns.declare_moves(minimal, H)
for wide in (S, D):
    fp_insns.declare_conversion(minimal, wide, H)
    fp_insns.declare_conversion(minimal, H, wide)

insn = RV64.extension("Zfh")

fp_insns.declare_arithmetic(insn, H)
fp_insns.declare_bits(insn, H)
fp_insns.declare_integer_conversions(insn, H)
