"""The assembler: text to machine code, derived from the instruction table.

For tests, the monitor and small guest programs: one instruction form a line, labels (also numeric
ones: `1:`, `1b`, `1f`), expressions of integers and labels, the aliases and macros of the dialect,
and the directives .byte .half .word .dword .ascii .asciz .zero .balign .equ. A jump's operand is
the address it leads to; `.` is the current address. Instructions are never shortened: compressed
ones are written as `c.*`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from lamina.base.bits import U64, align_up
from lamina.base.errors import LaminaError
from lamina.isa.dialect import TARGET, Dialect, Template
from lamina.isa.encoding import Encoding
from lamina.isa.expression import evaluate
from lamina.isa.insn import InsnTable

MAX_PROGRAM = 1 << 24  # bytes
DATA = {".byte": 1, ".half": 2, ".word": 4, ".dword": 8}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\", '"': '"'}

_LABEL = re.compile(r"\s*([A-Za-z_.$][\w.$]*|\d+):(.*)")
_LOCAL = re.compile(r"(?<![\w.$])(\d+)([bf])(?![\w.$])")


class AssemblyError(LaminaError):
    """A line that cannot be assembled; the message names it."""


@dataclass
class Program:
    """Assembled code for `base`, and the addresses of its labels."""

    base: int
    code: bytes
    symbols: dict[str, int]


@dataclass
class _Pass:
    """One walk over the source. In the first, unknown symbols read as the current address."""

    final: bool
    base: int
    symbols: dict[str, int]
    locals: dict[str, list[int]]
    code: bytearray = field(default_factory=bytearray)

    @property
    def at(self) -> int:
        return self.base + len(self.code)

    def value(self, text: str) -> int:
        def local(match: re.Match[str]) -> str:
            return str(self._local(match[1], match[2]))

        return evaluate(_LOCAL.sub(local, text), self._symbol)

    def _symbol(self, name: str) -> int:
        if name == ".":
            return self.at
        if name not in self.symbols and self.final:
            raise ValueError(f"unknown symbol {name!r}")
        return self.symbols.get(name, self.at)

    def _local(self, label: str, direction: str) -> int:
        known = self.locals.get(label, [])
        if direction == "b":
            found = [a for a in known if a <= self.at][-1:]
        else:
            found = [a for a in known if a > self.at][:1]
        if not found and self.final:
            raise ValueError(f"no label {label}: for {label}{direction}")
        return found[0] if found else self.at


class Assembler:
    """Assembles for one architecture."""

    def __init__(self, table: InsnTable, dialect: Dialect) -> None:
        self.dialect = dialect
        self._forms: dict[str, list[tuple[Template, Encoding]]] = {}
        self._aliases: dict[str, list[tuple[Template, str]]] = {}
        for syntax, encoding in dialect.hints:
            self._add_form(syntax, encoding)
        for form in table.forms:
            self._add_form(form.syntax, form.encoding)
        for syntax, target in (*dialect.aliases, *dialect.shorthands):
            if target.split()[0] in self._forms:
                words = re.findall(r"\w+", syntax.partition(" ")[2])
                template = Template(syntax, words)
                self._aliases.setdefault(template.mnemonic, []).append((template, target))

    def _add_form(self, syntax: str, encoding: Encoding) -> None:
        template = self.dialect.template(syntax, encoding)
        self._forms.setdefault(template.mnemonic, []).append((template, encoding))

    def line(self, text: str, pc: int = 0) -> bytes:
        """The code of one line at address `pc`; AssemblyError if there is none."""
        return self.program(text, pc).code

    def program(self, source: str, base: int = 0, symbols: dict[str, int] | None = None) -> Program:
        """Assemble lines for the address `base`; `symbols` are known beforehand."""
        known: dict[str, int] = dict(symbols or {})
        local: dict[str, list[int]] = {}
        lines = source.splitlines()
        first = self._run(lines, _Pass(False, base, dict(known), local))
        given = {**first.symbols}
        last = self._run(lines, _Pass(True, base, given, local))
        return Program(base, bytes(last.code), last.symbols)

    # -- statements --------------------------------------------------------------------------
    def _run(self, lines: list[str], walk: _Pass) -> _Pass:
        for number, line in enumerate(lines, 1):
            try:
                for statement in _statements(line):
                    self._statement(statement, walk)
                if len(walk.code) > MAX_PROGRAM:
                    raise ValueError(f"more than {MAX_PROGRAM} bytes of code")
            except ValueError as e:
                raise AssemblyError(f"line {number}: {line.strip()}: {e}") from None
        return walk

    def _statement(self, text: str, walk: _Pass) -> None:
        while match := _LABEL.fullmatch(text):
            self._label(match[1], walk)
            text = match[2]
        text = text.strip()
        if not text:
            return
        word, rest = (*text.split(None, 1), "")[:2]
        if word.startswith("."):
            self._directive(word, rest.strip(), walk)
        else:
            self._instruction(word, rest.strip(), walk)

    def _label(self, name: str, walk: _Pass) -> None:
        if name.isdigit():
            if not walk.final:
                walk.locals.setdefault(name, []).append(walk.at)
        elif not walk.final and name in walk.symbols:
            raise ValueError(f"label {name} is defined twice")
        elif walk.final and walk.symbols[name] != walk.at:
            raise ValueError(f"label {name} moved: a size depends on a later label")
        else:
            walk.symbols[name] = walk.at

    def _directive(self, word: str, rest: str, walk: _Pass) -> None:
        if size := DATA.get(word):
            for part in split_arguments(rest):
                value = walk.value(part)
                if walk.final and not -(1 << (8 * size - 1)) <= value < 1 << (8 * size):
                    raise ValueError(f"{value} does not fit into {size} bytes")
                walk.code += (value % (1 << (8 * size))).to_bytes(size, "little")
        elif word in (".ascii", ".asciz"):
            walk.code += _string(rest) + (b"\0" if word == ".asciz" else b"")
        elif word == ".zero":
            walk.code += bytes(_size(walk.value(rest)))
        elif word == ".balign":
            alignment = _size(walk.value(rest))
            if alignment & (alignment - 1) or not alignment:
                raise ValueError(f"{alignment} is not a power of two")
            walk.code += bytes(align_up(walk.at, alignment) - walk.at)
        elif word == ".equ":
            name, _, expression = rest.partition(",")
            walk.symbols[name.strip()] = walk.value(expression)
        else:
            raise ValueError(f"unknown directive {word}")

    # -- instructions ------------------------------------------------------------------------
    def _instruction(self, mnemonic: str, rest: str, walk: _Pass) -> None:
        macro = self.dialect.macros.get(mnemonic)
        if macro is not None:
            for line in macro(split_arguments(rest), walk.value, walk.at):
                self._statement(line, walk)
            return
        complaint = ""
        for template, encoding, fixed in self._candidates(mnemonic):
            texts = template.match(rest)
            if texts is None:
                complaint = complaint or f"write it like: {template.syntax}"
                continue
            try:
                insn = encoding.encode({**fixed, **self._values(encoding, texts, walk)})
            except ValueError as e:
                if not walk.final:
                    walk.code += bytes(encoding.length)
                    return
                complaint = str(e)
                continue
            walk.code += insn.to_bytes(encoding.length, "little")
            return
        if self._expand_alias(mnemonic, rest, walk):
            return
        raise ValueError(complaint or f"unknown instruction {mnemonic}")

    def _candidates(self, mnemonic: str) -> list[tuple[Template, Encoding, dict[str, int]]]:
        """Forms of a mnemonic with the operand values that it implies by a suffix."""
        found = [(t, e, dict(self.dialect.trailing)) for t, e in self._forms.get(mnemonic, [])]
        for suffix, values in self.dialect.suffixes:
            if mnemonic.endswith(suffix):
                for t, e in self._forms.get(mnemonic.removesuffix(suffix), []):
                    if all(v in e.operands for v in values):
                        found.append((t, e, {**self.dialect.trailing, **values}))
        return found

    def _values(self, encoding: Encoding, texts: dict[str, str], walk: _Pass) -> dict[str, int]:
        values = {}
        for name, text in texts.items():
            value = self.dialect.read(encoding.operands[name], text, walk.value)
            if name.startswith(TARGET):
                distance = (value - walk.at) & U64
                value = distance - (1 << 64) if distance >> 63 else distance
            values[name] = value
        return values

    def _expand_alias(self, mnemonic: str, rest: str, walk: _Pass) -> bool:
        for template, target in self._aliases.get(mnemonic, []):
            texts = template.match(rest)
            if texts is not None:
                head, _, tail = target.partition(" ")
                words = re.split(r"(\w+)", tail)
                self._instruction(head, "".join(texts.get(w, w) for w in words), walk)
                return True
        return False


def split_arguments(text: str) -> list[str]:
    """Split at commas that are not inside parentheses or quotes."""
    parts = re.findall(r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'|\([^()]*\)|[^,])+""", text)
    return [p.strip() for p in parts]


def _statements(line: str) -> list[str]:
    """The statements of a line, without its comment."""
    quoted = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'|[^#;"'/]|/(?!/))*"""
    code = re.match(rf"{quoted}(?:;{quoted})*", line)
    assert code is not None
    rest = line[code.end() :]
    if rest and not rest.startswith(("#", "//")):
        raise ValueError("a quote is not closed")
    return re.findall(rf"(?!$){quoted}", code[0])


def _string(text: str) -> bytes:
    if not re.fullmatch(r'"(\\[ntr0\\"]|[^"\\])*"', text):
        raise ValueError(f"{text} is not a string in double quotes")
    replace: Callable[[re.Match[str]], str] = lambda m: ESCAPES[m[1]]  # noqa: E731
    return re.sub(r"\\(.)", replace, text[1:-1]).encode()


def _size(value: int) -> int:
    if not 0 <= value <= MAX_PROGRAM:
        raise ValueError(f"{value} is not a size from 0 to {MAX_PROGRAM}")
    return value
