"""F: single-precision floating point (RISC-V unprivileged specification, chapter "F").

The instructions' meanings are in `fp_insns`, once for all formats.
"""

from lamina.isa.riscv import fp_insns
from lamina.isa.riscv.fp import S
from lamina.isa.riscv.hart import RV64

insn = RV64.extension("F")

fp_insns.declare_memory(insn, S)
fp_insns.declare_moves(insn, S)
fp_insns.declare_arithmetic(insn, S)
fp_insns.declare_bits(insn, S)
fp_insns.declare_integer_conversions(insn, S)
