"""What the baseline compiler knows of instructions: their accesses, the registers that they change,
and which of them have *special* stencils for registers in which there is nothing to read or write.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lamina.engine.threaded.baseline import (
    BARRIER,
    BASE_SHIFT,
    DESTINATION_SHIFT,
    READS,
    SIZE_SHIFT,
    WRITES,
)
from lamina.engine.threaded.decoder import PLACES, discard, places
from lamina.isa.arch import Arch
from lamina.isa.insn import Insn

_MEMORY = {"load", "store", "rmw", "cas", "touch", "phys.load", "phys.cas"}


@dataclass(frozen=True, slots=True)
class Access:
    """A load or store of an instruction at register `base` plus the immediate. `base` is a place in
    a record."""

    write: bool
    size: int
    base: str


def access_of(insn: Insn) -> Access | None:
    """The only access to memory that an instruction makes, if it is at a register + immediate."""
    where = places(insn)
    found = [op for op in insn.routine.body.walk() if op.name in _MEMORY]
    if len(found) != 1 or found[0].name not in ("load", "store"):
        return None
    address = found[0].args[0].op
    if address.name != "add":
        return None
    base, offset = (v.op for v in address.args)
    if base.name != "reg.get" or base.args[0].op.name != "operand" or offset.name != "operand":
        return None
    place = where[base.args[0].op.attrs["operand"]]
    if where[offset.attrs["operand"]] != "imm":
        return None
    return Access(found[0].name == "store", found[0].attrs["size"], place)


def written_places(insn: Insn, file: str) -> list[str | None]:
    """The places in a record of the registers of a file that an instruction writes; None: of one
    that no operand names."""
    where = places(insn)
    targets = [
        op.args[0].op
        for op in insn.routine.body.walk()
        if op.name == "reg.set" and op.attrs["file"] == file
    ]
    return [where[t.attrs["operand"]] if t.name == "operand" else None for t in targets]


def general_file(arch: Arch) -> str:
    """The register file with a hardwired zero; "": there is none."""
    return next((f.name for f in arch.layout.files.values() if f.zero), "")


@dataclass(frozen=True, slots=True)
class Special:
    """A stencil for some operands only. Places in a record: of a register that is the hardwired
    zero, and of one where writes are discarded. It fits a record whose operands, seen through
    `mask`, are `match` (`baseline.HEAD`)."""

    suffix: str = ""
    zero: str | None = None
    discard: str | None = None
    mask: int = 0
    match: int = 0


PLAIN = Special()


def specials(arch: Arch, insn: Insn) -> Iterator[Special]:
    """The special stencils of an instruction."""
    general = general_file(arch)
    where, names = places(insn), {op.name for op in insn.routine.body.walk()}
    access, jumps = access_of(insn), "jump" in names
    written = written_places(insn, general)
    read = [
        where[op.args[0].op.attrs["operand"]]
        for op in insn.routine.body.walk()
        if op.name == "reg.get" and op.attrs["file"] == general and op.args[0].op.name == "operand"
    ]
    if jumps and written == ["a"]:
        yield Special(".discard", discard="a", mask=0xFF, match=discard(arch))
    for place in dict.fromkeys(read):
        if place not in PLACES[:4] or (access and place == access.base):
            continue
        if jumps or access or place == "b":
            mask = 0xFF << 8 * PLACES.index(place)
            yield Special(f".zero.{place}", zero=place, mask=mask)


def about_registers(arch: Arch, insn: Insn) -> int:
    """Which general register an instruction changes, and its access, as flags."""
    access, about = access_of(insn), 0
    written = written_places(insn, general_file(arch))
    if len(written) == 1 and written[0] in PLACES[:4]:
        about |= (PLACES.index(written[0]) + 1) << DESTINATION_SHIFT
    elif written:
        about |= BARRIER
    if access is not None:
        about |= WRITES if access.write else READS
        about |= access.size << SIZE_SHIFT | PLACES.index(access.base) << BASE_SHIFT
    return about
