"""The Typer application: puts the commands together. Called by `cli.main`; owns nothing.

A new command is a file with a function, and one line here. Help is plain text: drawing boxes would
cost 0.1 s of each start.
"""

import typer

from lamina.base.version import __version__
from lamina.cli.cmd_boot import boot
from lamina.cli.cmd_cache import cache
from lamina.cli.cmd_doctor import doctor
from lamina.cli.cmd_lockstep import lockstep
from lamina.cli.cmd_profile import profile
from lamina.cli.cmd_run import run
from lamina.cli.cmd_show import show

HELP = """Whole computers as Python objects: boot unmodified operating systems, without KVM and
without root.

\b
Examples:
  lamina run                          boot the built-in guest; nothing is fetched
  lamina run debian                   boot Debian to a shell (Ctrl-] opens a menu)
  lamina run debian -- uname -m       run one command in Debian, exit with its status
  lamina boot --kernel Image          boot any kernel
  lamina show lw                      an instruction: encoding, meaning, host code
  lamina profile -- sha256sum /bin/sh where a guest's time goes
  lamina doctor                       what this host has, and what is used instead
  lamina cache ls                     the compiled code that is kept between runs

\b
Exit status: the guest's own (0 after a plain poweroff), or
  2    what was asked for cannot be done; one line says why
  70   the guest crashed
  124  --timeout ran out
  125  --max-instructions ran out
  130  interrupted
"""

app = typer.Typer(help=HELP, rich_markup_mode=None, add_completion=True)
app.command()(run)
app.command()(boot)
app.command()(doctor)
app.command()(show)
app.command()(lockstep)
app.command()(profile)
app.add_typer(cache, name="cache")


@app.callback()
def lamina(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Only here for the options that stand before a command."""
    if version:
        typer.echo(f"lamina {__version__}")
        raise typer.Exit()
