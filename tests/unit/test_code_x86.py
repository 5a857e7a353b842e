"""Where the parts of x86-64 instructions stand, against encodings from the SDM."""

import pytest

from lamina.base.errors import CodeError
from lamina.engine.code.x86 import instructions, registers


@pytest.mark.parametrize(
    ("code", "modrm", "displacement", "immediate", "jump"),
    [
        ("c3", 0, 0, 0, 0),  # ret
        ("498b4588", 2, 3, 0, 0),  # mov rax, [r13-120]
        ("498b8588000000", 2, 3, 0, 0),  # mov rax, [r13+136]
        ("498b442410", 2, 4, 0, 0),  # mov rax, [r12+16]: with a SIB byte
        ("4c8b2c2500100000", 2, 4, 0, 0),  # mov r13, [0x1000]: a SIB byte without a base
        ("4863042a", 2, 0, 0, 0),  # movsxd rax, [rdx+rbp]
        ("488d0d00100000", 2, 3, 0, 0),  # lea rcx, [rip+0x1000]
        ("48b88877665544332211", 0, 0, 2, 0),  # mov rax, imm64
        ("b844332211", 0, 0, 1, 0),  # mov eax, imm32
        ("66b82211", 0, 0, 2, 0),  # mov ax, imm16
        ("49814588ff030000", 2, 3, 4, 0),  # add qword [r13-120], imm32
        ("4981858800000011223344", 2, 3, 7, 0),  # the same with 32 bits of displacement
        ("66c7450011aa", 2, 3, 4, 0),  # mov word [rbp], imm16
        ("f6c101", 1, 0, 2, 0),  # test cl, 1
        ("f7d8", 1, 0, 0, 0),  # neg eax
        ("0f8511223344", 0, 0, 0, 2),  # jne, far
        ("7505", 0, 0, 0, 1),  # jne, near
        ("e911223344", 0, 0, 0, 1),  # jmp
        ("ffe1", 1, 0, 0, 0),  # jmp rcx
        ("0fb64500", 2, 3, 0, 0),  # movzx eax, byte [rbp]
        ("480fbae005", 3, 0, 4, 0),  # bt rax, 5
        ("660f3a0bc104", 4, 0, 5, 0),  # roundsd
        ("f20f1085aa000000", 3, 4, 0, 0),  # movsd xmm0, [rbp+170]
        ("c4e2f9f7450a", 4, 5, 0, 0),  # shlx rax, [rbp+10], rax
        ("c4e37bf045001f", 4, 5, 6, 0),  # rorx eax, [rbp], 31
        ("c5fb1045aa", 3, 4, 0, 0),  # vmovsd xmm0, [rbp-86]
    ],
)
def test_parts(code: str, modrm: int, displacement: int, immediate: int, jump: int) -> None:
    both = bytes.fromhex("90" + code + "c3")
    _, one, after = list(instructions(both))
    assert (one.start, one.end, after.end) == (1, 1 + len(code) // 2, len(both))
    due = [at + 1 if at else 0 for at in (modrm, displacement, immediate, jump)]
    assert [one.modrm, one.displacement, one.immediate, one.jump] == due
    assert not one.scaled


@pytest.mark.parametrize(
    ("code", "numbers"),
    [
        ("4f8d1c08", [11, 8, 9]),  # lea r11, [r8+r9]
        ("4d8b9c3000000000", [11, 8, 6]),  # mov r11, [r8+rsi+0]
        ("4d8945f8", [8, 13]),  # mov [r13-8], r8
        ("49894c2410", [1, 12]),  # mov [r12+16], rcx: no index
        ("488d0d00100000", [1]),  # lea rcx, [rip+0x1000]
        ("4c8b2c2500100000", [13]),  # mov r13, [0x1000]
        ("49c1e303", [11]),  # shl r11, 3: a part of the opcode is no register
        ("49f7d8", [8]),  # neg r8
        ("41bb01000000", [11]),  # mov r11d, 1
        ("50", [0]),  # push rax
        ("4990", [8]),  # xchg r8, rax
        ("90", []),  # nop
        ("4d0fb6d8", [11, 8]),  # movzx r11, r8b
        ("410f95c3", [11]),  # setne r11b
        ("490fbae805", [8]),  # bts r8, 5
        ("490fc8", [8]),  # bswap r8
        ("c442b9f7d9", [8, 11, 9]),  # shlx r11, r9, r8
        ("c4c2b8f3c8", [8, 8]),  # blsr r8, r8
        ("c443fbf0d81f", [11, 8]),  # rorx r11, r8, 31
        ("f24d0f2cd8", [11]),  # cvttsd2si r11, xmm8
        ("f24d0f2ac0", [8]),  # cvtsi2sd xmm8, r8
        ("664d0f6ec0", [8]),  # movq xmm8, r8
        ("f3450f7ec1", []),  # movq xmm8, xmm9
        ("f2450f58c1", []),  # addsd xmm8, xmm9
        ("f2470f100408", [8, 9]),  # movsd xmm8, [r8+r9]
        ("c4413b58c1", []),  # vaddsd xmm8, xmm8, xmm9
        ("c4017b100408", [8, 9]),  # vmovsd xmm8, [r8+r9]
    ],
)
def test_registers(code: str, numbers: list[int]) -> None:
    both = bytes.fromhex("90" + code)
    _, one = list(instructions(both))
    assert [field.number for field in registers(both, one)] == numbers


def test_registers_are_exchanged_bit_by_bit() -> None:
    code = bytearray.fromhex("c442b9f7d9")  # shlx r11, r9, r8
    (one,) = instructions(bytes(code))
    for field in registers(bytes(code), one):
        other = field.number ^ {8: 15, 9: 3, 11: 10}[field.number]
        code[field.offset] ^= (other & 7) << field.shift
        code[field.high_offset] ^= (other >> 3) << field.high_shift
    assert code.hex() == "c46281f7d3"  # shlx r10, rbx, r15


def test_displacements_of_evex_are_scaled() -> None:
    (one,) = instructions(bytes.fromhex("62f1fd4828450a"))  # vmovapd zmm0, [rbp+640]
    assert one.scaled
    assert (one.modrm, one.displacement, one.end) == (5, 6, 7)


@pytest.mark.parametrize("code", ["06", "0f", "48", "498b85aa00", "62", "48b800", "e9"])
def test_what_is_unknown_or_cut_off_is_refused(code: str) -> None:
    with pytest.raises(CodeError):
        list(instructions(bytes.fromhex(code)))
