"""Where things go in RAM, and what does not fit there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.base.errors import ConfigError, ImageError, LaminaError
from lamina.base.units import GIB, MIB
from lamina.bus.space import AddressSpace
from lamina.machine.loaders import ImageKind, LoadedImage, Segment
from lamina.machine.placement import place

BASE = 0x8000_0000
RAM = (BASE, 128 * MIB)


def raw(size=1000, name="firmware"):
    return LoadedImage(name, ImageKind.RAW, [Segment(None, b"\1" * size, size)], 0)


def linux(size=1000, memory=20 * MIB, text_offset=2 * MIB):
    segment = Segment(None, b"\2" * size, memory)
    return LoadedImage("kernel", ImageKind.LINUX, [segment], 0, text_offset)


def elf(*segments, movable=False):
    parts = [Segment(gpa, b"\3" * size, size) for gpa, size in segments]
    return LoadedImage("kernel", ImageKind.ELF, parts, segments[0][0], movable=movable)


def test_firmware_kernel_initrd_and_tree_in_their_usual_places():
    placed = place(RAM, raw(), linux(), bytes(5 * MIB), 9000)
    assert placed.start == BASE
    assert placed.kernel_entry == BASE + 2 * MIB
    assert placed.dtb == BASE + 126 * MIB
    assert placed.initrd == (BASE + 121 * MIB, BASE + 126 * MIB)
    assert [gpa for gpa, _ in placed.segments] == [BASE, BASE + 2 * MIB, BASE + 121 * MIB]


def test_a_large_firmware_pushes_the_kernel_on():
    assert place(RAM, raw(3 * MIB), linux(), None, 9000).kernel_entry == BASE + 4 * MIB


def test_without_firmware_the_harts_start_in_the_kernel():
    placed = place(RAM, None, linux(), None, 9000)
    assert placed.start == placed.kernel_entry == BASE + 2 * MIB
    assert place(RAM, None, raw(), None, 9000).start == BASE
    assert place(RAM, None, elf((BASE + 0x1000, 10)), None, 9000).start == BASE + 0x1000


def test_a_movable_elf_firmware_goes_to_the_start_of_ram():
    placed = place(RAM, elf((0, 100), (0x2000, 100), movable=True), None, None, 9000)
    assert [gpa for gpa, _ in placed.segments] == [BASE, BASE + 0x2000]
    assert placed.start == BASE


def test_the_device_tree_stays_in_low_memory_and_a_huge_initrd_above():
    ram = (BASE, 8 * GIB)
    assert place(ram, raw(), linux(), b"x", 9000).dtb == 0xC000_0000 - 2 * MIB
    kernel = linux(memory=GIB - 8 * MIB)
    placed = place(ram, raw(), kernel, bytes(16 * MIB), 9000)
    assert placed.initrd == (BASE + 8 * GIB - 16 * MIB, BASE + 8 * GIB)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((None, elf((0x1000, 16)), None), "0x1000-0x100f is not within RAM"),
        ((None, elf((BASE + 128 * MIB - 8, 16)), None), "is not within RAM"),
        ((raw(), elf((BASE, 16)), None), "overlaps firmware at 0x80000000"),
        ((None, linux(memory=200 * MIB), None), "200 MiB at .* is not within RAM"),
        ((None, linux(memory=125 * MIB), None), "overlaps kernel at 0x80200000-0x87efffff"),
        ((None, linux(memory=100 * MIB), bytes(30 * MIB)), "^initrd: 30 MiB at .* overlaps kernel"),
        ((None, linux(), bytes(127 * MIB)), "initrd"),
        ((None, linux(text_offset=2**39), None), "is not within RAM"),
    ],
)
def test_what_does_not_fit_is_told_with_addresses(parts, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        place(RAM, *parts, 9000)
    assert "\n" not in str(caught.value)


def test_nothing_to_boot_is_an_error():
    with pytest.raises(ConfigError, match="nothing to boot"):
        place(RAM, None, None, b"x", 9000)


def test_parts_are_written_to_ram():
    space = AddressSpace()
    space.add_ram(*RAM, "ram")
    place(RAM, raw(4), linux(6), b"initrd", 100).write(space)
    assert space.read(BASE, 5) == b"\1\1\1\1\0"
    assert space.read(BASE + 2 * MIB, 7) == b"\2" * 6 + b"\0"
    assert space.read(BASE + 126 * MIB - 4096, 6) == b"initrd"
    space.close()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([32 * MIB, 100 * MIB, GIB, 3 * GIB, 64 * GIB]),
    st.none() | st.integers(1, 5 * MIB),
    st.integers(1, 70 * MIB),
    st.integers(0, 40 * MIB),
    st.integers(64, 2 * MIB),
)
def test_placed_parts_never_overlap_and_are_in_ram(size, firmware, memory, initrd, dtb_size):
    firmware_image = None if firmware is None else raw(firmware)
    try:
        placed = place((BASE, size), firmware_image, linux(1, memory), bytes(initrd), dtb_size)
    except LaminaError:
        assert (firmware is not None and size < 128 * MIB) or memory + initrd > size - 8 * MIB
        return
    spans = [(placed.kernel_entry, memory), (placed.dtb, dtb_size)]
    spans += [(BASE, firmware)] if firmware else []
    spans += [(placed.initrd[0], initrd)] if placed.initrd else []
    spans.sort()
    for (start, length), (following, _) in zip(spans, [*spans[1:], (BASE + size, 0)], strict=True):
        assert start >= BASE and start + length <= following
    assert placed.dtb % 8 == 0 and placed.kernel_entry % (2 * MIB) == 0
