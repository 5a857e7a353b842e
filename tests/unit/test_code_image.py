"""Code images: what survives encoding, and what is not believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.base.errors import CodeError
from lamina.engine.code.image import CodeImage, Relocation

IMAGE = CodeImage(
    bytes(range(64)),
    {"first": 0, "h.addi.13": 40},
    (
        Relocation(8, "abs64", "", 64),
        Relocation(20, "pc32", "dispatch", -4),
        Relocation(56, "abs64", "first", 0),
    ),
)


@st.composite
def images(draw: st.DrawFn) -> CodeImage:
    text = draw(st.binary(min_size=16, max_size=200))
    names = st.text(min_size=1, max_size=20).filter(lambda n: n.isprintable())
    symbols = draw(st.dictionaries(names, st.integers(0, len(text) - 1), max_size=4))
    inner = st.builds(
        Relocation,
        st.integers(0, len(text) - 8),
        st.sampled_from(["abs64", "pc32"]),
        st.just(""),
        st.integers(0, len(text)),
    )
    outer = st.builds(
        Relocation,
        st.integers(0, len(text) - 8),
        st.sampled_from(["abs64", "pc32"]),
        names,
        st.integers(-4096, 4096),
    )
    return CodeImage(text, symbols, tuple(draw(st.lists(inner | outer, max_size=5))))


@given(images())
def test_an_image_comes_back_as_it_was(image: CodeImage) -> None:
    assert CodeImage.decode(image.encode()) == image


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    blob = bytearray(IMAGE.encode())
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CodeError):
        CodeImage.decode(bytes(blob))


@given(st.data())
def test_any_cut_or_longer_file_is_noticed(data: st.DataObject) -> None:
    blob = IMAGE.encode()
    length = data.draw(st.integers(0, len(blob) - 1))
    for wrong in (blob[:length], blob + data.draw(st.binary(min_size=1))):
        with pytest.raises(CodeError):
            CodeImage.decode(wrong)


@given(st.binary(max_size=300))
def test_a_body_with_a_right_checksum_is_checked_all_the_same(body: bytes) -> None:
    """Whatever a body holds, decoding ends in an image that holds together, or in a CodeError."""
    import hashlib

    blob = IMAGE.encode()[:8] + hashlib.sha256(body).digest() + body
    try:
        image = CodeImage.decode(blob)
    except CodeError:
        return
    assert CodeImage.decode(image.encode()) == image


@pytest.mark.parametrize(
    ("symbols", "relocations"),
    [
        ({"f": 64}, ()),
        ({"f": -1}, ()),
        ({"": 0}, ()),
        ({"a\0b": 0}, ()),
        ({}, (Relocation(0, "pc32", "a\0b", 0),)),
        ({}, (Relocation(57, "abs64", "", 0),)),
        ({}, (Relocation(61, "pc32", "f", 0),)),
        ({}, (Relocation(-1, "pc32", "f", 0),)),
        ({}, (Relocation(0, "abs64", "", 65),)),
        ({}, (Relocation(0, "abs64", "", -1),)),
        ({}, (Relocation(0, "pc32", "f", 1 << 31),)),
        ({}, (Relocation(0, "pc8", "f", 0),)),
    ],
)
def test_numbers_out_of_range_make_no_image(
    symbols: dict[str, int], relocations: tuple[Relocation, ...]
) -> None:
    with pytest.raises(CodeError):
        CodeImage(bytes(64), symbols, relocations)
