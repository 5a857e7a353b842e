"""The disassembler: instruction words as text, derived from the instruction table.

What it prints assembles to the same bits again (`isa.asm`); an instruction whose bits its syntax
cannot say (a fence with unknown mode bits) is printed as data with the instruction as a comment.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lamina.base.bits import U64, signed
from lamina.isa.dialect import TARGET, Dialect, Template
from lamina.isa.encoding import Encoding, Operand
from lamina.isa.insn import Form, InsnTable


@dataclass(frozen=True, slots=True)
class _Alias:
    """A shorthand: its own template, and what the target's operands have to be for it."""

    template: Template
    names: dict[str, str]  # target operand -> alias operand
    values: dict[str, int]  # target operand -> the value it must have


class Disassembler:
    """Text of instructions of one architecture."""

    def __init__(self, table: InsnTable, dialect: Dialect, aliases: bool = True) -> None:
        """`aliases` prints shorthands such as `ret` instead of `jalr zero, 0(ra)`."""
        self.table = table
        self.dialect = dialect
        self._templates: dict[int, Template] = {}
        self._aliases: dict[str, list[_Alias]] = {}
        for syntax, target in dialect.aliases if aliases else ():
            self._add_alias(syntax, target)

    def text(self, insn: int, length: int, pc: int | None = None) -> str:
        """One instruction of `length` bytes; jump targets are relative if there is no pc."""
        for syntax, encoding in self.dialect.hints:
            if encoding.length == length and encoding.matches(insn):
                return self._fill(self.dialect.template(syntax, encoding), encoding, insn, pc)
        form = self.table.decode(insn, length)
        if form is None:
            return _data(insn, length)
        template = self._templates.get(id(form))
        if template is None:
            template = self._templates[id(form)] = self.dialect.form_template(form)
        return self._alias(form, insn, pc) or self._fill(template, form.encoding, insn, pc)

    def listing(
        self, code: bytes, base: int, insn_length: Callable[[int], int]
    ) -> Iterator[tuple[int, int, int, str]]:
        """(address, bits, length, text) of each instruction; `insn_length(low16)` is the Arch's."""
        at = 0
        while at + 2 <= len(code):
            length = insn_length(int.from_bytes(code[at : at + 2], "little"))
            length = min(length, len(code) - at)
            bits = int.from_bytes(code[at : at + length], "little")
            yield base + at, bits, length, self.text(bits, length, base + at)
            at += length

    # -- parts of a text ---------------------------------------------------------------------
    def _fill(self, template: Template, encoding: Encoding, insn: int, pc: int | None) -> str:
        values = encoding.decode(insn)
        suffix, said = self._suffix(encoding, values)
        texts = {}
        for name in template.operands:
            texts[name] = self._operand(encoding.operands[name], values[name], pc)
            said[name] = values[name]
        for name in template.trailing:
            said[name] = values[name]
            if values[name] != self.dialect.trailing[name]:
                texts[name] = self.dialect.write(encoding.operands[name], values[name])
        text = template.fill(texts, suffix)
        if encoding.encode(said) != insn:
            return f"{_data(insn, encoding.length)} # {text}"
        return text

    def _suffix(self, encoding: Encoding, values: dict[str, int]) -> tuple[str, dict[str, int]]:
        for suffix, needs in self.dialect.suffixes:
            if all(values.get(n) == v and n in encoding.operands for n, v in needs.items()):
                return suffix, dict(needs)
        return "", {}

    def _operand(self, operand: Operand, value: int, pc: int | None) -> str:
        if not operand.name.startswith(TARGET):
            return self.dialect.write(operand, value)
        if pc is not None:
            return hex((pc + value) & U64)
        distance = signed(value, 64)
        return f".{'-' if distance < 0 else '+'}{abs(distance)}"

    # -- shorthands --------------------------------------------------------------------------
    def _add_alias(self, syntax: str, target: str) -> None:
        form = self.table.by_name.get(target.split()[0])
        if form is None:
            return  # an extension that this table does not have
        texts = self.dialect.form_template(form).match(target.partition(" ")[2])
        if texts is None:
            raise ValueError(f"alias {syntax!r}: {target!r} is not {form.syntax!r}")
        words = set(syntax.replace(",", " ").replace("(", " ").replace(")", " ").split()[1:])
        names = {o: t for o, t in texts.items() if t in words}
        operands = form.encoding.operands
        fixed = {o: t for o, t in texts.items() if o not in names}
        try:
            values = {
                o: self.dialect.read(operands[o], t, lambda e: int(e, 0)) for o, t in fixed.items()
            }
        except ValueError:
            return  # a CSR that this dialect does not name
        template = Template(syntax, set(names.values()))
        self._aliases.setdefault(form.name, []).append(_Alias(template, names, values))

    def _alias(self, form: Form, insn: int, pc: int | None) -> str | None:
        operands = form.encoding.operands
        for alias in self._aliases.get(form.name, ()):
            values = form.encoding.decode(insn)
            texts: dict[str, str] = {}
            if any(values[o] != v & U64 for o, v in alias.values.items()):
                continue
            same = all(
                texts.setdefault(n, self._operand(operands[o], values[o], pc))
                == self._operand(operands[o], values[o], pc)
                for o, n in alias.names.items()
            )
            said = {o: values[o] for o in (*alias.names, *alias.values)}
            if same and form.encoding.encode({**self.dialect.trailing, **said}) == insn:
                return alias.template.fill(texts)
        return None


def _data(insn: int, length: int) -> str:
    directive = {1: ".byte", 2: ".half", 4: ".word"}.get(length)
    if directive is None:
        return ".byte " + ", ".join(hex(b) for b in insn.to_bytes(length, "little"))
    return f"{directive} {insn:#0{2 + 2 * length}x}"
