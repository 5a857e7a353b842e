"""The names of a Linux kernel's functions, out of its own image.

A kernel built with CONFIG_KALLSYMS, as distributions build them, holds a compressed table of its
symbols. Format: Linux `scripts/kallsyms.c` (versions from 6.4 on; the table of offsets stood in
front of the names before, which is understood as well). Nothing points to the table: it is found by
the part that is nearly the same in all kernels, the tokens for the ten digits, and every other part
is held against what that one says. The image is anybody's file: nothing in it is believed to fit.
Called by `debug/symbols.py`.
"""

import struct
from dataclasses import dataclass
from itertools import pairwise

from lamina.base.bits import align_up

DIGITS = b"".join(bytes([digit, 0]) for digit in b"0123456789")
TOKENS = 256
MAX_TOKEN = 1 << 10
SYMBOLS_A_MARKER = 256
MAX_SYMBOLS = 1 << 20
MAX_NAME = 1 << 14
LONG_NAME = 0x80
FUNCTIONS = b"tTwW"


@dataclass(frozen=True, slots=True)
class KernelSymbols:
    """The table: names of functions by their distance from the kernel's first symbol, ascending.
    `base_at`: where in the image the address stands that the distances count from, which the
    running kernel may have changed (if it was moved at boot)."""

    functions: list[tuple[int, str]]
    end: int  # the distance of the last symbol of any kind
    base_at: int


def find_kallsyms(image: bytes) -> KernelSymbols | None:
    """The table of an image that is not compressed; None if none is found."""
    at = image.find(DIGITS)
    while at >= 0:
        table = _tokens(image, at)
        if table is not None:
            start, tokens, index_end = table
            found = _Table(image, start, tokens, index_end).read()
            if found is not None:
                return found
        at = image.find(DIGITS, at + 1)
    return None


def _tokens(image: bytes, digits: int) -> tuple[int, list[bytes], int] | None:
    """Where the token table begins, its tokens, and where the index behind it ends."""
    start = digits
    for _ in range(ord("0")):
        before = image.rfind(b"\0", max(0, start - MAX_TOKEN), start - 1)
        if before < 0:
            return None
        start = before + 1
    tokens, at = [], start
    for _ in range(TOKENS):
        end = image.find(b"\0", at, at + MAX_TOKEN)
        if end < 0:
            return None
        tokens.append(image[at:end])
        at = end + 1
    # The first token may be preceded by padding, and so be taken for empty: the index decides.
    index, place = b"", 0
    for token in tokens:
        index += struct.pack("<H", place & 0xFFFF)
        place += len(token) + 1
    at = align_up(at, 8)
    if image[at : at + len(index)] != index:
        return None
    return start, tokens, at + len(index)


class _Table:
    """The other parts, found from where the tokens are."""

    def __init__(self, image: bytes, start: int, tokens: list[bytes], end: int) -> None:
        self._image = image
        self._tokens_at = start
        self._tokens = tokens
        self._end = end

    def read(self) -> KernelSymbols | None:
        markers = self._markers()
        if markers is None:
            return None
        at, marks = markers
        # The count stands 8 bytes in front of the names, whose length the last marker nearly says.
        latest = at - marks[-1] - 8
        for count_at in range(latest - latest % 8, max(0, latest - SYMBOLS_A_MARKER * 512), -8):
            (count,) = struct.unpack_from("<I", self._image, count_at)
            if not len(marks) - 1 < count / SYMBOLS_A_MARKER <= len(marks):
                continue
            if count > MAX_SYMBOLS:
                return None
            names = self._names(count_at + 8, count, marks, at)
            if names is not None:
                return self._placed(names, count_at)
        return None

    def _markers(self) -> tuple[int, list[int]] | None:
        """Where the markers begin, and what they say: they ascend from 0, right in front of the
        tokens."""
        at = self._tokens_at & ~3
        marks: list[int] = []
        while at >= 4 and len(marks) <= MAX_SYMBOLS // SYMBOLS_A_MARKER:
            at -= 4
            (mark,) = struct.unpack_from("<I", self._image, at)
            if not marks and mark == 0:
                if self._tokens_at - at > 16:
                    return None
                continue  # padding
            if marks and mark >= marks[-1]:
                return None
            marks.append(mark)
            if mark == 0:
                return at, marks[::-1]
        return None

    def _names(self, start: int, count: int, marks: list[int], end: int) -> list[bytes] | None:
        """All names, each with its type in front; None if they do not end where markers begin."""
        image, at = self._image, start
        names = []
        for number in range(count):
            if number % SYMBOLS_A_MARKER == 0 and at - start != marks[number // SYMBOLS_A_MARKER]:
                return None
            length = image[at]
            at += 1
            if length & LONG_NAME:
                length = length & ~LONG_NAME | image[at] << 7
                at += 1
            if at + length > end:
                return None
            name = b"".join(self._tokens[byte] for byte in image[at : at + length])
            if not 1 < len(name) < MAX_NAME:
                return None
            names.append(name)
            at += length
        return names if end - at < 8 else None

    def _placed(self, names: list[bytes], count_at: int) -> KernelSymbols | None:
        """With their distances, which stand behind the tokens or in front of the count."""
        size = 4 * len(names)
        before = count_at - 8 - align_up(size, 8)
        for at in (align_up(self._end, 8), before):
            if at < 0 or at + size + 8 > len(self._image):
                continue
            distances = struct.unpack_from(f"<{len(names)}I", self._image, at)
            if distances[0] == 0 and all(a <= b for a, b in pairwise(distances)):
                functions = [
                    (distance, name[1:].decode("ascii", "replace"))
                    for distance, name in zip(distances, names, strict=True)
                    if name[0] in FUNCTIONS
                ]
                return KernelSymbols(functions, distances[-1], at + align_up(size, 8))
        return None
