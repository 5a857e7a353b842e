"""What one run tells the guest's first process: a command, its environment, the terminal's size.

The pair of `debian_init.sh`, which reads the two files made here. They travel in a small archive
that is put behind the initrd, so neither the initrd nor the kernel's command line changes. Called
by `cli/launch.py`; `images/debian.py` re-exports it. Owns nothing.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence

from lamina.base.errors import ConfigError
from lamina.images import cpio

COMMAND_FILE = "lamina/command"
SESSION_FILE = "lamina/session"
MAX_COMMAND = 1 << 17


def command_initrd(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    window: tuple[int, int] | None = None,
    raw_input: bool = False,
    raw_output: bool = False,
    ready: bytes = b"",
) -> bytes:
    """The archive that follows the initrd. An empty `argv` asks for an interactive shell.

    `window` is (rows, columns). `raw_input`: the host's input is no terminal, so nothing is
    echoed. `raw_output`: the host's output is none, so line ends stay as the command wrote them.
    `ready` is printed just before the command or the shell starts.
    """
    settings = [f"export {_variable(name)}={shlex.quote(value)}" for name, value in env.items()]
    if window is not None and all(0 < size < 10_000 for size in window):
        settings += [f"ROWS={window[0]}", f"COLUMNS={window[1]}"]
    settings += ["RAW_INPUT=1"] if raw_input else []
    settings += ["RAW_OUTPUT=1"] if raw_output else []
    settings += ["READY='" + "".join(f"\\{byte:03o}" for byte in ready) + "'"] if ready else []
    entries = [cpio.regular(SESSION_FILE, _script(settings))]
    if argv:
        entries.append(cpio.regular(COMMAND_FILE, _script(["exec " + shlex.join(argv)])))
    return b"".join(cpio.archive(entries))


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigError(f"environment: {name!r} cannot be the name of a variable")
    return name


def _script(lines: Sequence[str]) -> bytes:
    text = os.fsencode("".join(line + "\n" for line in lines))
    if len(text) > MAX_COMMAND:
        raise ConfigError(f"command: it is {len(text)} bytes long; at most {MAX_COMMAND} will do")
    if b"\0" in text:
        raise ConfigError("command: an argument holds a NUL byte")
    return text
