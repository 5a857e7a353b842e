"""How control comes into a region, as LLVM text: which entry it is, where the region lies, what is
loaded from the state.

A region that uses few registers, or that control stays in, keeps them in variables throughout: an
entry loads those that may be read before they are written. Of others each block loads what it
reads, when it reads it first: the host has too few registers for all, and whoever comes in for a
few instructions does not wait for the rest. Base of the writer of regions.
"""

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.access_writer import NO_PAGE
from lamina.engine.jit.counted_writer import CountedWriter
from lamina.engine.jit.flow import Decoded
from lamina.engine.jit.region import Region
from lamina.engine.jit.register_writer import STATE
from lamina.engine.jit.shape import Part
from lamina.engine.jit.strides import Cycle
from lamina.ir.graph import Value

FEW_REGISTERS = 14  # of a file: a region that uses no more keeps them in variables


class EntryWriter(CountedWriter):
    """The beginning of one region's function."""

    name: str
    region: Region[Decoded]
    parts: dict[int, Part]
    cycles: dict[int, Cycle]
    head: list[str]  # lines that make the variables of instructions

    def prologue(self, rare: list[Value]) -> list[str]:
        """The lines up to the choice of the entry; `rare`: what must not hold in the region."""
        at = self.engine.at
        head = f'define preserve_nonecc i64 @"{self.name}"(ptr %s, ptr %r, i64 %b) nounwind'
        lines = [
            head + self.strictness() + " {",
            "entry:",
            "%bud = alloca i64",
            "store i64 %b, ptr %bud",
            "%target.v = alloca i64",
            f"%bias.p = getelementptr inbounds i8, ptr %s, i64 {at['pc_bias']}",
            f"%bias = load i64, ptr %bias.p{STATE}",
            "%r.i = ptrtoint ptr %r to i64",
            "%r.s = lshr i64 %r.i, 3",
            "%pc.start = add i64 %bias, %r.s",
            f"%page.entry = and i64 %pc.start, {-PAGE_SIZE}",
            *self._where_entered(),
            f"%left.p = getelementptr inbounds i8, ptr %s, i64 {at['left_to']}",
            f"store i64 0, ptr %left.p{STATE}",
            f"%page = and i64 %page.first, {-PAGE_SIZE}",  # which it is: LLVM should know
            f"%tlb.p = getelementptr inbounds i8, ptr %s, i64 {at['tlb_data']}",
            f"%tlb = load ptr, ptr %tlb.p{STATE}",
            *self.head,
        ]
        for name in self.recent:
            lines += [f"{name}.page = alloca i64", f"store i64 {NO_PAGE}, ptr {name}.page"]
            lines += [f"{name}.base = alloca ptr", f"store ptr null, ptr {name}.base"]
        for cycle in self.each_cycle():
            lines += self.loop_variables(cycle)
        for file, index in sorted(self.registers):
            lines.append(f"{self.local(file, index)} = alloca {self.local_type(file)}")
        lines += self._unless_rare(rare)
        entries = self.region.entries
        if len(entries) == 1:
            return [*lines, "br label %e0"]
        cases = " ".join(f"i32 {i}, label %e{i}" for i in range(1, len(entries)))
        return [*lines, f"switch i32 %which, label %e0 [ {cases} ]"]

    def _unless_rare(self, conditions: list[Value]) -> list[str]:
        """Where one of the conditions holds, only the instruction at the entry is done, and not by
        the region."""
        if not conditions:
            return []
        written, self.lines = self.lines, []
        for i, condition in enumerate(conditions):
            self._names = {}
            self._write_value(condition)
            self.branch(self.use(condition), "rarely", f"usual{i}.entry", (0, 1))
            self.open(f"usual{i}.entry")
        self.close("br label %usually")
        self.open("rarely")
        self.tail("@step_one", f"ptr {self.temp('inttoptr i64 %pc.start to ptr')}", "%b")
        self.open("usually")
        check, self.lines = self.lines, written
        return check

    def _write_value(self, value: Value) -> None:
        """A value of slots and constants."""
        for argument in value.op.args:
            self._write_value(argument)
        self.op(value.op)

    def _where_entered(self) -> list[str]:
        """Which entry it is, if there are several, and from that the address of page 0."""
        lines = [
            "%which.p = getelementptr inbounds i8, ptr %r, i64 8",
            "%which = load i32, ptr %which.p",
        ]
        distances = {e & -PAGE_SIZE for e in self.region.entries}
        if len(distances) == 1:
            lines = lines if len(self.region.entries) > 1 else []
            return [*lines, f"%page.first = sub i64 %page.entry, {distances.pop()}"]
        return [
            *lines,
            "%distance.p = getelementptr inbounds i32, ptr @distances, i32 %which",
            "%distance.n = load i32, ptr %distance.p",
            "%distance = sext i32 %distance.n to i64",
            "%page.first = sub i64 %page.entry, %distance",
        ]

    def entries(self) -> None:
        """A block for each entry, which loads what is due there."""
        self.loop = None
        for i, offset in enumerate(self.region.entries):
            self.closed = True
            self.open(f"e{i}")
            self.come_into(self.parts[offset])
            self.close(f"br label %o{offset}")

    def each_cycle(self) -> list[Cycle]:
        """The loops that are written twice, each once."""
        return list(dict.fromkeys(self.cycles.values()))

    def has_few_registers(self) -> bool:
        """Whether the host's registers may do for those of the region."""
        uses = 0
        for member in self.region.members.values():
            uses |= member.reads | member.changes
        files = [uses >> 64 * i & (1 << 64) - 1 for i in range(len(self._files))]
        return all(bits.bit_count() <= FEW_REGISTERS for bits in files)

    def come_into(self, part: Part) -> None:
        """From the region's entries and from outside of a loop: load what is due in variables."""
        if part.loop is not None or self.keeps:
            needed = part.live if part.loop is None or self.keeps else part.live & part.loop.uses
            for file, index in self.named(needed):
                if (file, index) in self.registers:
                    self.load_register(file, index)

    def tail(self, callee: str, second: str, budget: str) -> None:
        """Go on in a function of the runtime."""
        call = f"musttail call preserve_nonecc i64 {callee}(ptr %s, {second}, i64 {budget})"
        self.close(f"ret i64 {self.temp(call)}")
