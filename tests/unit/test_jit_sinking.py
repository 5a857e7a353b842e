"""What a pass of a loop computes that can be computed when it is over."""

import pytest
from regions import decoded

from lamina.engine.jit.sinking import sinkable


def sunk(body: str, first: int = 99) -> list[str]:
    """Of instructions, one a line, those that can be sunk."""
    lines = [line.strip() for line in body.strip().splitlines()]
    members = [decoded(line) for line in lines]
    return [lines[i] for i in sinkable(members, min(first, len(members)))]


def test_the_bytes_of_a_word() -> None:
    body = "ld a5, 0(a1)\n srli a4, a5, 8\n sb a4, 1(a0)\n addi a1, a1, 8"
    assert sunk(body) == ["srli a4, a5, 8"]


def test_what_depends_on_what_is_sunk() -> None:
    body = "ld a5, 0(a1)\n srliw a4, a5, 7\n slliw a3, a5, 25\n or a2, a3, a4\n sw a2, 0(a0)"
    assert sunk(body) == ["srliw a4, a5, 7", "slliw a3, a5, 25", "or a2, a3, a4"]


@pytest.mark.parametrize(
    "body",
    [
        "addi a1, a1, 8",  # of itself
        "add a4, a5, a6\n addi a5, a5, 1",  # what it reads is written later
        "add a4, a5, a6\n ld a4, 0(a1)",  # what it writes is written later
        "ld a4, 0(a1)\n add a4, a5, a6",  # or was
        "ld a4, 0(a1)",
        "sd a4, 0(a1)",
        "amoadd.d a4, a5, (a1)",
        "fadd.d fa0, fa1, fa2",  # flags
        "auipc a4, 0",  # the pc
        "bnez a4, 8",
    ],
)
def test_what_stays(body: str) -> None:
    assert sunk(body) == []


def test_a_way_out_comes_before() -> None:
    assert sunk("ld a5, 0(a1)\n beqz a5, 8\n srli a4, a5, 8", 2) == []
