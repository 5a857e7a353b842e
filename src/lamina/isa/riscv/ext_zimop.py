"""Zimop, Zcmop: may-be-operations, room that later extensions give a meaning.

Unprivileged specification, chapters "Zimop" and "Zcmop". Without such an extension, those of 32
bits write zero to rd and those of 16 bits do nothing; none reads its source registers.
"""

from lamina.isa.riscv.hart import RV64

expand = RV64.expansions("Zimop")


def _bits(number: int, high: int, low: int) -> str:
    width = high - low + 1
    return f"{number >> low & ((1 << width) - 1):0{width}b}"


for _n in range(32):
    _pattern = f"1 {_bits(_n, 4, 4)} 00 {_bits(_n, 3, 2)} 0111 {_bits(_n, 1, 0)} rs1 100 rd 1110011"
    expand(f"mop.r.{_n} rd, rs1", _pattern, "addi rd, 0, 0")
for _n in range(8):
    _pattern = f"1 {_bits(_n, 2, 2)} 00 {_bits(_n, 1, 0)} 1 rs2 rs1 100 rd 1110011"
    expand(f"mop.rr.{_n} rd, rs1, rs2", _pattern, "addi rd, 0, 0")

expand = RV64.expansions("Zcmop")
for _n in range(1, 16, 2):
    expand(f"c.mop.{_n}", f"011 0 0 {_bits(_n, 3, 1)} 1 00000 01", "addi 0, 0, 0")
