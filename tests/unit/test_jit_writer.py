"""The LLVM text of regions, as far as it can be judged without LLVM."""

import pytest
from regions import DECODER, PAGE_SIZE, blocks, region, text

from lamina.engine.jit import writer
from lamina.engine.jit.entry_writer import FEW_REGISTERS
from lamina.engine.jit.region import PageView, form_region
from lamina.engine.jit.shape import RETURNS
from lamina.testing.random_programs import Options, generate

LOOP = """
    nop
1:  ld a1, 0(a2)
    add a0, a0, a1
    addi a2, a2, 8
    bltu a2, a3, 1b
    ret
"""


def test_entries_load_what_is_read_and_nothing_else() -> None:
    found = blocks(text(region(LOOP)))
    loads = "\n".join(found["e0"])
    for name in ("x10", "x11", "x12", "x13", "x1"):
        assert f"ptr %{name}" in loads
    assert "%x5" not in loads


def test_a_region_of_one_entry_looks_at_no_number() -> None:
    assert "%which" not in text(region("addi a0, a0, 1\n ret"))
    assert "%which" in text(region(LOOP))


def test_a_small_loop_stores_its_registers_only_where_it_is_left() -> None:
    found = blocks(text(region(LOOP)))
    state = "!alias.scope !4"
    way = [line for label, body in found.items() if label == "o4" for line in body]
    assert not [line for line in way if line.startswith("store") and state in line]
    miss = next(body for label, body in found.items() if label.startswith("miss"))
    stored = [line for line in miss if line.startswith("store") and state in line]
    assert len(stored) == 3  # a0, a1, a2


def test_ways_out_of_a_free_loop_compute_what_was_sunk() -> None:
    """To another block of the region, too."""
    copy = "ld a5, 0(a1)\n srli a4, a5, 8\n sb a4, 1(a0)\n addi a0, a0, 8\n addi a1, a1, 8\n"
    found = blocks(text(region(f"nop\n 1: {copy} bne a1, a2, 1b\n mv a3, a4\n ret")))
    behind = 28
    ways = [body for body in found.values() if body[-1] == f"br label %o{behind}"]
    assert ways
    for way in ways:
        assert [line for line in way if " lshr i64 " in line]


def test_a_scattered_access_guesses_no_page() -> None:
    r = region("1: ld a1, 0(a5)\n add a5, a5, a1\n ld a4, 0(a2)\n bne a1, a4, 1b\n ret")
    found = text(r)
    assert "%last.x15.r" in found
    assert "%last.x12.r" in found
    r.scattered = (0,)
    found = text(r)
    assert "%last.x15.r" not in found
    assert "%last.x12.r" in found


def stores(body: list[str]) -> int:
    """To registers in the state."""
    return sum(line.startswith("store") and "!alias.scope !4" in line for line in body)


def test_what_is_written_is_stored_where_the_region_is_left() -> None:
    found = blocks(text(region("addi a0, a0, 1\n addi a0, a0, 1\n ld a1, 0(a2)\n ret")))
    assert stores(found["o0"]) == 0
    miss = next(body for label, body in found.items() if label.startswith("miss"))
    assert stores(miss) == 1  # a0
    out = next(body for label, body in found.items() if label.startswith("out"))
    assert stores(out) == 3  # a0, a1; where it was left to


def test_with_many_registers_or_many_ways_out_they_are_stored_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = "\n".join(f"addi x{i}, x{i}, 1" for i in range(5, 5 + FEW_REGISTERS))
    assert stores(blocks(text(region(f"{many}\n ret")))["o0"]) == FEW_REGISTERS
    long = region(f"{many}\n ret")
    long.stays = True
    assert stores(blocks(text(long))["o0"]) == 0
    few = region("addi a0, a0, 1\n ret")
    monkeypatch.setattr(writer, "MAX_LATE_STORES", 1)
    assert stores(blocks(text(few))["o0"]) == 1


def test_backward_jumps_look_at_the_budget() -> None:
    module = text(region(LOOP.replace("addi a2, a2, 8", "add a2, a2, a1")))
    assert module.count("load atomic i64") == 1
    assert text(region("addi a0, a0, 1\n ret")).count("load atomic i64") == 0


def test_control_into_another_page_checks_it() -> None:
    module = text(region("addi a0, a0, 1\n addi a0, a0, 1\n addi a0, a0, 1\n ret", PAGE_SIZE - 8))
    assert module.count("@contents, ") == 1
    assert '@"content.0"' in module
    assert '@"content.1"' in module
    assert text(region(LOOP)).count("@contents, ") == 0


def test_a_fence_orders_the_hosts_accesses_too() -> None:
    assert "fence seq_cst" in text(region("sd a0, 0(a1)\n fence rw, rw\n ld a2, 0(a3)\n ret"))


def test_returns_meet_in_one_block() -> None:
    found = blocks(text(region("jal ra, f\n jal ra, f\n j .+0\n f: addi a0, a0, -1\n ret")))
    assert "load i64, ptr %target.v" in found[f"o{RETURNS}"][0]
    (switch,) = [line for body in found.values() for line in body if line.startswith("switch i64")]
    assert "i64 2, label" in switch  # halves of the offsets
    assert "i64 4, label" in switch


@pytest.mark.parametrize(
    "source",
    [
        "1: fadd.d fa0, fa0, fa1\n addi a0, a0, -1\n bnez a0, 1b\n ret",  # floats at an entry
        "1: addi a0, a0, -1\n fadd.d fa0, fa0, fa1, rtz\n bnez a0, 1b\n ret",
        "1: addi a0, a0, -1\n fcvt.s.w fa0, a0, rdn\n bnez a0, 1b\n ret",
        "1: addi a0, a0, -1\n fcvt.d.l fa0, a0, rmm\n bnez a0, 1b\n ret",
        "1: fcvt.d.l fa0, a0, rup\n addi a0, a0, -1\n bnez a0, 1b\n ret",
        "1: fsqrt.d fa0, fa1, rdn\n fdiv.s fa0, fa1, fa2, rup\n bnez a0, 1b\n ret",
        "1: fmin.d fa0, fa1, fa2\n feq.d a0, fa0, fa1\n bnez a0, 1b\n ret",
        "1: amocas.d a0, a1, (a2)\n cbo.zero (a2)\n bnez a0, 1b\n ret",
        "1: lr.d a0, (a2)\n addi a0, a0, 1\n sc.d a1, a0, (a2)\n bnez a1, 1b\n ret",
        "beqz a0, .+6\n addi s1, sp, 0\n addi a1, a1, 1\n ret",  # into the middle of one
        "j .+0",
        "1: j 1b\n",
        "fence.i\n j .-4",
        "1: wfi\n j 1b",
    ],
)
def test_the_text_is_whole(source: str) -> None:
    assert blocks(text(region(source)))


@pytest.mark.parametrize("seed", range(8))
def test_the_text_of_any_region_is_whole(seed: int) -> None:
    """Regions of random programs, started anywhere, of code that never ran as well."""
    body = generate(seed, Options(snippets=25, hot=bool(seed & 1))).body
    size = -(-len(body) // PAGE_SIZE) * PAGE_SIZE
    body = body + bytes(size - len(body))

    def find(number: int) -> PageView | None:
        source = body[number * PAGE_SIZE :][:PAGE_SIZE] if number >= 0 else b""
        return PageView(source, lambda offset: offset % 64 != 34) if source else None

    count = 0
    for start in range(0, len(body) // 2, 300):
        r = form_region(DECODER, find, start)
        if r is not None:
            count += 1
            assert len(blocks(text(r))) > len(r.entries)
    assert count
