"""`lamina cache`: the compiled code that is kept between runs, listed and removed.

Everything in it can be made again, so nothing here asks twice. Owns nothing; `engine/code/store.py`
keeps the files.
"""

import time
from typing import Annotated

import typer

from lamina.base.errors import ConfigError, HostError
from lamina.base.units import approximate_size

AGES = (("the last hour", 3_600), ("the last day", 86_400), ("the last week", 7 * 86_400))
OLDER = "before that"

cache = typer.Typer(
    help="""List or remove the compiled code that is kept between runs.

    \b
    runtime    the engine itself, compiled for this CPU when it is first needed
    regions    hot code of guests: the second boot of an image starts with it

    \b
    Examples:
      lamina cache ls
      lamina cache rm regions
      lamina cache rm
    """,
    rich_markup_mode=None,
    no_args_is_help=True,
)

Kinds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KIND]...", help="runtime, regions; both without one."),
]


@cache.command()
def ls(kinds: Kinds = None) -> None:
    """Show what is kept: how many images of code, how large, how old.

    \b
    Examples:
      lamina cache ls
      lamina cache ls regions
    """
    from lamina.engine.code.store import STORES, code_folder, code_store

    known, total = _known(kinds), 0
    typer.echo(f"{code_folder()}")
    for kind in known:
        store = code_store(kind)
        kept, size = store.scan(), store.size()
        total += size
        limit = approximate_size(STORES[kind])
        typer.echo(f"{kind:8} {len(kept):6} images {approximate_size(size):>10} of {limit}")
        for age, (count, held) in _by_age([(k.put, k.size) for k in kept]).items():
            typer.echo(f"{'':8} {count:6} images {approximate_size(held):>10}, kept {age}")
    typer.echo(f"{'total':15} {'':6} {approximate_size(total):>10}")


@cache.command()
def rm(kinds: Kinds = None) -> None:
    """Remove what is kept; it is made again when it is needed.

    \b
    Examples:
      lamina cache rm
      lamina cache rm regions
    """
    from lamina.engine.code.store import code_store

    for kind in _known(kinds):
        store = code_store(kind)
        size = store.size()
        try:
            store.clear()
        except OSError as error:
            raise HostError(f"{store.folder}: cannot be removed: {error.strerror}") from error
        typer.echo(f"{kind:8} {approximate_size(size):>10} removed")


def _known(kinds: list[str] | None) -> list[str]:
    from lamina.engine.code.store import STORES

    for kind in kinds or ():
        if kind not in STORES:
            raise ConfigError(f"{kind!r}: no such kind of code; there is {', '.join(STORES)}")
    return list(dict.fromkeys(kinds or STORES))


def _by_age(entries: list[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """(count, bytes) of the entries (time, bytes) that were put in each span of time."""
    now = time.time()
    result: dict[str, tuple[int, int]] = {}
    for put, size in sorted(entries, reverse=True):
        span = next((name for name, seconds in AGES if now - put < seconds), OLDER)
        count, held = result.get(span, (0, 0))
        result[span] = (count + 1, held + size)
    return result
