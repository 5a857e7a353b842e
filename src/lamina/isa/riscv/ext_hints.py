"""Zihintpause, Zihintntl, Zicbop, FENCE.TSO: names for encodings that other forms execute.

PAUSE and FENCE.TSO are FENCEs, the NTL hints are ADDs to x0, the prefetches are ORIs to x0: the
decoder knows nothing of them. The assembler and the disassembler look here first.
"""

from lamina.isa.encoding import Encoding, parse

HINTS: list[tuple[str, Encoding]] = [
    (syntax, parse(pattern))
    for syntax, pattern in (
        ("pause", "0000 0001 0000 00000 000 00000 0001111"),
        ("fence.tso", "1000 0011 0011 00000 000 00000 0001111"),
        ("ntl.p1", "0000000 00010 00000 000 00000 0110011"),
        ("ntl.pall", "0000000 00011 00000 000 00000 0110011"),
        ("ntl.s1", "0000000 00100 00000 000 00000 0110011"),
        ("ntl.all", "0000000 00101 00000 000 00000 0110011"),
        ("c.ntl.p1", "100 1 00000 00010 10"),
        ("c.ntl.pall", "100 1 00000 00011 10"),
        ("c.ntl.s1", "100 1 00000 00100 10"),
        ("c.ntl.all", "100 1 00000 00101 10"),
        ("prefetch.i imm(rs1)", "imm[11:5] 00000 rs1 110 00000 0010011"),
        ("prefetch.r imm(rs1)", "imm[11:5] 00001 rs1 110 00000 0010011"),
        ("prefetch.w imm(rs1)", "imm[11:5] 00011 rs1 110 00000 0010011"),
    )
]
