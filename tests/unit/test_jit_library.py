"""Compiled regions in memory and on disk, with code that nobody runs."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from regions import region

from lamina.base.bits import PAGE_SIZE
from lamina.base.errors import CodeError
from lamina.engine.code.image import CodeImage, Relocation
from lamina.engine.code.store import CodeStore
from lamina.engine.jit import library as lib
from lamina.engine.jit.library import ABOUT, CONTENT, RegionLibrary
from lamina.engine.jit.region import Region
from lamina.engine.jit.request import ENTRY

LOOP = "li a0, 3\n 1: addi a0, a0, -1\n bnez a0, 1b\n ret"
IMAGE = CodeImage(b"\xc3" + bytes(63), {ENTRY: 0})


def resolve(name: str) -> int:
    raise CodeError(f"there is no {name}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CodeStore]:
    store = CodeStore(tmp_path / "regions", 1 << 20)
    yield store
    store.close()


def library(store: CodeStore, version: str = "1") -> RegionLibrary:
    return RegionLibrary(version, resolve, store)


def numbers(one: RegionLibrary, r: Region) -> dict[int, int]:
    return {n: one.number(source) for n, source in r.pages.items()}


def keep(store: CodeStore, r: Region, version: str = "1", image: CodeImage = IMAGE) -> str:
    """Compile a region into a store; its key there."""
    one = library(store, version)
    assert one.add(r, numbers(one, r), image) is not None
    return store.scan()[-1].key


def rewrite(store: CodeStore, key: str, image: CodeImage) -> None:
    """Another image under a key."""
    store.clear()
    store.put(key, image)


def test_pages_are_numbered_by_what_they_hold(store: CodeStore) -> None:
    one = library(store)
    first, second = bytes(PAGE_SIZE), b"\1" + bytes(PAGE_SIZE - 1)
    assert one.number(first) == one.number(bytes(PAGE_SIZE)) > 0
    assert one.number(second) not in (0, one.number(first))


def test_beyond_a_number_of_pages_no_more_are_numbered(
    store: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lib, "MAX_NUMBERS", 3)
    one = library(store)
    assert [one.number(bytes([i])) > 0 for i in range(4)] == [True, True, False, False]
    assert one.number(bytes([1])) > 0


def test_where_control_comes_back_to_is_known_of_kept_regions_too(store: CodeStore) -> None:
    behind = 4
    r = region("1: call 2f\n nop\n bnez a0, 1b\n ret\n 2: addi a0, a0, -1\n ret")
    keep(store, r)
    one = library(store)
    assert not one.comes_back(1, behind)
    (content,) = numbers(one, r).values()
    assert one.comes_back(content, behind)
    assert not one.comes_back(content, 0)
    assert not one.comes_back(0, behind)


def test_a_region_is_known_once_it_was_asked_for(store: CodeStore) -> None:
    one, r = library(store), region(LOOP)
    contents = numbers(one, r)
    assert not one.knows(r, contents)
    assert one.knows(r, contents)
    apart = Region(r.members, r.entries, r.pages, grouped=False)
    assert not one.knows(apart, contents)
    stays = Region(r.members, r.entries, r.pages, stays=True)
    assert not one.knows(stays, contents)
    one.forget(r, contents)
    assert not one.knows(r, contents)


def test_a_region_is_found_by_its_pages_entries(store: CodeStore) -> None:
    one, r = library(store), region(LOOP, PAGE_SIZE - 4)
    contents = numbers(one, r)
    compiled = one.add(r, contents, IMAGE)
    assert compiled is not None
    assert one.at(contents[0]) == one.at(contents[1]) == [compiled]
    assert list(compiled.entries_in(contents[0])) == [(0, PAGE_SIZE - 4)]
    assert list(compiled.entries_in(contents[1])) == [(1, 0)]
    assert one.at(99) == []


def test_what_is_inside_of_regions_is_known(store: CodeStore) -> None:
    one, r = library(store), region(LOOP)
    (content,) = numbers(one, r).values()
    assert one.inside(content) == 0
    one.add(r, {0: content}, IMAGE)
    assert one.inside(content) == sum(1 << o // 2 for o in r.members)
    assert one.inside(content, stays=True) == 0
    one.add(Region(r.members, r.entries, r.pages, stays=True), {0: content}, IMAGE)
    assert one.inside(content, stays=True) == one.inside(content)


def test_a_region_has_a_twin_and_is_led_into_before_it(store: CodeStore) -> None:
    r = region(LOOP)
    pairs = Region(r.members, r.entries, r.pages, grouped=False)
    for first, second in ((r, pairs), (pairs, r)):
        store.clear()
        one = library(store)
        contents = numbers(one, r)
        a = one.add(first, contents, IMAGE)
        assert a is not None
        assert one.twin(a) is None
        b = one.add(second, contents, IMAGE)
        assert b is not None
        assert (one.twin(a), one.twin(b)) == (b, a)
        assert [c.grouped for c in one.at(contents[0])] == [False, True]  # the last one is entered
        other = library(store)
        (_, kept) = other.at(other.number(r.pages[0]))
        twin = other.twin(kept)
        assert twin is not None
        assert kept.grouped and not twin.grouped


def test_what_guesses_no_pages_where_that_is_wrong_is_led_into_last(store: CodeStore) -> None:
    r = region(LOOP)
    scattered = Region(r.members, r.entries, r.pages, scattered=(4,))
    one = library(store)
    contents = numbers(one, r)
    for form in (scattered, r, Region(r.members, r.entries, r.pages, grouped=False)):
        assert one.add(form, contents, IMAGE) is not None
    for known in (one, library(store)):
        kinds = [(c.grouped, c.about.scattered) for c in known.at(known.number(r.pages[0]))]
        assert kinds == [(False, ()), (True, ()), (True, (4,))]


def test_another_process_finds_it_on_disk(store: CodeStore) -> None:
    r = region(LOOP)
    keep(store, r)
    other = library(store)
    number = other.number(r.pages[0])
    (compiled,) = other.at(number)
    assert compiled.entries == r.entries
    assert compiled.contents == {0: number}
    assert other.knows(r, {0: number})


def test_it_is_not_taken_for_another_version_or_page(store: CodeStore) -> None:
    r = region(LOOP)
    keep(store, r)
    assert library(store, "2").at(library(store, "2").number(r.pages[0])) == []
    other = library(store)
    assert other.at(other.number(bytes(PAGE_SIZE))) == []


def test_the_numbers_of_pages_come_in_as_addresses(store: CodeStore) -> None:
    code = CodeImage(b"\xc3" + bytes(63), {ENTRY: 0}, (Relocation(8, "abs64", f"{CONTENT}0", 0),))
    keep(store, region(LOOP), image=code)
    other = library(store)
    for i in range(5):
        other.number(bytes([i]))
    number = other.number(region(LOOP).pages[0])
    assert number == 6
    assert len(other.at(number)) == 1


def test_the_number_of_a_page_is_no_place_in_reach(store: CodeStore) -> None:
    r = region(LOOP)
    one = library(store)
    code = CodeImage(b"\xc3" + bytes(63), {ENTRY: 0}, (Relocation(8, "pc32", f"{CONTENT}0", 0),))
    with pytest.raises(CodeError, match="number of a page"):
        one.add(r, numbers(one, r), code)


def _damaged(image: CodeImage, about: bytes) -> CodeImage:
    return CodeImage(image.text[: image.symbols[ABOUT]] + about, image.symbols, image.relocations)


def _about(
    pages: object = None,
    entries: object = (0,),
    returns: object = (),
    members: object = (0,),
    jumps: object = (),
    scattered: object = (),
) -> bytes:
    pages = {"0": "00" * 32} if pages is None else pages
    lists = entries, returns, members, jumps, scattered
    return json.dumps([pages, *lists, True, False]).encode()


DESCRIPTIONS = {
    "none": b"{",
    "text": b"\xff\xfe",
    "a number": b"7",
    "too short": b"[{}, [0]]",
    "no pages": _about({}),
    "no entries": _about(entries=[]),
    "entries of a kind": _about(entries=["0"]),
    "entries elsewhere": _about(entries=[4096]),
    "entries as a number": _about(entries=3),
    "pages of a kind": _about(["0"]),
    "pages by name": _about({"x": ""}),
    "pages far away": _about({"0": "", str(1 << 40): ""}),
    "deep": b"[" * 100_000,
    "many entries": _about(entries=[0] * 1000),
    "many pages": _about({str(i): "" for i in range(99)}),
    "many returns": _about(returns=[0] * 2000),
    "many instructions": _about(members=[0] * 2000),
    "a return elsewhere": _about(returns=[1 << 12]),
    "an instruction elsewhere": _about(members=[0, -2]),
    "a jump elsewhere": _about(jumps=[1 << 12]),
    "a scattered access elsewhere": _about(scattered=[1 << 12]),
    "another region's": _about(),
}


@pytest.mark.parametrize("about", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_region_with_a_wrong_description_is_ignored_with_a_warning(
    about: bytes, store: CodeStore, caplog: pytest.LogCaptureFixture
) -> None:
    r = region(LOOP)
    key = keep(store, r)
    image = store.get(key)
    assert image is not None
    rewrite(store, key, _damaged(image, about))
    other = library(store)
    with caplog.at_level(logging.WARNING):
        assert other.at(other.number(r.pages[0])) == []
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith("code cache: ")
    assert not other.knows(r, numbers(other, r))


FOREIGN = {
    "no description": CodeImage(b"\xc3", {ENTRY: 0}),
    "another page": (Relocation(8, "abs64", f"{CONTENT}5", 0),),
    "no page": (Relocation(8, "abs64", f"{CONTENT}x", 0),),
    "an unknown function": (Relocation(8, "pc32", "system", 0),),
    "no function": {ABOUT},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_code_under_a_regions_key_is_ignored_with_a_warning(
    what: str, store: CodeStore, caplog: pytest.LogCaptureFixture
) -> None:
    r = region(LOOP)
    key = keep(store, r)
    image = store.get(key)
    assert image is not None
    foreign = FOREIGN[what]
    if isinstance(foreign, tuple):
        foreign = CodeImage(image.text, image.symbols, foreign)
    elif isinstance(foreign, set):
        foreign = CodeImage(image.text, {n: image.symbols[n] for n in foreign})
    rewrite(store, key, foreign)
    other = library(store)
    with caplog.at_level(logging.WARNING):
        assert other.at(other.number(r.pages[0])) == []
    assert len(caplog.records) == 1


@pytest.mark.parametrize("damage", ["cut", "altered", "empty"])
def test_damaged_files_are_ignored_with_a_warning(
    damage: str, store: CodeStore, caplog: pytest.LogCaptureFixture
) -> None:
    r = region(LOOP)
    keep(store, r)
    store.close()
    (data,) = store.folder.glob("*.data")
    raw = bytearray(data.read_bytes())
    if damage == "cut":
        raw = raw[:-20]
    elif damage == "altered":
        raw[len(raw) // 2] ^= 1
    else:
        raw = bytearray()
    data.write_bytes(raw)
    with caplog.at_level(logging.WARNING):
        other = library(store)
        assert other.at(other.number(r.pages[0])) == []
    assert caplog.records


def test_when_memory_is_full_all_regions_are_given_up_and_come_back_from_disk(
    store: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lib, "MAX_BYTES", 1500)
    one = library(store)
    made = []
    for i in range(10):
        r = region(f"li a1, {i}\n" + LOOP)
        compiled = one.add(r, numbers(one, r), IMAGE)
        assert compiled is not None
        made.append((r, compiled))
    assert one.generation > 0
    assert made[-1][1].generation == one.generation
    first = made[0][0]
    assert made[0][1].generation < one.generation
    before = one.generation
    (again,) = one.at(one.number(first.pages[0]))
    assert again.generation >= before
    one.free(one.generation)
