"""Draws the steps of `images/` on standard error: bars on a terminal, plain lines elsewhere.

Called by `cli/launch.py`. Owns the drawing on standard error while a step lasts.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lamina.images.progress import Progress, Step


class _NoStep:
    def update(self, fraction: float) -> None:
        """Plain lines tell beginnings only."""


class PlainProgress:
    """One line a step, for logs."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Print the title; the context does the work."""
        print(f"lamina: {title} ...", file=sys.stderr, flush=True)
        yield _NoStep()


class BarProgress:
    """A bar a step, which stays when it is done; it swings until a fraction is known."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Draw a bar while the context lasts."""
        from rich import progress
        from rich.console import Console

        with progress.Progress(
            progress.TextColumn("{task.description:24}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TimeElapsedColumn(),
            console=Console(stderr=True),
        ) as bars:
            task = bars.add_task(title, total=None)

            class Bar:
                def update(self, fraction: float) -> None:
                    bars.update(task, completed=fraction, total=1.0)

            yield Bar()
            bars.update(task, completed=1.0, total=1.0)


def progress_on_stderr() -> Progress:
    """Bars if standard error is a terminal, else lines."""
    return BarProgress() if sys.stderr.isatty() else PlainProgress()
