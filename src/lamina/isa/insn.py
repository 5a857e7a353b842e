"""Instructions: the `@insn` declaration, its capture into IR, and the table of an architecture.

An instruction stands once: assembly syntax, encoding and meaning side by side.

    @insn("lw rd, imm(rs1)", "imm[11:0] rs1 010 rd 0000011")
    def lw(h, rd, rs1, imm):
        h.x[rd] = h.load(h.x[rs1] + imm, 4).sext(64)

Decoder, assembler, disassembler, engines and documentation derive from it. Compressed forms are
declared as what they expand to, and share the meaning of their expansion.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lamina.ir.build import Builder
from lamina.ir.graph import Routine
from lamina.ir.passes import simplify
from lamina.ir.verify import verify
from lamina.isa.encoding import Encoding, parse

Semantics = Callable[..., None]


@dataclass(eq=False)
class Insn:
    """One instruction form."""

    syntax: str
    pattern: str
    extension: str
    semantics: Semantics
    builder: Callable[[str], Builder]

    @cached_property
    def encoding(self) -> Encoding:
        """The pattern, taken apart when it is first asked for; ValueError if it lacks a field."""
        encoding = parse(self.pattern)
        unknown = set(self.operands) - set(encoding.operands)
        if unknown:
            raise ValueError(f"{self.syntax}: no field for {sorted(unknown)}")
        return encoding

    @property
    def name(self) -> str:
        """The mnemonic."""
        return self.syntax.split()[0]

    @property
    def operands(self) -> tuple[str, ...]:
        """Operand names in the order of the semantics' parameters."""
        code = self.semantics.__code__
        return code.co_varnames[1 : code.co_argcount]

    @property
    def doc(self) -> str:
        return (self.semantics.__doc__ or "").strip()

    @cached_property
    def routine(self) -> Routine:
        """The captured meaning; operands appear as `operand` operations of 64 bits."""
        b = self.builder(self.name)
        values = {n: b.operand(n) for n in self.operands}
        self.semantics(b, **values)
        return simplify(verify(b.finish()))

    # What engines ask: an instruction stands for itself.
    @property
    def base(self) -> "Insn":
        return self

    def base_operands(self, values: dict[str, int]) -> dict[str, int]:
        """The operand values of `base` for decoded operand values of this form."""
        return {n: values[n] for n in self.operands}


@dataclass(eq=False)
class Expansion:
    """A form that stands for another instruction, as the compressed ones do."""

    syntax: str
    pattern: str
    extension: str
    target: str  # syntax with operands of this form or numbers, such as "addi rd, rd, imm"
    table: "InsnTable"

    @cached_property
    def encoding(self) -> Encoding:
        return parse(self.pattern)

    @property
    def name(self) -> str:
        return self.syntax.split()[0]

    @cached_property
    def base(self) -> Insn:
        found = self.table.by_name[self.target.split()[0]]
        assert isinstance(found, Insn), f"{self.name} expands to another expansion"
        return found

    @cached_property
    def mapping(self) -> dict[str, str | int]:
        """Operand of the base: operand of this form, or a number."""
        ours, theirs = syntax_operands(self.target), syntax_operands(self.base.syntax)
        if len(ours) != len(theirs):
            raise ValueError(f"{self.name}: {self.target!r} does not fit {self.base.syntax!r}")
        pairs = zip(theirs, ours, strict=True)
        return {t: int(o, 0) if o.lstrip("-")[0].isdigit() else o for t, o in pairs}

    @property
    def operands(self) -> tuple[str, ...]:
        return tuple(self.encoding.operands)

    @property
    def doc(self) -> str:
        return f"Expands to {self.target}."

    @property
    def routine(self) -> Routine:
        return self.base.routine

    def base_operands(self, values: dict[str, int]) -> dict[str, int]:
        full = {t: values[o] if isinstance(o, str) else o for t, o in self.mapping.items()}
        return {n: full.get(n, 0) for n in self.base.operands}


Form = Insn | Expansion


def syntax_operands(syntax: str) -> list[str]:
    """The operand words of a syntax template: "lw rd, imm(rs1)" has rd, imm, rs1."""
    _, _, rest = syntax.partition(" ")
    return re.findall(r"-?\w+", rest)


@dataclass
class InsnTable:
    """All instruction forms of an architecture."""

    builder: Callable[[str], Builder]
    forms: list[Form] = field(default_factory=list)
    by_name: dict[str, Form] = field(default_factory=dict)

    def extension(self, extension: str) -> Callable[[str, str], Callable[[Semantics], Semantics]]:
        """The `@insn` decorator for one extension."""

        def insn(syntax: str, pattern: str) -> Callable[[Semantics], Semantics]:
            def declare(semantics: Semantics) -> Semantics:
                self._add(Insn(syntax, pattern, extension, semantics, self.builder))
                return semantics

            return declare

        return insn

    def expansions(self, extension: str) -> Callable[[str, str, str], None]:
        """Declares forms that expand to others: (syntax, pattern, target)."""

        def expand(syntax: str, pattern: str, target: str) -> None:
            self._add(Expansion(syntax, pattern, extension, target, self))

        return expand

    def _add(self, form: Form) -> None:
        """The first form of a name is found by that name; further ones (constrained encodings of
        the same mnemonic) are decoded alike."""
        self.forms.append(form)
        self.by_name.setdefault(form.name, form)

    @cached_property
    def _buckets(self) -> dict[tuple[int, int], list[Form]]:
        """Forms by length and by the low seven (or, compressed, two) bits."""
        buckets: dict[tuple[int, int], list[Form]] = {}
        for form in self.forms:
            e = form.encoding
            for low in range(1 << 7):
                if low & e.mask & 0x7F == e.match & 0x7F:
                    buckets.setdefault((e.length, low), []).append(form)
        return buckets

    def decode(self, insn: int, length: int) -> Form | None:
        """The form that these bits encode, or None for an illegal instruction."""
        for form in self._buckets.get((length, insn & 0x7F), ()):
            if form.encoding.matches(insn):
                return form
        return None

    def overlaps(self) -> Iterator[tuple[Form, Form, int]]:
        """Pairs of forms that both match some instruction word, with such a word."""
        for i, a in enumerate(self.forms):
            for b in self.forms[i + 1 :]:
                ea, eb = a.encoding, b.encoding
                if ea.length != eb.length or (ea.match ^ eb.match) & ea.mask & eb.mask:
                    continue
                word = _common_word(ea, eb)
                if word is not None:
                    yield a, b, word


def _common_word(a: Encoding, b: Encoding) -> int | None:
    """A word that both encodings match, searched over the values of constrained operands."""
    free = ~(a.mask | b.mask) & ((1 << (8 * a.length)) - 1)
    constrained = [o for e in (a, b) for o in e.operands.values() if o.forbidden]
    bits = sorted({p.insn_low + i for o in constrained for p in o.pieces for i in range(p.width)})
    bits = [b_ for b_ in bits if free >> b_ & 1]
    for pattern in range(1 << min(len(bits), 12)):
        word = a.match | b.match
        for i, bit in enumerate(bits):
            word |= (pattern >> min(i, 11) & 1) << bit
        if a.matches(word) and b.matches(word):
            return word
    return None


def operand_values(form: Form, insn: int) -> dict[str, int]:
    """Decoded operands of the base instruction."""
    return form.base_operands(form.encoding.decode(insn))


def describe(form: Form) -> dict[str, Any]:
    """What `lamina show` prints of a form before its IR."""
    return {
        "syntax": form.syntax,
        "encoding": form.encoding.pattern,
        "extension": form.extension,
        "meaning": form.doc,
    }
