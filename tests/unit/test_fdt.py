"""Flattened device trees: what is written is read back, by dtc too; broken blobs are refused."""

import shutil
import struct
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.base.errors import ConfigError, ImageError
from lamina.machine.fdt import HEADER, MAX_BLOB, FdtNode, dump, flatten, parse


def sample():
    root = FdtNode()
    root.cells("#address-cells", 2)
    root.text("compatible", "a,b", "c")
    child = root.node("soc")
    child.flag("ranges")
    child.reg(0x1_0000_0000, 0x1000)
    child.data("odd", b"\x01\x02\x03")
    child.node("uart@0").text("status", 'ok "quoted"')
    return root


def blob_of(*tokens, strings=b"name\0", **changes):
    """A blob with a structure block of our own."""
    body = b"".join(t if isinstance(t, bytes) else struct.pack(">I", t) for t in tokens)
    start = HEADER.size + 16
    fields = {
        "magic": 0xD00DFEED,
        "total": start + len(body) + len(strings),
        "structure": start,
        "strings_at": start + len(body),
        "reserve": HEADER.size,
        "version": 17,
        "compatible": 16,
        "boot": 0,
        "strings_size": len(strings),
        "size": len(body),
    } | changes
    return HEADER.pack(*fields.values()) + bytes(16) + body + strings


ROOT = (1, bytes(4))


def test_a_tree_survives_flattening():
    root = sample()
    again = parse(flatten(root))
    assert dump(again) == dump(root)
    assert flatten(again) == flatten(root)
    assert again.find("/soc").get_cells("reg") == [1, 0, 0, 0x1000]
    assert again.get_text("compatible") == ["a,b", "c"]
    assert [path for path, _ in again.walk()] == ["/", "/soc", "/soc/uart@0"]


def test_dump_reads_like_source():
    assert dump(sample()) == (
        "/dts-v1/;\n\n/ {\n\t#address-cells = <0x2>;\n"
        '\tcompatible = "a,b", "c";\n\tsoc {\n\t\todd = [01 02 03];\n\t\tranges;\n'
        "\t\treg = <0x1 0x0 0x0 0x1000>;\n\t\tuart@0 {\n"
        '\t\t\tstatus = "ok \\"quoted\\"";\n\t\t};\n\t};\n};\n'
    )


@pytest.mark.skipif(not shutil.which("dtc"), reason="needs the device tree compiler dtc")
def test_dtc_reads_what_we_write_and_we_read_what_dtc_writes():
    ours = flatten(sample())
    run = ["dtc", "-q", "-I", "dtb", "-O", "dtb"]
    theirs = subprocess.run(run, input=ours, capture_output=True, check=True).stdout
    assert dump(parse(theirs)) == dump(sample())


def test_values_that_are_not_what_they_are_read_as():
    root = sample()
    with pytest.raises(ImageError):
        root.find("/soc").get_cells("odd")
    with pytest.raises(ImageError):
        root.get_text("#address-cells")
    with pytest.raises(KeyError):
        root.find("/soc/nowhere")


def test_the_writer_refuses_what_cannot_be_in_a_tree():
    root = sample()
    with pytest.raises(ConfigError, match="NUL"):
        root.text("bootargs", "a\0b")
    with pytest.raises(ConfigError, match="twice"):
        root.node("soc")
    root.data("huge", bytes(MAX_BLOB))
    with pytest.raises(ConfigError, match="is more than"):
        flatten(root)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\xd0\x0d\xfe\xed",
        bytes(100),
        blob_of(*ROOT, 2, 9, magic=0xD00DFEEE),
        blob_of(*ROOT, 2, 9, total=20),
        blob_of(*ROOT, 2, 9, total=2**32 - 1),
        blob_of(*ROOT, 2, 9, structure=2**32 - 4),
        blob_of(*ROOT, 2, 9, structure=57),
        blob_of(*ROOT, 2, 9, size=2**32 - 1),
        blob_of(*ROOT, 2, 9, strings_at=2**32 - 1),
        blob_of(*ROOT, 2, 9, strings_size=2**32 - 1),
        blob_of(*ROOT, 2, 9, version=16),
        blob_of(*ROOT, 2, 9, compatible=18),
        blob_of(),
        blob_of(9),
        blob_of(2, 9),
        blob_of(*ROOT),
        blob_of(*ROOT, 2),
        blob_of(*ROOT, 9),
        blob_of(*ROOT, 2, 2, 9),
        blob_of(*ROOT, 2, *ROOT, 2, 9),
        blob_of(*ROOT, *ROOT, 2, 2, 9),
        blob_of(*ROOT, 7, 2, 9),
        blob_of(1, b"root\0\0\0\0", 2, 9),
        blob_of(*ROOT, 1, b"aaaa"),
        blob_of(*ROOT, 1, b"a/b\0", 2, 2, 9),
        blob_of(*ROOT, 1, b"a\x07b\0", 2, 2, 9),
        blob_of(*ROOT, 1, b"abc\0", 2, 1, b"abc\0", 2, 2, 9),
        blob_of(*ROOT, 3, 2**32 - 1, 0, 2, 9),
        blob_of(*ROOT, 3, 4, 0),
        blob_of(*ROOT, 3, 0, 5, 2, 9),
        blob_of(*ROOT, 3, 0, 2**32 - 1, 2, 9),
        blob_of(*ROOT, 3, 0, 0, 2, 9, strings=b"endless"),
        blob_of(*ROOT, 3, 0, 4, 2, 9),
        blob_of(*ROOT, 3, 0, 0, 3, 0, 0, 2, 9),
        blob_of(3, 0, 0, *ROOT, 2, 9),
        blob_of(*ROOT, *(1, b"a\0\0\0") * 100_000),
        blob_of(*ROOT, *([1, b"x" * 299 + b"\0", 2]), 2, 9),
    ],
)
def test_broken_blobs_are_refused_in_one_line(blob):
    with pytest.raises(ImageError, match=r"^dtb 'x': not a sound device tree: [^\n]+$"):
        parse(blob, "dtb 'x'")


def test_nops_and_trailing_bytes_are_fine():
    blob = blob_of(4, *ROOT, 4, 3, 1, 0, b"\7\0\0\0", 4, 2, 4, 9) + bytes(1000)
    assert parse(blob).properties == {"name": b"\7"}


NAMES = st.text(st.characters(min_codepoint=0x30, max_codepoint=0x7A), min_size=1, max_size=20)
TREES = st.recursive(
    st.dictionaries(NAMES, st.binary(max_size=20), max_size=4).map(lambda p: (p, {})),
    lambda below: st.tuples(
        st.dictionaries(NAMES, st.binary(max_size=9), max_size=3),
        st.dictionaries(NAMES, below, max_size=3),
    ),
    max_leaves=12,
)


def grow(node, tree):
    properties, children = tree
    for name, value in properties.items():
        node.data(name, value)
    for name, child in children.items():
        grow(node.node(name), child)
    return node


@settings(max_examples=100, deadline=None)
@given(TREES)
def test_any_tree_survives_flattening(tree):
    root = grow(FdtNode(), tree)
    blob = flatten(root)
    assert flatten(parse(blob)) == blob


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_blobs_parse_or_are_refused(data):
    blob = bytearray(flatten(sample()))
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        dump(parse(bytes(blob[: data.draw(st.integers(0, len(blob)))])))
    except ImageError as error:
        assert "\n" not in str(error)
