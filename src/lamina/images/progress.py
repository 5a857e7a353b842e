"""How a long fetch or build tells what it is doing, without knowing who is looking.

Called by everything in `images/` that takes longer than a moment; `cli/progress.py` draws it.
Owns nothing.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One thing under way."""

    def update(self, fraction: float) -> None:
        """`fraction` of it is done, from 0.0 to 1.0."""


class Progress(Protocol):
    """Where steps are shown."""

    def step(self, title: str) -> AbstractContextManager[Step]:
        """Show a step while the context lasts."""


class _SilentStep:
    def update(self, fraction: float) -> None:
        pass


class SilentProgress:
    """A Progress that shows nothing: for scripts and tests."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show nothing."""
        yield _SilentStep()
