"""Linking code images: references among them are settled, the rest is kept."""

import struct

import pytest

from lamina.base.errors import CodeError
from lamina.engine.code.image import CodeImage, Relocation
from lamina.engine.code.link import link

A = CodeImage(
    bytes(32),
    {"a": 8, "hidden": 16},
    (
        Relocation(0, "pc32", "b", -4),
        Relocation(8, "abs64", "b", 2),
        Relocation(16, "abs64", "", 24),
        Relocation(24, "pc32", "outside", -4),
    ),
)
B = CodeImage(bytes(16), {"b": 4}, (Relocation(0, "pc32", "a", 0), Relocation(8, "abs64", "", 0)))


def test_references_among_images_are_settled() -> None:
    image = link([A, B], lambda name: name != "hidden")
    b = 64 + 4  # the second image begins at the next 64 bytes
    assert image.symbols == {"a": 8, "b": b}
    assert len(image.text) == 64 + 16
    assert struct.unpack_from("<i", image.text, 0) == (b - 4 - 0,)
    assert struct.unpack_from("<i", image.text, 64) == (8 - 64,)
    assert set(image.relocations) == {
        Relocation(8, "abs64", "", b + 2),
        Relocation(16, "abs64", "", 24),
        Relocation(24, "pc32", "outside", -4),
        Relocation(72, "abs64", "", 64),
    }


def test_a_function_cannot_be_defined_twice() -> None:
    with pytest.raises(CodeError, match="a is defined twice"):
        link([A, A], lambda name: True)
