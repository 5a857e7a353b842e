"""Benchmark "startup": how long Lamina's own commands take before anything of a guest's runs."""

import shutil
from collections.abc import Callable
from pathlib import Path

from bench.process import Sample, measure
from bench.subjects import lamina, lamina_environment

PROMPT = b"lamina> "


class StartupBench:
    """The built-in guest's prompt, and the commands that are asked for most often."""

    def __init__(self, folder: Path, cache: Path) -> None:
        warm = lamina_environment(cache)

        def first() -> Sample:
            shutil.rmtree(folder / "first", ignore_errors=True)
            return measure(lamina("run"), PROMPT, env=lamina_environment(folder / "first"))

        self.subjects: dict[str, Callable[[], Sample]] = {
            "lamina run, first": first,
            "lamina run": lambda: measure(lamina("run"), PROMPT, env=warm),
            "lamina --version": lambda: measure(lamina("--version"), env=warm),
            "lamina --help": lambda: measure(lamina("--help"), env=warm),
        }
