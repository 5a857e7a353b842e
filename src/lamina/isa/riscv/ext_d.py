"""D: double-precision floating point (RISC-V unprivileged specification, chapter "D").

The instructions' meanings are in `fp_insns`, once for all formats.
"""

from lamina.isa.riscv import fp_insns
from lamina.isa.riscv.fp import D, S
from lamina.isa.riscv.hart import RV64

insn = RV64.extension("D")

fp_insns.declare_memory(insn, D)
fp_insns.declare_moves(insn, D)
fp_insns.declare_arithmetic(insn, D)
fp_insns.declare_bits(insn, D)
fp_insns.declare_integer_conversions(insn, D)
fp_insns.declare_conversion(insn, S, D)
fp_insns.declare_conversion(insn, D, S)
