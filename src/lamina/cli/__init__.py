"""The command line. `main` is the console script `lamina`; a command is a file, `cmd_NAME.py`.

Owns the process's exit status: a LaminaError becomes one line on standard error and status 2.
Starting quickly matters (`--version` and `--help` are asked for often), so nothing heavier than
the command in question is imported: engines, rich and the image builder come in when used.
"""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from lamina.base.errors import LaminaError
from lamina.base.version import __version__

STATUS_USER_ERROR = 2
STATUS_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `lamina` with these arguments (the process's own by default), and exit."""
    _open_standard_descriptors()
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if given == ["--version"]:
        print(f"lamina {__version__}")
        sys.exit(0)
    from lamina.cli.app import app

    try:
        status = app(args=given, prog_name="lamina", standalone_mode=False)
    except LaminaError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(STATUS_INTERRUPTED)
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except OSError as error:
        _drop_output()
        _fail(str(error))
    except Exception as error:
        # The option parser's own errors: Typer carries its parser along in some versions and
        # imports it in others, so they are known by what they can do.
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{error.format_message()} (see lamina --help)")
    sys.exit(status if isinstance(status, int) else 0)


def _open_standard_descriptors() -> None:
    """Descriptors 0, 1 and 2 exist: else guest memory or a socket could come to lie there, and be
    read as the terminal's input."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def _drop_output() -> None:
    """What standard output did not take is not tried again at the process's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> NoReturn:
    """One line; what came from a file's name or a guest cannot steer the terminal."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))
    print(f"lamina: error: {line}", file=sys.stderr)
    sys.exit(STATUS_USER_ERROR)
