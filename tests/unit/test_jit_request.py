"""Regions as the compiler process is asked for them."""

import random
import struct

import pytest
from regions import DECODER, PAGE_SIZE, region, text

from lamina.base.errors import CodeError
from lamina.engine.jit.region import MAX_ENTRIES, MAX_PAGES, MAX_STRAIGHT, Region
from lamina.engine.jit.request import decode, encode

LOOP = "li a0, 3\n 1: addi a0, a0, -1\n sd a0, 0(sp)\n sd a0, 8(sp)\n bnez a0, 1b\n ret"
HEAD = struct.calcsize("<HHHHHBBB")


@pytest.mark.parametrize("at", [0, PAGE_SIZE - 8, PAGE_SIZE - 6])
@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("stays", [True, False])
def test_a_region_comes_as_it_was_sent(at: int, grouped: bool, stays: bool) -> None:
    r = region(LOOP, at)
    r.grouped, r.stays = grouped, stays
    got = decode(DECODER, encode(r))
    assert got == r
    assert list(got.members) == list(r.members)
    assert text(got) == text(r)


def test_where_computed_jumps_go_comes_too() -> None:
    r = region("1: jr a1\n j 1b\n addi a0, a0, 1\n j 1b", ran={0, 4, 8, 12})
    assert r.jumps == (0, 4, 8)
    assert decode(DECODER, encode(r)).jumps == r.jumps
    r.jumps = (0, 2)
    with pytest.raises(CodeError, match="jump"):
        decode(DECODER, encode(r))


def test_scattered_accesses_come_too() -> None:
    r = region(LOOP)
    r.scattered = (8, 12)
    assert decode(DECODER, encode(r)).scattered == r.scattered
    r.scattered = (8, 2)
    with pytest.raises(CodeError, match="scattered"):
        decode(DECODER, encode(r))


def test_pages_before_the_start_come_too() -> None:
    r = region(LOOP, -8, start=0)
    assert decode(DECODER, encode(r)).pages.keys() == {-1, 0}


def _without_page(r: Region) -> Region:
    return Region(r.members, r.entries, {0: r.pages[0]})


def test_what_is_no_region_is_refused() -> None:
    r = region(LOOP, PAGE_SIZE - 8)
    members, entries, pages = r.members, r.entries, r.pages
    odd = [
        _without_page(r),  # an instruction in no page
        Region(members, (), pages),
        Region(members, (PAGE_SIZE - 8, 64), pages),  # an entry at no member
        Region(members, tuple([PAGE_SIZE - 8] * (MAX_ENTRIES + 1)), pages),
        Region({**members, 256: members[PAGE_SIZE]}, entries, pages),  # zeros are no instruction
        Region(members, entries, {n: pages[0] for n in range(MAX_PAGES + 2)}),
        Region(dict.fromkeys(range(0, 2 * MAX_STRAIGHT + 2, 2), members[PAGE_SIZE]), (0,), pages),
    ]
    for wrong in odd:
        with pytest.raises(CodeError):
            decode(DECODER, encode(wrong))


def test_an_entry_across_pages_is_refused() -> None:
    r = region("c.nop\n addi a0, a0, 1\n ret", PAGE_SIZE - 4)
    assert PAGE_SIZE - 2 in r.members
    with pytest.raises(CodeError, match="entry"):
        decode(DECODER, encode(Region(r.members, (PAGE_SIZE - 2,), r.pages)))


def test_bytes_that_are_no_request_are_refused() -> None:
    whole = encode(region(LOOP))
    for length in (0, 1, HEAD - 1, HEAD, HEAD + 5, len(whole) - 1):
        with pytest.raises(CodeError):
            decode(DECODER, whole[:length])
    with pytest.raises(CodeError):
        decode(DECODER, whole + b"\0")


@pytest.mark.parametrize("seed", range(200))
def test_altered_requests_are_regions_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    raw = bytearray(encode(region(LOOP, PAGE_SIZE - 6)))
    for _ in range(rng.randrange(1, 4)):
        near = rng.choice((HEAD, HEAD + 4, len(raw)))
        raw[max(0, min(near - rng.randrange(40), len(raw) - 1))] = rng.randrange(256)
    try:
        r = decode(DECODER, bytes(raw))
    except CodeError:
        return
    assert set(r.entries) <= r.members.keys()
    assert text(r)
