"""Benchmark "boot": from process start to the first line that Debian's first process prints.

All emulators get the very same kernel, initrd, memory and kernel command line. A small archive
behind the initrd puts another /init in place: a shell script that prints a marker. The "command"
variant keeps Debian's own /init and ends where a command of the user's starts.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from bench.process import Sample, measure
from bench.subjects import lamina, lamina_environment, qemu
from lamina.images import cpio, debian

MEMORY = "1G"
COMMAND_LINE = "console=ttyS0 earlycon"
MARKER = b"first line of init"
INIT = b"#!/bin/dash\necho first line of init\nexec /bin/busybox poweroff -f\n"
READY = b"the command starts"


class BootBench:
    """Boots of one image; each subject is a function that boots once."""

    def __init__(
        self,
        folder: Path,
        cache: Path,
        qemu_program: str | None,
        image: debian.DebianImage,
        to_command: bool = False,
        engine: str | None = None,
    ) -> None:
        self._folder, self._cache, self._image = folder, cache, image
        self._engine = ["--engine", engine] if engine else []
        self._marker = READY if to_command else MARKER
        if to_command:
            extra = debian.command_initrd(["true"], {}, ready=READY)
        else:
            extra = b"".join(cpio.archive([cpio.regular("init", INIT, 0o755)]))
        self._initrd = folder / ("command.cpio" if to_command else "init.cpio")
        self._initrd.write_bytes(image.initrd.read_bytes() + extra)
        self.subjects: dict[str, Callable[[], Sample]] = {
            "lamina, cold": self._cold,
            "lamina, warm": lambda: self._lamina(self._cache),
        }
        if qemu_program is not None:
            self.subjects["qemu"] = lambda: self._qemu(qemu_program)

    def _lamina(self, cache: Path) -> Sample:
        command = lamina("boot", "--kernel", str(self._image.kernel))
        command += ["--initrd", str(self._initrd), "--memory", MEMORY, "--append", COMMAND_LINE]
        command += self._engine
        return measure(command, self._marker, env=lamina_environment(cache))

    def _cold(self) -> Sample:
        cache = self._folder / "cold"
        shutil.rmtree(cache, ignore_errors=True)
        return self._lamina(cache)

    def _qemu(self, program: str) -> Sample:
        command = [*qemu(program, MEMORY), "-kernel", str(self._image.kernel)]
        command += ["-initrd", str(self._initrd), "-append", COMMAND_LINE]
        return measure(command, self._marker)
