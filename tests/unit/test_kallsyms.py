"""The kernel's names for its functions, out of an image made here as a kernel's build makes it."""

import random
import struct

import pytest

from lamina.debug.kallsyms import find_kallsyms

BASE = 0xFFFF_FFFF_8000_0000
SYMBOLS = [
    (0, "T_start"),
    (0x40, "tdo_one"),
    (0x80, "Dnumber"),
    (0x1000, "Wdo_" + "long" * 60),
    *[(0x2000 + 16 * i, f"tmany_{i}") for i in range(600)],
    (0x10_0000, "B_end"),
]


def padded(content: bytes, size: int = 8) -> bytes:
    return content + bytes(-len(content) % size)


def kernel(offsets_behind: bool = True, symbols: list[tuple[int, str]] = SYMBOLS) -> bytes:
    """Code, then the tables in the order of Linux since 6.4, or before."""
    tokens = [bytes([i]) if 32 <= i < 127 else b"" for i in range(256)]
    tokens[1], tokens[2] = b"do_", b"many_"
    names, markers = b"", []
    for number, (_, name) in enumerate(symbols):
        if number % 256 == 0:
            markers.append(len(names))
        packed = name.encode().replace(b"do_", b"\1").replace(b"many_", b"\2")
        length = len(packed)
        head = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
        names += head + packed
    places, table = [], b""
    for token in tokens:
        places.append(len(table))
        table += token + b"\0"
    count = padded(struct.pack("<I", len(symbols)))
    middle = padded(names) + padded(struct.pack(f"<{len(markers)}I", *markers)) + padded(table)
    index = padded(struct.pack("<256H", *places))
    offsets = padded(struct.pack(f"<{len(symbols)}I", *(at for at, _ in symbols)))
    offsets += struct.pack("<Q", BASE)
    code = random.Random(5).randbytes(4096)
    if offsets_behind:
        return code + count + middle + index + offsets + bytes(64)
    return code + offsets + count + middle + index + bytes(64)


@pytest.mark.parametrize("offsets_behind", [True, False])
def test_functions_are_found_with_where_their_base_stands(offsets_behind: bool) -> None:
    image = kernel(offsets_behind)
    found = find_kallsyms(image)
    assert found is not None
    assert found.functions[:3] == [(0, "_start"), (0x40, "do_one"), (0x1000, "do_" + "long" * 60)]
    assert found.functions[-1] == (0x2000 + 16 * 599, "many_599")
    assert "number" not in [name for _, name in found.functions], "data is no function"
    assert found.end == 0x10_0000
    assert image[found.base_at : found.base_at + 8] == BASE.to_bytes(8, "little")


def test_no_kernel_has_no_names() -> None:
    assert find_kallsyms(b"") is None
    assert find_kallsyms(random.Random(6).randbytes(1 << 16)) is None
    assert find_kallsyms(b"".join(bytes([c, 0]) for c in b"0123456789") * 100) is None


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_table_is_refused_or_read_without_harm(seed: int) -> None:
    rng = random.Random(seed)
    image = bytearray(kernel())
    for _ in range(rng.choice((1, 4, 64))):
        image[rng.randrange(4096, len(image))] = rng.randrange(256)
    if seed % 3 == 0:
        del image[rng.randrange(4096, len(image)) :]
    found = find_kallsyms(bytes(image))
    if found is not None:
        assert found.functions == sorted(found.functions, key=lambda entry: entry[0])
