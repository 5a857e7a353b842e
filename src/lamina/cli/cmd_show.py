"""`lamina show`: all that is known of an instruction. `debug/show.py` finds it; this prints it."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamina.base.errors import ConfigError

if TYPE_CHECKING:
    from lamina.debug.show import Section

Asked = Annotated[
    str | None,
    typer.Argument(
        metavar="INSN",
        help="A mnemonic, a line of assembly, or a number; with --list: an extension.",
        show_default=False,
    ),
]
List = Annotated[bool, typer.Option("--list", help="List all instructions, by extension.")]
Ir = Annotated[bool, typer.Option("--ir", help="Only the IR.")]
Llvm = Annotated[bool, typer.Option("--llvm", help="Only LLVM's assembly of its handler.")]
RegionFile = Annotated[
    Path | None,
    typer.Option(
        "--region",
        metavar="FILE",
        help="The compiled region of a file of assembly, as if all of it were hot.",
    ),
]
Host = Annotated[bool, typer.Option("--host", help="Only the handler's host code.")]


def show(
    insn: Asked = None,
    list_all: List = False,
    ir: Ir = False,
    llvm: Llvm = False,
    host: Host = False,
    region: RegionFile = None,
) -> None:
    """Show an instruction: syntax, encoding, meaning, IR, LLVM and host code.

    The handler is compiled by itself here: what it calls (slow paths, shared routines) stays a
    call, where the whole runtime may inline it. --ir, --llvm and --host may be combined.

    \b
    Examples:
      lamina show lw
      lamina show 'add a0, a0, a1'
      lamina show 0x00a50533
      lamina show c.addi --host
      lamina show --list Zbb
      lamina show --region loop.s --host
    """
    from lamina.debug.show import Guide
    from lamina.isa.riscv import RISCV64
    from lamina.isa.riscv.dialect import dialect

    if region is not None:
        from lamina.debug.show_region import show_region

        sections = show_region(RISCV64, dialect(), _source(region))
        _print(
            [s for s, on in zip(sections, (True, llvm, host), strict=True) if on or llvm == host]
        )
        return
    guide = Guide(RISCV64, dialect())
    if list_all:
        _print(guide.table(insn))
        return
    if insn is None:
        raise ConfigError("which instruction? as in: lamina show lw; or lamina show --list")
    for found in guide.find(insn):
        everything = not (ir or llvm or host)
        sections = guide.overview(found) if everything else []
        if ir or everything:
            sections.append(guide.ir(found.form))
        if llvm or host or everything:
            in_llvm, on_host = guide.compiled(found.form)
            sections += [in_llvm] if llvm or everything else []
            sections += [on_host] if host or everything else []
        _print(sections)


def _source(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--region {file}: cannot be read: {error}") from None


def _print(sections: "list[Section]") -> None:
    """Each section under its title; in colours on a terminal."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # boxes, on a terminal that has none
    if not sys.stdout.isatty():
        for section in sections:
            typer.echo(f"{section.title}\n{_indent(section.text)}\n")
        return
    from rich.console import Console
    from rich.syntax import Syntax
    from rich.text import Text

    console = Console(highlight=False)
    for section in sections:
        console.print(Text(section.title, style="bold cyan"))
        body = Text(_indent(section.text))
        if section.language == "ir":
            body.highlight_regex(r"%\d+(:\d+)?", "green")
            body.highlight_regex(r"(?m)(^|= )\s*[a-z][\w.]*", "bold")
        elif section.language:
            body = Syntax("", section.language, theme="ansi_dark").highlight(_indent(section.text))
            body.rstrip()
        console.print(body, soft_wrap=True)
        console.print()


def _indent(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
