"""What is known of an instruction, as text: the contents of `lamina show`.

An instruction is asked for by its mnemonic, as a line of assembly, or as the number that encodes
it. Everything printed derives from its one declaration. Called by `cli/cmd_show.py`; owns nothing.
"""

import difflib
from dataclasses import dataclass
from itertools import groupby

from lamina.base.errors import LaminaError
from lamina.ir.text import render
from lamina.isa.arch import Arch
from lamina.isa.asm import Assembler, AssemblyError
from lamina.isa.dialect import Dialect
from lamina.isa.disasm import Disassembler
from lamina.isa.encoding import token_width
from lamina.isa.insn import Expansion, Form, operand_values

WORD_BITS = 32
MAX_MATCHES = 4  # near names in an error message


class UnknownInstruction(LaminaError):
    """There is no such instruction."""


@dataclass(frozen=True)
class Found:
    """An instruction form, and its bits if these were given."""

    form: Form
    bits: int | None = None


@dataclass(frozen=True)
class Section:
    """A titled part of the answer. `language` names what it is written in, for colours."""

    title: str
    text: str
    language: str = ""


class Guide:
    """Finds and describes the instructions of one architecture."""

    def __init__(self, arch: Arch, dialect: Dialect) -> None:
        self.arch = arch
        self.dialect = dialect

    # -- finding -------------------------------------------------------------------------------
    def find(self, asked: str) -> list[Found]:
        """The forms that are meant; UnknownInstruction if there are none."""
        asked = asked.strip().lower()
        forms = [form for form in self.arch.table.forms if form.name == asked]
        if forms:
            return [Found(form) for form in forms]
        if asked[:1].isdigit():
            return [self._by_number(asked)]
        if " " in asked:
            return self._by_line(asked)
        for syntax, target in (*self.dialect.aliases, *self.dialect.shorthands):
            if syntax.split()[0] == asked:
                return self.find(target.split()[0])
        raise self._unknown(asked)

    def _by_number(self, text: str) -> Found:
        try:
            bits = int(text, 0)
        except ValueError:
            raise UnknownInstruction(f"{text!r} is not a number; write it as 0x00a50533") from None
        if bits >> WORD_BITS:
            raise UnknownInstruction(f"{text}: an instruction has at most {WORD_BITS} bits")
        length = self.arch.insn_length(bits & 0xFFFF)
        if length == 2 and bits >> 16:
            raise UnknownInstruction(
                f"{text}: its low bits are those of a 16-bit instruction, {bits & 0xFFFF:#06x}"
            )
        form = self.arch.table.decode(bits, length)
        if form is None:
            raise UnknownInstruction(f"{bits:#0{2 + 2 * length}x} is an illegal instruction")
        return Found(form, bits)

    def _by_line(self, line: str) -> list[Found]:
        try:
            code = Assembler(self.arch.table, self.dialect).line(line)
        except AssemblyError as error:
            mnemonic = line.split()[0]
            if any(form.name == mnemonic for form in self.arch.table.forms):
                reason = str(error).removeprefix("line 1: ")
                raise UnknownInstruction(reason) from None
            raise self._unknown(mnemonic) from None
        listing = Disassembler(self.arch.table, self.dialect).listing(
            code, 0, self.arch.insn_length
        )
        found = [(self.arch.table.decode(bits, length), bits) for _, bits, length, _ in listing]
        return [Found(form, bits) for form, bits in found if form is not None]

    def _unknown(self, name: str) -> UnknownInstruction:
        names = sorted({form.name for form in self.arch.table.forms})
        near = difflib.get_close_matches(name, names, MAX_MATCHES, 0.5)
        near = near or [known for known in names if known.startswith(name[:3])][:MAX_MATCHES]
        hint = f"; near it: {', '.join(near)}" if near else "; see lamina show --list"
        return UnknownInstruction(f"no instruction is called {name!r}{hint}")

    # -- describing ----------------------------------------------------------------------------
    def overview(self, found: Found) -> list[Section]:
        """Name, syntax, encoding and meaning."""
        form = found.form
        head = [("syntax", form.syntax), ("extension", form.extension)]
        aliases = [
            f"{syntax}  ->  {target}"
            for syntax, target in (*self.dialect.aliases, *self.dialect.shorthands)
            if target.split()[0] == form.name
        ]
        if isinstance(form, Expansion):
            head.append(("expands to", form.target))
        if found.bits is not None:
            head += self._decoded(found.form, found.bits)
        if form.doc and not isinstance(form, Expansion):
            head.append(("meaning", " ".join(form.doc.split())))
        head += [("alias" if number == 0 else "", text) for number, text in enumerate(aliases)]
        lines = [f"{name:11} {text}".rstrip() for name, text in head]
        return [
            Section(form.name, "\n".join(lines)),
            Section("encoding", draw_encoding(form.encoding.pattern)),
        ]

    def _decoded(self, form: Form, bits: int) -> list[tuple[str, str]]:
        length = form.encoding.length
        text = Disassembler(self.arch.table, self.dialect).text(bits, length)
        operands = form.encoding.operands
        values = form.encoding.decode(bits)
        said = [
            f"{n} = .{_signed(v):+}"
            if n.startswith("offset")
            else f"{n} = {self.dialect.write(operands[n], v)}"
            for n, v in values.items()
        ]
        facts = [("bits", f"{bits:#0{2 + 2 * length}x}"), ("this one", text)]
        if said:
            facts.append(("operands", ", ".join(said)))
        if isinstance(form, Expansion):
            base = form.base.encoding
            full = base.encode(operand_values(form, bits))
            plain = Disassembler(self.arch.table, self.dialect, aliases=False)
            facts.append(("runs as", plain.text(full, base.length)))
        return facts

    def ir(self, form: Form) -> Section:
        """The meaning as the engines take it."""
        return Section("IR, after passes", render(form.routine).rstrip(), "ir")

    def compiled(self, form: Form) -> tuple[Section, Section]:
        """LLVM assembly and host code of the threaded engine's handler."""
        from lamina.engine.threaded.single import list_handler  # LLVM, only for who asks for it

        single = list_handler(self.arch, form)
        variant = " for a target in the same page" if single.local else ""
        return (
            Section(f"LLVM of the threaded handler{variant}, optimised", single.llvm, "llvm"),
            Section(f"host code ({single.target})", single.host, "gas"),
        )

    # -- listing -------------------------------------------------------------------------------
    def table(self, extension: str | None = None) -> list[Section]:
        """All instructions, a section an extension; UnknownInstruction for an unknown extension."""
        forms = sorted(self.arch.table.forms, key=lambda form: form.extension)
        sections = []
        for name, group in groupby(forms, key=lambda form: form.extension):
            if extension is None or name.lower() == extension.lower():
                members = list(group)
                width = max(len(form.syntax) for form in members)
                lines = [f"{form.syntax:{width}}  {_summary(form)}".rstrip() for form in members]
                sections.append(Section(f"{name} ({len(members)})", "\n".join(lines)))
        if not sections:
            known = ", ".join(sorted({form.extension for form in forms}))
            raise UnknownInstruction(f"no extension is called {extension!r}; there are {known}")
        return sections


def _summary(form: Form) -> str:
    if isinstance(form, Expansion):
        return f"-> {form.target}"
    return form.doc.split("\n")[0]


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def draw_encoding(pattern: str) -> str:
    """An encoding's fields from the most significant bit down, under their bit numbers."""
    tokens = pattern.split()
    at = sum(map(token_width, tokens))
    numbers, cells = [], []
    for token in tokens:
        high, at = at - 1, at - token_width(token)
        ends = str(high) if high == at else f"{high} {at}"
        width = max(len(token), len(ends))
        number = str(high) if high == at else f"{high}{str(at).rjust(width - len(str(high)))}"
        numbers.append(number.center(width))
        cells.append(token.center(width))
    rule = ["─" * (len(cell) + 2) for cell in cells]
    return "\n".join(
        [
            "  " + "   ".join(numbers),
            "┌" + "┬".join(rule) + "┐",
            "│ " + " │ ".join(cells) + " │",
            "└" + "┴".join(rule) + "┘",
        ]
    )
