"""All that has a compiled region compiled once more in another form: `twins`, `guesses`."""

from typing import Protocol

from lamina.engine.jit import guesses, twins


class Home(twins.Home, guesses.Home, Protocol):
    """What both ask of an engine."""


class Forms:
    """Both, for one engine."""

    def __init__(self, home: Home) -> None:
        self._twins, self._guesses = twins.Twins(home), guesses.Guesses(home)

    def look(self, weight: int) -> bool:
        """At a sample that stands for so many; True if that is all that it tells."""
        self._guesses.look(weight)
        return self._twins.look(weight)

    def clear(self) -> None:
        """All regions were given up."""
        self._twins.clear()
        self._guesses.clear()
