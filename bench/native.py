"""The host as a subject: the same workloads as processes of its own. Called by `sampling.py`."""

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.guest import Answer
from bench.process import BenchError

SHELL = "/bin/sh"
MEMORY_FOLDER = Path("/dev/shm")  # a tmpfs, as the guest's files are in one


class Native:
    """Runs what the guest's agent runs, in a folder with the same programs and files."""

    def __init__(self, programs: Mapping[str, Path], files: Mapping[str, bytes]) -> None:
        place = MEMORY_FOLDER if MEMORY_FOLDER.is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="lamina-bench-", dir=place)
        for name, data in files.items():
            (Path(self._folder.name) / name).write_bytes(data)
        for name, path in programs.items():
            (Path(self._folder.name) / name).symlink_to(path)

    def __enter__(self) -> "Native":
        return self

    def __exit__(self, *_: Any) -> None:
        self._folder.cleanup()

    def command(self, line: str, timeout: float) -> Answer:
        """The agent's commands `run NAME SCALE` and `sh COMMAND`, by this host."""
        kind, _, rest = line.partition(" ")
        argv = ["./work", *rest.split()] if kind == "run" else [SHELL, "-c", rest]
        return self._run(argv, timeout)

    def _run(self, argv: Sequence[str], timeout: float) -> Answer:
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": self._folder.name}
        begin, before = time.perf_counter(), _children()
        try:
            done = subprocess.run(
                argv,
                cwd=self._folder.name,
                env={**env, "HOME": self._folder.name},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"{os.path.basename(argv[0])}: {error}") from error
        cpu, wall = _children() - before, time.perf_counter() - begin
        return Answer(done.stdout.decode("utf-8", "replace"), done.returncode, cpu, wall)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
