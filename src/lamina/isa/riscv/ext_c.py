"""C, Zcb: 16-bit forms of common instructions, as what they expand to.

Unprivileged specification, chapters "C" and "Zc*", for RV64 (no C.JAL, C.FLW). Encodings that the
manual calls reserved match no form and are illegal; those that it calls hints are forms that write
x0 or change nothing. Numbers in a target are register numbers or immediates: 1 is ra, 2 is sp.
"""

from lamina.isa.riscv.hart import RV64

expand = RV64.expansions("C")

# Quadrant 0
expand("c.addi4spn rd, sp, uimm", "000 uimm[5:4|9:6|2|3]!=0 rd' 00", "addi rd, 2, uimm")
expand("c.fld fd, uimm(rs1)", "001 uimm[5:3] rs1' uimm[7:6] fd' 00", "fld fd, uimm(rs1)")
expand("c.lw rd, uimm(rs1)", "010 uimm[5:3] rs1' uimm[2|6] rd' 00", "lw rd, uimm(rs1)")
expand("c.ld rd, uimm(rs1)", "011 uimm[5:3] rs1' uimm[7:6] rd' 00", "ld rd, uimm(rs1)")
expand("c.fsd fs2, uimm(rs1)", "101 uimm[5:3] rs1' uimm[7:6] fs2' 00", "fsd fs2, uimm(rs1)")
expand("c.sw rs2, uimm(rs1)", "110 uimm[5:3] rs1' uimm[2|6] rs2' 00", "sw rs2, uimm(rs1)")
expand("c.sd rs2, uimm(rs1)", "111 uimm[5:3] rs1' uimm[7:6] rs2' 00", "sd rs2, uimm(rs1)")

# Quadrant 1
expand("c.nop", "000 0 00000 00000 01", "addi 0, 0, 0")
expand("c.nop imm", "000 imm[5] 00000 imm[4:0]!=0 01", "addi 0, 0, imm")
expand("c.addi rd, imm", "000 imm[5] rd!=0 imm[4:0] 01", "addi rd, rd, imm")
expand("c.addiw rd, imm", "001 imm[5] rd!=0 imm[4:0] 01", "addiw rd, rd, imm")
expand("c.li rd, imm", "010 imm[5] rd imm[4:0] 01", "addi rd, 0, imm")
expand("c.addi16sp sp, imm", "011 imm[9] 00010 imm[4|6|8:7|5]!=0 01", "addi 2, 2, imm")
expand("c.lui rd, imm", "011 imm[17] rd!=2 imm[16:12]!=0 01", "lui rd, imm")
expand("c.srli rd, shamt", "100 shamt[5] 00 rd' shamt[4:0] 01", "srli rd, rd, shamt")
expand("c.srai rd, shamt", "100 shamt[5] 01 rd' shamt[4:0] 01", "srai rd, rd, shamt")
expand("c.andi rd, imm", "100 imm[5] 10 rd' imm[4:0] 01", "andi rd, rd, imm")
expand("c.sub rd, rs2", "100 0 11 rd' 00 rs2' 01", "sub rd, rd, rs2")
expand("c.xor rd, rs2", "100 0 11 rd' 01 rs2' 01", "xor rd, rd, rs2")
expand("c.or rd, rs2", "100 0 11 rd' 10 rs2' 01", "or rd, rd, rs2")
expand("c.and rd, rs2", "100 0 11 rd' 11 rs2' 01", "and rd, rd, rs2")
expand("c.subw rd, rs2", "100 1 11 rd' 00 rs2' 01", "subw rd, rd, rs2")
expand("c.addw rd, rs2", "100 1 11 rd' 01 rs2' 01", "addw rd, rd, rs2")
expand("c.j offset", "101 offset[11|4|9:8|10|6|7|3:1|5] 01", "jal 0, offset")
expand("c.beqz rs1, offset", "110 offset[8|4:3] rs1' offset[7:6|2:1|5] 01", "beq rs1, 0, offset")
expand("c.bnez rs1, offset", "111 offset[8|4:3] rs1' offset[7:6|2:1|5] 01", "bne rs1, 0, offset")

# Quadrant 2
expand("c.slli rd, shamt", "000 shamt[5] rd shamt[4:0] 10", "slli rd, rd, shamt")
expand("c.fldsp fd, uimm(sp)", "001 uimm[5] fd uimm[4:3|8:6] 10", "fld fd, uimm(2)")
expand("c.lwsp rd, uimm(sp)", "010 uimm[5] rd!=0 uimm[4:2|7:6] 10", "lw rd, uimm(2)")
expand("c.ldsp rd, uimm(sp)", "011 uimm[5] rd!=0 uimm[4:3|8:6] 10", "ld rd, uimm(2)")
expand("c.jr rs1", "100 0 rs1!=0 00000 10", "jalr 0, 0(rs1)")
expand("c.mv rd, rs2", "100 0 rd rs2!=0 10", "add rd, 0, rs2")
expand("c.ebreak", "100 1 00000 00000 10", "ebreak")
expand("c.jalr rs1", "100 1 rs1!=0 00000 10", "jalr 1, 0(rs1)")
expand("c.add rd, rs2", "100 1 rd rs2!=0 10", "add rd, rd, rs2")
expand("c.fsdsp fs2, uimm(sp)", "101 uimm[5:3|8:6] fs2 10", "fsd fs2, uimm(2)")
expand("c.swsp rs2, uimm(sp)", "110 uimm[5:2|7:6] rs2 10", "sw rs2, uimm(2)")
expand("c.sdsp rs2, uimm(sp)", "111 uimm[5:3|8:6] rs2 10", "sd rs2, uimm(2)")

# Zcb
expand = RV64.expansions("Zcb")
expand("c.lbu rd, uimm(rs1)", "100 000 rs1' uimm[0|1] rd' 00", "lbu rd, uimm(rs1)")
expand("c.lhu rd, uimm(rs1)", "100 001 rs1' 0 uimm[1] rd' 00", "lhu rd, uimm(rs1)")
expand("c.lh rd, uimm(rs1)", "100 001 rs1' 1 uimm[1] rd' 00", "lh rd, uimm(rs1)")
expand("c.sb rs2, uimm(rs1)", "100 010 rs1' uimm[0|1] rs2' 00", "sb rs2, uimm(rs1)")
expand("c.sh rs2, uimm(rs1)", "100 011 rs1' 0 uimm[1] rs2' 00", "sh rs2, uimm(rs1)")
expand("c.mul rd, rs2", "100 1 11 rd' 10 rs2' 01", "mul rd, rd, rs2")
expand("c.zext.b rd", "100 1 11 rd' 11 000 01", "andi rd, rd, 255")
expand("c.sext.b rd", "100 1 11 rd' 11 001 01", "sext.b rd, rd")
expand("c.zext.h rd", "100 1 11 rd' 11 010 01", "zext.h rd, rd")
expand("c.sext.h rd", "100 1 11 rd' 11 011 01", "sext.h rd, rd")
expand("c.zext.w rd", "100 1 11 rd' 11 100 01", "add.uw rd, rd, 0")
expand("c.not rd", "100 1 11 rd' 11 101 01", "xori rd, rd, -1")
