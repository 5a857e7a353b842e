"""How an architecture's assembly is written: what assembler and disassembler share.

A `Dialect` names registers and other operand values and lists what the instruction table does not
hold (hints, aliases, macros); each `isa/NAME` makes one. A `Template` is a syntax such as
"lw rd, imm(rs1)", ready to be matched and filled in.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from lamina.base.bits import field as bit_field
from lamina.base.bits import sext, signed
from lamina.isa.encoding import Encoding, Operand
from lamina.isa.insn import Form

Evaluate = Callable[[str], int]
# (arguments, the value of an expression, the macro's own address) -> instruction lines
Macro = Callable[[list[str], Evaluate, int], list[str]]
TARGET = "offset"  # operands whose names begin so are written as the address they lead to
UPPER = 12  # operands whose lowest bit is this one are written as bits 31 to 12

_ARGUMENT = r"(?:'\\?.'|[^,])"


class Template:
    """One syntax: the mnemonic, and the rest as operands, literal words and punctuation."""

    def __init__(
        self,
        syntax: str,
        operands: Collection[str],
        trailing: Iterable[str] = (),
        synonyms: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Words of the syntax that are no operands stand for themselves and their `synonyms`.
        `trailing` operands may follow the others and may be absent."""
        self.mnemonic, _, rest = syntax.partition(" ")
        self.syntax = syntax
        self.tokens = re.findall(r"\w+|[^\w\s]", rest)
        self.trailing = tuple(t for t in trailing if t in operands)
        self.tokens = [t for t in self.tokens if t not in self.trailing]
        if self.trailing and self.tokens and self.tokens[-1] == ",":
            self.tokens.pop()
        self.operands = tuple(t for t in self.tokens if t in operands)
        self._regex = re.compile(self._pattern(synonyms))

    def _pattern(self, synonyms: Mapping[str, str]) -> str:
        parts = []
        for token, after in zip(self.tokens, [*self.tokens, ""][1:], strict=True):
            if token in self.operands:
                parts.append(f"(?P<{token}>{_ARGUMENT}{'*' if after == '(' else '+'}?)")
            else:
                same = [token, *(word for word, name in synonyms.items() if name == token)]
                parts.append(f"(?:{'|'.join(map(re.escape, same))})")
        tail = [rf"(?:\s*,\s*(?P<{t}>\w+))?" for t in self.trailing]
        return r"\s*".join(parts) + "".join(tail)

    def match(self, text: str) -> dict[str, str] | None:
        """Operand texts of what follows the mnemonic; absent trailing ones are left out."""
        found = self._regex.fullmatch(text.strip())
        if found is None:
            return None
        return {k: v.strip() or "0" for k, v in found.groupdict().items() if v is not None}

    def fill(self, texts: Mapping[str, str], suffix: str = "") -> str:
        """The instruction's text; trailing operands that have no text are left out."""
        words = [texts.get(t, t) if t in self.operands else t for t in self.tokens]
        rest = "".join(f"{w} " if w == "," else w for w in words)
        more = [texts[t] for t in self.trailing if t in texts]
        rest = ", ".join([*([rest] if rest else []), *more])
        return f"{self.mnemonic}{suffix} {rest}".rstrip()


@dataclass(frozen=True)
class Dialect:
    """Names and shorthands of one assembly language."""

    registers: Mapping[str, Sequence[str]]  # by operand name: register names by number
    synonyms: Mapping[str, str] = field(default_factory=dict)  # x10 -> a0
    symbols: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by operand name
    hints: Sequence[tuple[str, Encoding]] = ()
    aliases: Sequence[tuple[str, str]] = ()  # ("mv rd, rs1", "addi rd, rs1, 0")
    shorthands: Sequence[tuple[str, str]] = ()  # aliases that are never printed
    macros: Mapping[str, Macro] = field(default_factory=dict)
    trailing: Mapping[str, int] = field(default_factory=dict)  # left out at this value ...
    exceptions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # ... but here
    suffixes: Sequence[tuple[str, Mapping[str, int]]] = ()  # (".aq", {"aq": 1, "rl": 0})

    @cached_property
    def _register_numbers(self) -> dict[str, dict[str, int]]:
        return {o: {name: i for i, name in enumerate(n)} for o, n in self.registers.items()}

    @cached_property
    def _symbol_names(self) -> dict[str, dict[int, str]]:
        return {o: {v: n for n, v in names.items()} for o, names in self.symbols.items()}

    @cached_property
    def register_names(self) -> frozenset[str]:
        return frozenset(name for names in self.registers.values() for name in names)

    def unwritten(self, mnemonic: str) -> Mapping[str, int]:
        """The values of trailing operands that an instruction's text leaves out."""
        return self.exceptions.get(mnemonic, self.trailing)

    def alias_template(self, syntax: str) -> Template:
        """An alias's syntax: its words are operands, but for registers' names and numbers."""
        words = re.findall(r"\w+", syntax.partition(" ")[2])
        operands = [w for w in words if w not in self.register_names and not w.isdigit()]
        return Template(syntax, operands, synonyms=self.synonyms)

    def template(self, syntax: str, encoding: Encoding) -> Template:
        return Template(syntax, encoding.operands, self.trailing, self.synonyms)

    def form_template(self, form: Form) -> Template:
        return self.template(form.syntax, form.encoding)

    def write(self, operand: Operand, value: int) -> str:
        """An operand's value (not a jump target's) as text."""
        names = self.registers.get(operand.name)
        if names is not None:
            return names[value]
        symbol = self._symbol_names.get(operand.name, {}).get(value)
        if symbol is not None:
            return symbol
        if lowest_bit(operand) == UPPER:
            return hex(bit_field(value, 31, UPPER))
        return str(signed(value, 64) if operand.signed else value)

    def read(self, operand: Operand, text: str, evaluate: Evaluate) -> int:
        """The value that a text means for an operand; ValueError if it means none."""
        numbers = self._register_numbers.get(operand.name)
        if numbers is not None:
            if (name := self.synonyms.get(text, text)) not in numbers:
                raise ValueError(f"{text!r} is no register that can be {operand.name}")
            return numbers[name]
        symbol = self.symbols.get(operand.name, {}).get(text)
        if symbol is not None:
            return symbol
        value = evaluate(text)
        if lowest_bit(operand) == UPPER:
            if not -(1 << 19) <= value < 1 << 20:
                raise ValueError(f"{operand.name} = {value} has more than 20 bits")
            return sext(value << UPPER, 32, 64)
        return value


def lowest_bit(operand: Operand) -> int:
    return min(p.low for p in operand.pieces)
