#!/usr/bin/env python3
"""Runs directories of bare-metal test programs (riscv-tests, riscv-arch-test, your own).

A program is an ELF file that starts in machine mode and reports by the HTIF convention: it stores
to the 64-bit word at its symbol `tohost`; 1 means passed, (n << 1) | 1 that its test n failed.
What lies between `begin_signature` and `end_signature` at that moment is its signature; where a
file NAME.sig stands beside NAME or NAME.elf, the two must be equal, word for word.
The command line, the layout of a suite and the exit status are described in README.md.

Owns the worker processes: a program that crashes or stalls the engine costs one worker, no more.
"""

from __future__ import annotations

import argparse
import fnmatch
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from lamina.base.errors import ImageError, LaminaError

if TYPE_CHECKING:
    from lamina.machine import Machine

MEMORY_BYTES = 128 << 20
SIGNATURE_LIMIT_BYTES = 16 << 20
CONSOLE_LIMIT = 4096
# How far to run between looks at tohost: a few milliseconds of a compiled engine, or of the other.
POLL_INSTRUCTIONS = 200_000
REFERENCE_POLL_INSTRUCTIONS = 1_000
# HTIF: bits 63:56 device, 55:48 command; device 1, command 1 prints the byte in bits 7:0.
HTIF_PUT_CHARACTER = 0x0101

NOT_FINISHED = 0
PASSED = 1

RunElf = Callable[[Path, str, int, int], tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Symbols:
    """Where a program reports: GPAs, the signature's end exclusive; (0, 0) if it has none."""

    tohost: int
    signature: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Program:
    path: Path
    group: str
    reference: Path | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one program; `reason` is empty exactly when it passed."""

    program: Program
    engine: str
    reason: str
    compared: bool
    seconds: float


def read_symbols(path: Path) -> Symbols:
    """The reporting symbols of a RISC-V ELF file, or ImageError."""
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if elf["e_machine"] != "EM_RISCV":
                raise ImageError(f"{path}: not a RISC-V program")
            table = elf.get_section_by_name(".symtab")
            if not isinstance(table, SymbolTableSection):
                raise ImageError(f"{path}: no symbol table, so no tohost; link it without -s")
            values = {symbol.name: int(symbol["st_value"]) for symbol in table.iter_symbols()}
    except (OSError, ELFError, ValueError) as error:
        raise ImageError(f"{path}: not a readable ELF file ({error})") from error
    if "tohost" not in values:
        raise ImageError(f"{path}: no symbol tohost, so it cannot report a result")
    bounds = ("begin_signature", "end_signature")  # of use only as a pair
    begin, end = (values[name] for name in bounds) if values.keys() >= {*bounds} else (0, 0)
    if not 0 <= end - begin <= SIGNATURE_LIMIT_BYTES:
        raise ImageError(f"{path}: signature of {end - begin} bytes, at most 16 MiB are taken")
    return Symbols(values["tohost"], (begin, end))


def run_elf(
    path: Path, engine: str, cpus: int, max_instructions: int, rounds: int = 1
) -> tuple[int, bytes]:
    """Run one program from its entry point in machine mode; its tohost value and its signature.

    The status is NOT_FINISHED if it retired `max_instructions` without reporting.
    Characters that it prints through tohost go to standard error. `rounds`: how often it runs, in
    the same machine, reset in between; the first round that does not pass is the last one.
    """
    from lamina.machine import Machine, MachineConfig  # here, so that --list needs no engine

    symbols = read_symbols(path)
    config = MachineConfig(
        kernel=path, firmware="bare", engine=engine, memory=MEMORY_BYTES, cpus=cpus, svade=True
    )
    poll = REFERENCE_POLL_INSTRUCTIONS if engine == "reference" else POLL_INSTRUCTIONS
    with Machine(config) as machine:
        status = watch_rounds(machine, symbols.tohost, poll, max_instructions, rounds)
        begin, end = symbols.signature
        return status, machine.memory.read(begin, end - begin) if end > begin else b""


def watch_rounds(machine: Machine, tohost: int, poll: int, max_instructions: int, most: int) -> int:
    """Run until the program has passed `most` times, each after a reset, or has not once; its last
    tohost value. Code is found known and decoded from the second round on."""
    status = watch(machine, tohost, poll, max_instructions)
    for _ in range(most - 1):
        if status != PASSED:
            break
        machine.reset()
        status = watch(machine, tohost, poll, max_instructions)
    return status


def watch(machine: Machine, tohost: int, poll: int, max_instructions: int) -> int:
    """Run in steps of `poll` instructions until the program has reported; its tohost value."""
    printed, left = 0, max_instructions
    while left > 0:
        outcome = machine.run(max_instructions=min(poll, left))
        status = int.from_bytes(machine.memory.read(tohost, 8), "little")
        if status >> 48 == HTIF_PUT_CHARACTER and printed < CONSOLE_LIMIT:
            sys.stderr.write(chr(status & 0x7F))
            machine.memory.write(tohost, bytes(8))
            printed += 1  # it waited for this: no instructions are charged
        elif status != NOT_FINISHED:
            return status
        elif outcome.reason != "limit":
            raise LaminaError(f"{outcome.reason} at pc = {machine.pc:#x}: {outcome.detail}")
        else:
            left -= poll
    return NOT_FINISHED


def parse_signature(text: str) -> bytes:
    """The bytes of a reference signature: one little-endian word a line, in hexadecimal."""
    words = text.split()
    try:
        return b"".join(bytes.fromhex(word)[::-1] for word in words)
    except ValueError as error:
        raise ImageError(f"reference signature is not hexadecimal: {error}") from error


def first_difference(actual: bytes, expected: bytes) -> str:
    """Empty if equal, else the first 32-bit word that differs, for a person to read."""
    if len(actual) != len(expected):
        return f"signature has {len(actual)} bytes, the reference {len(expected)}"
    for offset in range(0, len(actual), 4):
        ours, theirs = actual[offset : offset + 4], expected[offset : offset + 4]
        if ours != theirs:
            return f"signature word {offset // 4}: {ours[::-1].hex()}, not {theirs[::-1].hex()}"
    return ""


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What Lamina warns of meanwhile: a compiler that is lost would make an engine slow, and its
    tests empty."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("lamina").addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger("lamina").removeHandler(handler)


def judge(program: Program, run: RunElf, engine: str, cpus: int, limit: int) -> tuple[str, bool]:
    """Run a program and compare: (reason of the failure or "", was a signature compared)."""
    try:
        with complaints() as heard:
            status, signature = run(program.path, engine, cpus, limit)
        if heard:
            return f"Lamina warns: {heard[0]}", False
        if status == NOT_FINISHED:
            return f"no result after {limit:,} instructions", False
        if status != PASSED:
            failed = f"test {status >> 1} failed" if status & 1 else "unknown report"
            return f"{failed} (tohost {status:#x})", False
        if program.reference is None:
            return "", False
        expected = parse_signature(program.reference.read_text(encoding="ascii"))
        return first_difference(signature, expected), True
    except (LaminaError, OSError, UnicodeDecodeError) as error:
        return str(error), False
    except Exception as error:  # a bug in an engine must not end the other tests
        return f"{type(error).__name__}: {error}", False


def group_of(path: Path, root: Path) -> str:
    """The folder below the root, or the name up to the test's own: rv64ui-p-add is in rv64ui-p."""
    folder = path.parent.relative_to(root).as_posix()
    if folder != ".":
        return folder
    match = re.match(r"rv(?:32|64)\w+-[a-z]+(?=-)", path.name)
    return match.group() if match else root.name


def find_programs(root: Path, pattern: str) -> list[Program]:
    """Every ELF file below the root whose relative name matches a part of the pattern."""
    programs = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or not fnmatch.fnmatch(name, f"*{pattern}*"):
            continue
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        stem = path.with_suffix("") if path.suffix == ".elf" else path
        reference = stem.with_name(stem.name + ".sig")
        found = reference if reference.is_file() else None
        programs.append(Program(path, group_of(path, root), found))
    return programs


def serve(connection: Connection, run: RunElf, engine: str, cpus: int, limit: int) -> None:
    """A worker process: judges the programs that it is sent until it is sent None."""
    while (program := connection.recv()) is not None:
        connection.send(judge(program, run, engine, cpus, limit))


class Worker:
    """One worker process and the pipe to it; a new process takes over when one is lost."""

    def __init__(self, arguments: tuple[RunElf, str, int, int], timeout: float) -> None:
        self._arguments = arguments
        self._timeout = timeout
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()

    def judge(self, program: Program) -> tuple[str, bool]:
        try:
            self._pipe.send(program)
            if self._pipe.poll(self._timeout):
                reason, compared = self._pipe.recv()
                return reason, compared
            reason = f"no result after {self._timeout:g} s"
        except (EOFError, ConnectionError):
            self._process.join()
            reason = f"the engine's process died (status {self._process.exitcode})"
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._start()
        return reason, False

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()
        self._pipe.close()


def run_programs(
    programs: Sequence[Program],
    arguments: tuple[RunElf, str, int, int],
    jobs: int,
    timeout: float,
    report: Callable[[Outcome], None],
) -> list[Outcome]:
    """Judge all programs in `jobs` worker processes; outcomes in the order of the programs."""
    queue: SimpleQueue[tuple[int, Program]] = SimpleQueue()
    for item in enumerate(programs):
        queue.put(item)
    outcomes: dict[int, Outcome] = {}
    lock = threading.Lock()  # guards outcomes and the calls of report

    def drain() -> None:
        worker = Worker(arguments, timeout)
        while True:
            try:
                index, program = queue.get_nowait()
            except Empty:
                break
            start = time.perf_counter()
            reason, compared = worker.judge(program)
            seconds = time.perf_counter() - start
            with lock:
                outcomes[index] = Outcome(program, arguments[1], reason, compared, seconds)
                report(outcomes[index])
        worker.close()

    threads = [threading.Thread(target=drain) for _ in range(min(jobs, queue.qsize()))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(outcomes) != len(programs):
        raise RuntimeError(f"{len(programs) - len(outcomes)} programs were left without a verdict")
    return [outcomes[index] for index in range(len(programs))]


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """One line a group and engine, then the failures, then the total."""
    lines = [f"{'group':24} {'engine':14} {'passed':>7} {'of':>5} {'signatures':>10} {'s':>7}"]
    keys = dict.fromkeys((outcome.program.group, outcome.engine) for outcome in outcomes)
    for group, engine in [*keys, ("total", "")]:
        own = [o for o in outcomes if not engine or (o.program.group, o.engine) == (group, engine)]
        passed = sum(not o.reason for o in own)
        compared = sum(o.compared for o in own)
        seconds = sum(o.seconds for o in own)
        lines.append(f"{group:24} {engine:14} {passed:7} {len(own):5} {compared:10} {seconds:7.1f}")
    failures = [o for o in outcomes if o.reason]
    lines += [
        f"FAIL {o.engine} {o.program.group}/{o.program.path.name}: {o.reason}" for o in failures
    ]
    return lines


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run bare-metal test programs in Lamina.")
    parser.add_argument("root", type=Path, help="directory with ELF files, searched downwards")
    parser.add_argument("--engine", action="append", help="repeatable; default: threaded")
    parser.add_argument("--filter", default="", help="glob; matched anywhere in the name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="runs of a program in its machine")
    parser.add_argument("--max-instructions", type=int, default=20_000_000)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds a program")
    parser.add_argument("--require-signatures", action="store_true")
    parser.add_argument("--list", action="store_true", help="only name the programs")
    parser.add_argument("--verbose", action="store_true", help="a line for each program")
    return parser.parse_args(arguments)


def check_arguments(options: argparse.Namespace, programs: Sequence[Program]) -> str:
    """Empty, or what is wrong with the request."""
    if not programs:
        return f"{options.root}: no ELF file matches {options.filter or '*'!r}"
    numbers = (options.jobs, options.cpus, options.rounds, options.max_instructions)
    if min(*numbers, options.timeout) <= 0:
        return "--jobs, --cpus, --rounds, --max-instructions, --timeout must be greater than 0"
    bare = [program for program in programs if program.reference is None]
    if options.require_signatures and bare:
        return f"{len(bare)} programs have no reference signature, the first is {bare[0].path}"
    return ""


def main(arguments: Sequence[str] | None = None, run: RunElf = run_elf) -> int:
    options = parse_arguments(arguments)
    programs = find_programs(options.root, options.filter) if options.root.is_dir() else []
    if problem := check_arguments(options, programs):
        print(f"run_suite: {problem}", file=sys.stderr)
        return 2
    if options.list:
        print(*(f"{p.group}\t{p.path.name}\t{p.reference or '-'}" for p in programs), sep="\n")
        return 0

    def report(outcome: Outcome) -> None:
        if options.verbose or outcome.reason:
            verdict = outcome.reason or "passed"
            print(f"{outcome.program.path.name}: {verdict} ({outcome.seconds:.1f} s)", flush=True)

    if options.rounds > 1:
        run = partial(run, rounds=options.rounds)
    outcomes = []
    for engine in options.engine or ["threaded"]:
        seam = (run, engine, options.cpus, options.max_instructions)
        outcomes += run_programs(programs, seam, options.jobs, options.timeout, report)
    print(*summary(outcomes), sep="\n")
    return int(any(outcome.reason for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
