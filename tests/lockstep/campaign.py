"""Random programs on engines that compile, for as long as wanted: `python campaign.py --help`.

Each seed is one program, of hot code or of all kinds in turn. The optimising engine compiles
everything at its first run; with `--engine baseline-eager` baseline code is made at every jump. The
other side runs handlers alone. Seeds turn by turn are run freely and compared at the end, or
stopped after every few instructions. What the compiler says of a region that it cannot compile
counts as a difference.
"""

import argparse
import logging
import random
import sys
import time

from machines import MakeEngine, nothing_compiled, side
from stops import compare_stops

from lamina.engine.jit.eager import EagerJitEngine
from lamina.engine.lockstep import compare
from lamina.engine.threaded.eager import EagerBaselineEngine
from lamina.engine.threaded.engine import ThreadedEngine
from lamina.testing.random_programs import Options, build, generate

BUDGET = 400_000
LENGTHS = (1, 1, 5, 30, 120)  # instructions between stops
ENGINES: dict[str, MakeEngine] = {
    engine.name: engine for engine in (EagerJitEngine, EagerBaselineEngine)
}
KINDS = (
    Options(snippets=20, trap_limit=150, hot=True, loops=30),
    Options(snippets=25, trap_limit=60),
    Options(snippets=12, trap_limit=150, hot=True, loops=200),
)


def options_of(seed: int) -> Options:
    return KINDS[seed // 4 % len(KINDS)]


def difference(seed: int, engine: MakeEngine) -> str:
    """Empty if handlers alone and an engine agree on the program of a seed."""
    with nothing_compiled():
        return _difference(seed, engine)


def _difference(seed: int, engine: MakeEngine) -> str:
    image = build(generate(seed, options_of(seed)))
    a, b = side(ThreadedEngine, image), side(engine, image)
    try:
        assert isinstance(a.engine, ThreadedEngine)
        a.engine.set_baseline(None)
        if seed & 2:
            found = compare_stops(a, b, random.Random(seed), BUDGET, LENGTHS)
        else:
            found = compare(a, b, (a.engine.run(BUDGET), b.engine.run(BUDGET)))
    finally:
        a.close()
        b.close()
    return "".join(f"\n  {name:14} {x:#018x}  {y:#018x}" for name, x, y in found)


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--engine", choices=ENGINES, default=EagerJitEngine.name)
    parser.add_argument("--seed", type=int, default=100_000, help="the first one")
    options = parser.parse_args()
    engine = ENGINES[options.engine]
    complaints = _Complaints()
    logging.getLogger("lamina").addHandler(complaints)
    end, seed, bad = time.monotonic() + 60 * options.minutes, options.seed, 0
    while time.monotonic() < end:
        found = difference(seed, engine) + "".join(f"\n  {line}" for line in complaints.lines)
        complaints.lines.clear()
        if found:
            bad += 1
            print(f"seed {seed}:{found}", flush=True)
        seed += 1
    print(f"{seed - options.seed} programs, {bad} of them differ")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
