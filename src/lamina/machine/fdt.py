"""Flattened device trees (Devicetree Specification 0.4, chapter 5): a writer, a strict reader, a
dump.

Boards build a tree of FdtNodes and devices add theirs; `flatten` makes the blob that firmware and
kernels get. `parse` takes blobs from anywhere and refuses what does not hold together.
This is ours because no maintained library does it: the published ones were left alone years ago.
"""

import struct
from collections.abc import Iterator

from lamina.base.bits import align_up
from lamina.base.errors import ConfigError, ImageError

MAGIC = 0xD00D_FEED
VERSION = 17
COMPATIBLE_VERSION = 16
BEGIN_NODE, END_NODE, PROP, NOP, END = 1, 2, 3, 4, 9
HEADER = struct.Struct(">10I")
CELL = struct.Struct(">I")
RESERVE_ENTRY = struct.Struct(">QQ")

MAX_BLOB = 2 << 20  # Linux maps no more than this early in its boot
MAX_DEPTH = 64
MAX_NODES = 1 << 16


class FdtNode:
    """A node: properties as raw bytes and children, both by name and in order."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.properties: dict[str, bytes] = {}
        self.children: dict[str, FdtNode] = {}

    # Building

    def node(self, name: str) -> "FdtNode":
        """Add a child; ConfigError if there is one of that name."""
        if name in self.children:
            raise ConfigError(f"device tree: node {name} is there twice")
        child = self.children[name] = FdtNode(name)
        return child

    def data(self, name: str, value: bytes) -> None:
        """A property of raw bytes."""
        self.properties[name] = bytes(value)

    def flag(self, name: str) -> None:
        """A property without a value."""
        self.properties[name] = b""

    def cells(self, name: str, *values: int) -> None:
        """A property of 32-bit cells."""
        self.properties[name] = b"".join(CELL.pack(value) for value in values)

    def wide(self, name: str, *values: int) -> None:
        """A property of 64-bit values (two cells each)."""
        self.properties[name] = b"".join(struct.pack(">Q", value) for value in values)

    def text(self, name: str, *strings: str) -> None:
        """A property of one or more NUL-terminated strings."""
        if any("\0" in string for string in strings):
            raise ConfigError(f"device tree: {name} must not contain a NUL character")
        self.properties[name] = b"".join(string.encode() + b"\0" for string in strings)

    def reg(self, base: int, size: int) -> None:
        """`reg` with a 64-bit address and a 64-bit size."""
        self.wide("reg", base, size)

    # Reading

    def find(self, path: str) -> "FdtNode":
        """The node at a path below this one, as `/soc/serial@10000000`; KeyError if absent."""
        node = self
        for part in path.strip("/").split("/"):
            node = node.children[part] if part else node
        return node

    def get_cells(self, name: str) -> list[int]:
        """A property as 32-bit cells; KeyError if absent, ImageError if it is not whole cells."""
        value = self.properties[name]
        if len(value) % 4:
            raise ImageError(f"device tree: {name} of {self.name or '/'} is not a row of cells")
        return [cell for (cell,) in CELL.iter_unpack(value)]

    def get_text(self, name: str) -> list[str]:
        """A property as strings; KeyError if absent, ImageError if it is not that."""
        strings = _as_strings(self.properties[name])
        if strings is None:
            raise ImageError(f"device tree: {name} of {self.name or '/'} is not a string")
        return strings

    def walk(self, path: str = "") -> Iterator[tuple[str, "FdtNode"]]:
        """This node and all below it, with their paths, parents first."""
        pending = [(path or "/", self)]
        while pending:
            at, node = pending.pop()
            yield at, node
            below = [(f"{at.rstrip('/')}/{name}", child) for name, child in node.children.items()]
            pending.extend(reversed(below))


def flatten(root: FdtNode, boot_hart: int = 0) -> bytes:
    """The blob (version 17) of a tree; ConfigError if it is too large to boot with."""
    body = bytearray()
    strings = bytearray()
    offsets: dict[str, int] = {}

    def emit(node: FdtNode) -> None:
        body.extend(CELL.pack(BEGIN_NODE) + _padded(node.name.encode() + b"\0"))
        for name, value in node.properties.items():
            if name not in offsets:
                offsets[name] = len(strings)
                strings.extend(name.encode() + b"\0")
            body.extend(struct.pack(">3I", PROP, len(value), offsets[name]) + _padded(value))
        for child in node.children.values():
            emit(child)
        body.extend(CELL.pack(END_NODE))

    emit(root)
    body.extend(CELL.pack(END))
    reserve = align_up(HEADER.size, 8)
    structure = reserve + RESERVE_ENTRY.size
    total = structure + len(body) + len(strings)
    if total > MAX_BLOB:
        raise ConfigError(f"device tree: {total} bytes is more than the {MAX_BLOB} that boot")
    header = HEADER.pack(
        MAGIC,
        total,
        structure,
        structure + len(body),
        reserve,
        VERSION,
        COMPATIBLE_VERSION,
        boot_hart,
        len(strings),
        len(body),
    )
    head = header.ljust(reserve, b"\0") + RESERVE_ENTRY.pack(0, 0)
    return head + bytes(body) + bytes(strings)


def _padded(value: bytes) -> bytes:
    return value.ljust(align_up(len(value), 4), b"\0")


def parse(blob: bytes, what: str = "device tree") -> FdtNode:
    """The tree in a blob; ImageError, beginning with `what`, if the blob is not a sound one."""
    return _Parser(blob, what).tree()


class _Parser:
    """One pass over a blob that nobody vouches for; every offset is checked before use."""

    def __init__(self, blob: bytes, what: str) -> None:
        self._what = what
        if len(blob) < HEADER.size:
            raise self._bad(f"{len(blob)} bytes are too few for a header")
        fields = HEADER.unpack_from(blob)
        magic, total, structure, strings, _, version, compatible, _, strings_size, size = fields
        if magic != MAGIC:
            raise self._bad(f"magic {magic:#010x} instead of {MAGIC:#010x}")
        if not HEADER.size <= total <= min(len(blob), MAX_BLOB):
            raise self._bad(f"total size {total} with {len(blob)} bytes present")
        if version < VERSION or compatible > VERSION:
            raise self._bad(f"version {version} (compatible with {compatible}), not {VERSION}")
        if structure % 4 or structure + size > total or strings + strings_size > total:
            raise self._bad("a block lies outside of the blob")
        self._body = blob[structure : structure + size]
        self._strings = blob[strings : strings + strings_size]
        self._at = 0

    def _bad(self, reason: str) -> ImageError:
        return ImageError(f"{self._what}: not a sound device tree: {reason}")

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._body):
            raise self._bad("the structure block ends too early")
        value = self._body[self._at : end]
        self._at = align_up(end, 4)
        return value

    def _cell(self) -> int:
        return int(CELL.unpack(self._take(4))[0])

    def _name(self, block: bytes, at: int) -> str:
        end = block.find(b"\0", at)
        if at > len(block) or end < 0 or end - at > 255:
            raise self._bad("a name without an end")
        name = block[at:end]
        if any(not 0x21 <= byte <= 0x7E or byte == ord("/") for byte in name):
            raise self._bad(f"name {name[:40]!r}")
        return name.decode("ascii")

    def tree(self) -> FdtNode:
        """Nodes are kept on a list, not on Python's stack, so that depth is ours to limit."""
        root: FdtNode | None = None
        path: list[FdtNode] = []
        count = 0
        while True:
            token = self._cell()
            if token == BEGIN_NODE:
                count += 1
                node = self._begin(path, root is not None)
                root = root or node
                path.append(node)
                if len(path) > MAX_DEPTH or count > MAX_NODES:
                    raise self._bad("nested too deeply, or too many nodes")
            elif token == END_NODE and path:
                path.pop()
            elif token == PROP and path:
                self._property(path[-1])
            elif token == END and root is not None and not path:
                return root
            elif token != NOP:
                raise self._bad(f"token {token:#x} at {self._at - 4:#x} of the structure block")

    def _begin(self, path: list[FdtNode], rooted: bool) -> FdtNode:
        name = self._name(self._body, self._at)
        self._take(len(name) + 1)
        if not path:
            if rooted or name:
                raise self._bad("more than one root, or a root with a name")
            return FdtNode()
        if not name or name in path[-1].children:
            raise self._bad(f"node {name!r} is nameless or there twice")
        return path[-1].node(name)

    def _property(self, node: FdtNode) -> None:
        length, offset = self._cell(), self._cell()
        name = self._name(self._strings, offset)
        if not name or name in node.properties:
            raise self._bad(f"property {name!r} is nameless or there twice")
        node.properties[name] = self._take(length)


def dump(root: FdtNode) -> str:
    """The tree as device-tree source, sorted: for people and golden tests."""
    return "/dts-v1/;\n\n" + "\n".join(_dump_lines(root, 0)) + "\n"


def _dump_lines(node: FdtNode, depth: int) -> Iterator[str]:
    indent = "\t" * depth
    yield f"{indent}{node.name or '/'} {{"
    for name, value in sorted(node.properties.items()):
        yield f"{indent}\t{name}{_dump_value(value)};"
    for _, child in sorted(node.children.items()):
        yield from _dump_lines(child, depth + 1)
    yield f"{indent}}};"


def _dump_value(value: bytes) -> str:
    if not value:
        return ""
    strings = _as_strings(value)
    if strings is not None:
        quoted = (string.replace("\\", "\\\\").replace('"', '\\"') for string in strings)
        return " = " + ", ".join(f'"{string}"' for string in quoted)
    if len(value) % 4 == 0:
        return " = <" + " ".join(f"{cell:#x}" for (cell,) in CELL.iter_unpack(value)) + ">"
    return " = [" + value.hex(" ") + "]"


def _as_strings(value: bytes) -> list[str] | None:
    """The strings of a property, if it looks like some: printable, not empty, NUL-terminated."""
    parts = value.split(b"\0")
    printable = all(part and all(0x20 <= byte <= 0x7E for byte in part) for part in parts[:-1])
    if len(parts) < 2 or parts[-1] or not printable:
        return None
    return [part.decode("ascii") for part in parts[:-1]]
