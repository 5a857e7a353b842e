"""Random programs: every instruction form, every mode, traps and paging, from a seed.

`generate(seed, options)` makes a `RandomProgram`: start-up settings and a list of independent
snippets, so that a failing program shrinks by leaving snippets out. `build` puts it into the frame
of `random_layout`. Snippets are position-independent; `random_snippets` makes them, of what
`random_operands` chooses.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lamina.base.bits import U64
from lamina.bus.space import AddressSpace
from lamina.isa.riscv import fields as f
from lamina.testing import random_layout as at
from lamina.testing.random_hot import HotSnippets
from lamina.testing.random_layout import words
from lamina.testing.random_operands import INTEGERS, Operands, corner, leaf
from lamina.testing.random_snippets import Snippets

RAM_SIZE = 32 << 20
BODY_LIMIT = at.CODE_SIZE - 64


@dataclass(frozen=True)
class Options:
    """What a program may contain."""

    snippets: int = 120
    trap_limit: int = 600
    loops: int = 20  # a loop is run less often than this
    external: bool = False  # nothing whose result depends on time or on the implementation
    strict: bool = False  # with `external`: also what QEMU is known to do otherwise
    hot: bool = False  # loops, calls and neighbouring accesses as compilers make them
    tame: bool = False  # no paging, no protection: accesses succeed (for QEMU's older versions)
    exclude: frozenset[str] = frozenset()  # extensions and instructions left out


@dataclass(frozen=True)
class RandomProgram:
    """A program before it is built; `without` makes smaller ones."""

    seed: int
    options: Options
    boot: dict[str, int]  # CSRs
    registers: tuple[int, ...]
    floats: tuple[int, ...]
    mode: int
    leaves: tuple[int, ...]
    big: tuple[int, ...]
    giga: int
    data: bytes
    snippets: tuple[bytes, ...]

    def without(self, first: int, count: int) -> "RandomProgram":
        """The program less some snippets."""
        return replace(self, snippets=self.snippets[:first] + self.snippets[first + count :])

    @property
    def body(self) -> bytes:
        return b"".join(self.snippets)


@dataclass(frozen=True)
class Image:
    """A program in memory: pieces by address, and the addresses of labels."""

    pieces: tuple[tuple[int, bytes], ...]
    symbols: dict[str, int] = field(default_factory=dict)

    def load(self, space: AddressSpace) -> None:
        for gpa, data in self.pieces:
            space.write(gpa, data)


def generate(seed: int, options: Options | None = None) -> RandomProgram:
    """The program of a seed."""
    options = options or Options()
    rng = random.Random(seed)
    kind = HotSnippets if options.hot else Snippets
    maker = kind(rng, options.external, options.exclude, options.tame, options.strict)
    maker.loops = options.loops
    snippets: list[bytes] = []
    size = 0
    while len(snippets) < options.snippets:
        if isinstance(maker, HotSnippets):
            maker.position, maker.paged = size, bool(seed & 1)
        snippet = maker.snippet()
        if size + len(snippet) > BODY_LIMIT:
            break
        size += len(snippet)
        snippets.append(snippet)
    data = b"".join(words(corner(rng)) for _ in range(0x8000 // 8))
    program = RandomProgram(
        seed,
        options,
        _boot(rng, options),
        tuple(corner(rng) for _ in range(32)),
        tuple(
            rng.choice(INTEGERS) if rng.random() < 0.1 else maker.float_bits() for _ in range(32)
        ),
        rng.choice((f.USER, f.SUPERVISOR, f.MACHINE)),
        tuple(leaf(rng, index) for index in range(512)),
        tuple(_large(rng, at.BIG if rng.random() < 0.9 else at.BIG + 0x1000) for _ in range(7)),
        _large(rng, at.BASE),
        data,
        tuple(snippets),
    )
    return _friendly(program, rng) if options.hot else program


def _friendly(program: RandomProgram, rng: random.Random) -> RandomProgram:
    """The program with paging as `HotSnippets.paged` has it, and most pages fit for use."""
    mode = program.mode
    if program.seed & 1:
        mode = rng.choice((f.USER, f.SUPERVISOR))
    satp = rng.choice(at.SATPS[1:]) if program.seed & 1 else 0
    flags = f.PTE_V | f.PTE_R | f.PTE_W | f.PTE_X | f.PTE_A | f.PTE_D
    flags |= f.PTE_U if mode == f.USER else 0
    leaves = tuple(
        leaf if index < 64 or rng.random() < 0.2 else at.entry(at.ARENA + index % 8 * 0x1000, flags)
        for index, leaf in enumerate(program.leaves)
    )
    return replace(program, mode=mode, leaves=leaves, boot={**program.boot, "satp": satp})


def _large(rng: random.Random, gpa: int) -> int:
    return at.entry(gpa, leaf(rng, 0) & (f.PTE_N - 1) & ~f.PTE_PBMT & 0x3FF)


def _boot(rng: random.Random, options: Options) -> dict[str, int]:
    """CSRs at the start. The last PMP entry opens everything; the others lie over the arena."""
    maker = Operands(rng, options.external, options.exclude)
    addresses = {f"pmpaddr{i}": maker.pmp_address() for i in range(15)}
    everything = f.PMP_NAPOT << f.PMP_A_SHIFT | f.PMP_R | f.PMP_W | f.PMP_X
    quiet = rng.random() < 0.5 or options.tame
    low = 0 if quiet else maker.pmp_settings(0)
    high = 0 if quiet else maker.pmp_settings(8) & (1 << 56) - 1
    return {
        **addresses,
        "pmpaddr15": (1 << f.PMP_ADDRESS_BITS) - 1,
        "pmpcfg0": low,
        "pmpcfg2": high | everything << 56,
        "stvec": at.SVEC | rng.randrange(2),
        "medeleg": maker.medeleg(),
        "mideleg": rng.getrandbits(64) & (f.S_INTERRUPTS if options.external else U64),
        "menvcfg": 0 if options.tame else maker.menvcfg(),
        "stimecmp": (1 << 64) - 1,
        "senvcfg": 0
        if options.tame
        else maker.legal_cbie(rng.getrandbits(8) & f.SENVCFG_WRITABLE & ~f.FIOM),
        "mcounteren": rng.getrandbits(32),
        "scounteren": rng.getrandbits(32),
        "satp": 0 if options.tame else rng.choice(at.SATPS),
        "sscratch": corner(rng),
    }


def build(program: RandomProgram, ending: str = "idle") -> Image:
    """The program in its frame; `ending` is one of `random_layout.ENDINGS`."""
    base = at.USER_CODE if program.mode == f.USER else at.CODE
    lines = [f"li t0, {value:#x}\ncsrw {name}, t0" for name, value in program.boot.items()]
    lines.append(f"li t0, {f.MPP:#x}\ncsrc mstatus, t0")
    lines.append(f"li t0, {program.mode << f.MPP_SHIFT:#x}\ncsrs mstatus, t0")
    lines.append(f"li t0, {base:#x}\ncsrw mepc, t0")
    frame = at.frame("\n".join(lines), ending)
    body = program.body + at.assembler().program("1: ecall\n j 1b\n").code
    save = bytearray(0x1000)
    save[0:256] = words(*program.registers)
    save[at.FLOATS : at.FLOATS + 256] = words(*program.floats)
    tail = words(0, 0, at.USER_CODE, at.CODE, at.CODE, at.CODE, program.options.trap_limit)
    save[at.COUNT : at.COUNT + 64] = tail + words(len(program.body))
    pieces = (
        (at.BASE, frame.code),
        (at.SVEC, at.assembler().line("ecall") * 32),
        (at.CODE, body),
        (at.SAVE, bytes(save)),
        (at.TABLES, at.fixed_tables(list(program.big), program.giga)),
        (at.ARENA, program.data),
        (at.LANDING, _landing()),
        (at.LEAVES, words(*program.leaves)),
        (at.USER_CODE, body),
        (at.BIG, program.data[:0x1000]),
    )
    return Image(pieces, frame.symbols)


def _landing() -> bytes:
    """Returns (c.jr ra); the last half-word begins an instruction that ends on the next page."""
    return (b"\x82\x80" * 0x7FF + b"\x13\x00") * 2


def shrink(program: RandomProgram, fails: Callable[[RandomProgram], bool]) -> RandomProgram:
    """A smaller program that still fails, by leaving out ever shorter runs of snippets."""
    size = max(len(program.snippets) // 2, 1)
    while size:
        first = 0
        while first < len(program.snippets):
            smaller = program.without(first, size)
            if fails(smaller):
                program = smaller
            else:
                first += size
        size //= 2
    return program
