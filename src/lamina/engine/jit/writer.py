"""A region as one LLVM function `i64 (state, record, budget)`, to be entered at its entries.

The budget is counted per block and looked at on backward jumps. Control that moves into another
guest page checks there, in the fetch TLB, that the page is the one that was compiled. Where an
instruction's rare case comes up, or a shared check fails, the region is left at that instruction
and the threaded engine goes on.
"""

from dataclasses import dataclass

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.entry_writer import EntryWriter
from lamina.engine.jit.flow import Decoded, jump_distance
from lamina.engine.jit.groups import group_within, groups_of
from lamina.engine.jit.region import Region
from lamina.engine.jit.register_writer import METADATA, STATE, TLB
from lamina.engine.jit.shape import (
    JUMPS,
    RETURNS,
    Loop,
    Part,
    late_stores,
    parts_of,
    predecessors,
    switch_of,
)
from lamina.engine.jit.strides import Cycle, cycles_of
from lamina.engine.jit.switch import is_table, perfect_hash, turned
from lamina.engine.jit.usual import rare_conditions
from lamina.engine.llvm.lower import LOOPS, result_type, symbol
from lamina.engine.threaded.layout import CONTENT_OFFSET, FETCH_ENTRY, ThreadedLayout
from lamina.engine.threaded.region_ir import DECLARATIONS
from lamina.ir.graph import Op, Routine, Variable
from lamina.isa.arch import Arch

RUNTIME = """
declare dso_local preserve_nonecc i64 @dispatch(ptr, ptr, i64)
declare dso_local preserve_nonecc i64 @resume(ptr, ptr, i64)
declare dso_local preserve_nonecc i64 @step_one(ptr, ptr, i64)
declare dso_local preserve_nonecc i64 @left(ptr, ptr, i64)
declare dso_local i1 @touch(ptr, i64, i64)
declare dso_local i64 @time(ptr)
declare dso_local void @tlb_flush(ptr)
declare dso_local void @tlb_flush_page(ptr, i64)
declare dso_local void @tlb_flush_space(ptr, i64)
declare dso_local void @tlb_flush_space_page(ptr, i64, i64)
declare dso_local void @tlb_space(ptr)
declare dso_local void @tlb_context(ptr)
declare dso_local void @icache_flush(ptr)
declare dso_local void @notify(ptr, i64, i64)
declare dso_local void @relax(ptr)
declare dso_local i64 @remote_fence(ptr, i64, i64, i64, i64, i64, i64)
declare dso_local i64 @remote_post(ptr, i64, i64, i64)
"""

MAX_LATE_STORES = 4000
NOWHERE = -1 << 63  # before all instructions


@dataclass(frozen=True, slots=True)
class _Edge:
    """Where control goes: to an instruction, past checks of pages and of the budget, out of a
    loop or within it, with registers that the state lacks. `cycle`: a pass of it is over."""

    target: int
    pages: tuple[int, ...]
    back: bool
    loop: Loop | None
    dirty: int
    cycle: Cycle | None


@dataclass(frozen=True, slots=True)
class _Aside:
    """An exit at an instruction that was not done. `shared`: because a check failed that accesses
    share."""

    label: str
    offset: int
    retired: int
    dirty: int
    shared: bool


class RegionWriter(EntryWriter):
    """Writes one region."""

    def __init__(
        self, name: str, region: Region[Decoded], arch: Arch, layout: ThreadedLayout
    ) -> None:
        start = region.entries[0]
        super().__init__(region.members[start].routine, arch, layout)
        self.prepare_registers()
        self.prepare_accesses()
        self.prepare_loops()
        self.prepare_counted()
        self.name = name
        self.region = region
        self.alone = region.alone
        self.offset = start
        self.member: Decoded = region.members[start]
        self.keeps = self.late = region.stays or self.has_few_registers()
        self.parts = parts_of(region, self.late)
        if self.late and late_stores(self.parts) > MAX_LATE_STORES:
            self.late = False
            self.parts = parts_of(region)
        self._before = predecessors(self.parts)
        self.cycles = cycles_of(region, self.parts)
        self._part = self.parts[start]
        self.head: list[str] = []
        self._retired = 0  # since the budget variable was last written
        self._edges: dict[_Edge, str] = {}
        self._asides: list[_Aside] = []
        self._outs: dict[tuple[int, str], int] = {}  # the exits: what is stored, by which function
        self._serial = 0

    # -- the whole function ----------------------------------------------------------------------
    def text(self) -> str:
        self.closed = True
        rare = rare_conditions(self.region)
        for condition in rare:
            self.learn_not(condition)
        self.facts.keep()
        for part in self.parts.values():
            if not self._follows(part):
                self.at_hand = 0
            self._enter_part(part)
            self.facts.forget()
            if part.first in (RETURNS, JUMPS):
                self._switch(part)
            else:
                self._block(part)
        for cycle in self.each_cycle():
            self._cycle(cycle)
        self._tails()
        body, self.lines = self.lines, []
        self.entries()
        return "\n".join([*self.prologue(rare), *self.lines, *body, "}"])

    def _enter_part(self, part: Part) -> None:
        """What is written now begins where a block does."""
        self._part, self.loop, self.dirty = part, part.loop, part.dirty

    def _follows(self, part: Part) -> bool:
        """Whether a block is only reached from the one that was written last, which is in no loop
        either."""
        alone = self._before[part.first] == [self._part.first] and self.loop is None is part.loop
        return alone and part.first not in self.region.entries

    def _block(self, part: Part) -> None:
        self.groups = groups_of(self.region, part, list(self.layout.files))
        self.open(f"{'o' if self.cycle is None else 'free.'}{part.first}")
        for offset in part.offsets:
            self._instruction(offset)
            if self.closed:
                break
        if not self.closed:
            following = self.offset + self.member.length
            self._flush_budget()
            self._go(following)
        self._retired = 0

    def _cycle(self, cycle: Cycle) -> None:
        """A loop once more, without checks."""
        self._enter_part(self.parts[cycle.head])
        self.offset = cycle.head
        self.top(cycle)
        self.cycle = cycle
        for first in cycle.parts:
            self._enter_part(self.parts[first])
            self.facts.forget()
            self._block(self._part)
        self.cycle = None

    def _switch(self, part: Part) -> None:
        """A block that all returns or computed jumps go through, to where they probably go."""
        if not part.successors:
            return
        self.offset = NOWHERE  # the budget is looked at here, for all ways
        self.open(f"o{part.first}")
        target = self.temp("load i64, ptr %target.v")
        self.check_budget(target)
        distance = self.temp(f"sub i64 {target}, %page")
        other = self.label("other")
        self._choose(distance, part.successors, other)
        self.open(other)
        self.dispatch(target)

    def _choose(self, distance: str, offsets: list[int], other: str) -> None:
        """Go on at one of several offsets, or at a label."""
        if is_table(offsets):
            # Turned by one bit, as addresses are even: what lies close together lies closer.
            self.declares.add("declare i64 @llvm.fshl.i64(i64, i64, i64)")
            half = self.temp(f"call i64 @llvm.fshl.i64(i64 {distance}, i64 {distance}, i64 63)")
            cases = " ".join(f"i64 {turned(o)}, label %{self._way(o)}" for o in offsets)
            self.close(f"switch i64 {half}, label %{other} [ {cases} ]")
            return
        hashed = perfect_hash(offsets)
        product = self.temp(f"mul i64 {distance}, {hashed.multiplier}")
        place = self.temp(f"lshr i64 {product}, {64 - hashed.bits}")
        labels = {o: self.label("maybe") for o in offsets}
        cases = " ".join(f"i64 {hashed.of(o)}, label %{label}" for o, label in labels.items())
        self.close(f"switch i64 {place}, label %{other} [ {cases} ]")
        for offset, label in labels.items():
            self.open(label)
            same = self.temp(f"icmp eq i64 {distance}, {offset}")
            self.branch(same, self._way(offset), other, (1, 0))

    def begin(self, offset: int) -> Decoded:
        """What is written now is an instruction's."""
        self.offset = offset
        self.member = self.region.members[offset]
        self.routine = self.member.routine
        self._names = {}
        self._serial += 1
        for v in self.routine.variables:
            self.head.append(f"{self.variable(v)} = alloca i{v.width}")
            self.out(f"store i{v.width} 0, ptr {self.variable(v)}")
        return self.member

    def sink(self, cycle: Cycle) -> None:
        self.facts.forget()
        for offset in cycle.sunk:
            self.begin(offset)
            self.block(self.routine.body)
        self.facts.forget()
        self.offset = cycle.head

    def _instruction(self, offset: int) -> None:
        self.begin(offset)
        # An entry must get on: it has no way out before it has done something.
        rare = self.member.restartable and offset not in self.region.entries
        way = self.label("rare") if rare else ""
        self.escape, self.escapes = way, False
        self.bring(self.member.reads)
        self.within = group_within(self.routine) if rare and not self.member.access else None
        dirty = self.dirty
        self.block(self.routine.body)
        self.at_hand |= self.member.changes
        if self.escapes and way:
            self._asides.append(_Aside(way, offset, self._retired, dirty, False))
        if self.closed:
            return
        self._retired += 1
        if self.member.ends:
            self._flush_budget()
            self.dispatch(self.pc_of(offset + self.member.length))

    def _flush_budget(self) -> None:
        if self._retired and not self.closed:
            self.out(f"store i64 {self.budget()}, ptr %bud")
        self._retired = 0

    def budget(self, more: int = 0) -> str:
        now = self.temp("load i64, ptr %bud")
        spent = self._retired + more
        return self.temp(f"sub i64 {now}, {spent}") if spent else now

    def _tails(self) -> None:
        """The shared blocks at the end: checked ways to blocks, exits."""
        self._retired = 0
        for edge, label in self._edges.items():
            self.loop, self.dirty = edge.loop, edge.dirty
            self.open(label)
            after = self.parts.get(edge.target)
            leaves = after is None or after.loop is not edge.loop
            if leaves and edge.cycle is not None:
                self.sink(edge.cycle)
            if after is None:
                self.dispatch(self.pc_of(edge.target))
                continue
            if leaves and not self.late:
                self.flush()
                self.dirty = 0
            for page in edge.pages:
                self._check_page(page, edge.target)
            if edge.back:
                self.check_budget(self.pc_of(edge.target))
            if leaves and not self.keeps:
                self.come_into(after)
            self.close(f"br label %o{edge.target}")
        for cycle in self.each_cycle():
            self._ends_of_passes(cycle)
        for aside in self._asides:
            self.open(aside.label)
            self._retired, self.dirty = aside.retired, aside.dirty
            self.out(f"store i64 {self.budget()}, ptr %bud")
            # Whose handler goes on behind it: a region that is to take over must begin there.
            behind = self.pc_of(aside.offset + self.region.members[aside.offset].length + 1)
            self.out(f"store i64 {behind}, ptr {self.engine_word('left_to')}{STATE}")
            left = f'@"{self.name}"' if aside.shared else "null"
            self.out(f"store ptr {left}, ptr {self.engine_word('left_from')}{STATE}")
            if aside.shared:
                self.out(f"store i64 %page, ptr {self.engine_word('left_page')}{STATE}")
            self.dispatch(self.pc_of(aside.offset), "@resume")
        for (dirty, callee), number in self._outs.items():
            self.dirty = dirty
            self.open(f"out{number}")
            self.flush()
            target = self.temp("load ptr, ptr %target.v")
            if callee == "@dispatch":
                self.out(f"store ptr {target}, ptr {self.engine_word('left_to')}{STATE}")
            self.tail(callee, f"ptr {target}", self.temp("load i64, ptr %bud"))
        self.loop = None
        if self.leaves:
            self.open("leave")
            left = self.temp(f"load i64, ptr {self.engine_word('left_budget')}")
            self.tail("@left", "ptr null", left)

    def _ends_of_passes(self, cycle: Cycle) -> None:
        """From the end of a loop to its head: with checks, and without."""
        self._enter_part(self.parts[cycle.head])
        self.open(f"end.{cycle.head}")
        self.end_of_free_pass(cycle)
        self.open(f"back.{cycle.head}")
        self.end_of_pass(cycle, f"checked.{cycle.head}")
        self.open(f"checked.{cycle.head}")
        self.check_budget(self.pc_of(cycle.head))
        self.close(f"br label %o{cycle.head}")

    def _check_page(self, number: int, target: int) -> None:
        """Go on only if the page is the one that was compiled; else dispatch to `target`."""
        gva = self.pc_of(number * PAGE_SIZE)
        table = self.temp(f"load ptr, ptr {self.engine_word('tlb_fetch')}{STATE}")
        entry = self.tlb_entry(table, gva, FETCH_ENTRY)
        tag = self.temp(f"load i64, ptr {entry}{TLB}")
        mapped = self.temp(f"icmp eq i64 {tag}, {gva}")
        look, go, out = self.label("mapped"), self.label("same"), self.label("other")
        self.branch(mapped, look, out, (1, 0))
        self.open(look)
        bias_at = self.temp(f"getelementptr inbounds i8, ptr {entry}, i64 8")
        bias = self.temp(f"load i64, ptr {bias_at}{TLB}")
        page = self.temp(f"shl i64 {self.temp(f'sub i64 {gva}, {bias}')}, 3")
        address = self.temp(f"add i64 {page}, {CONTENT_OFFSET}")
        content = self.temp(f"load i64, ptr {self.temp(f'inttoptr i64 {address} to ptr')}")
        at = sorted(self.region.pages).index(number)
        due_at = self.temp(f"getelementptr inbounds i64, ptr @contents, i64 {at}")
        # Volatile, or LLVM takes the address of the symbol where it is used, relative to the code:
        # the number is within reach of no code.
        due = self.temp(f"load volatile i64, ptr {due_at}")
        same = self.temp(f"icmp eq i64 {content}, {due}")
        self.branch(same, go, out, (1, 0))
        self.open(out)
        self.dispatch(self.pc_of(target))
        self.open(go)

    # -- leaving -----------------------------------------------------------------------------------
    def _way(self, offset: int) -> str:
        """The label that leads to an instruction; the budget must be up to date there."""
        loop, cycle = self.loop, self.cycles.get(self._part.first)
        if offset not in self.region.members:
            edge = _Edge(offset, (), False, loop, self.dirty, cycle)
            return self._edges.setdefault(edge, self._new("exit"))
        after = self.parts[offset]
        back = offset <= self.offset
        if self.cycle is not None and offset in self.cycle.parts:
            return f"{'end' if offset == self.cycle.head else 'free'}.{offset}"
        if cycle is not None and offset == cycle.head:
            return f"back.{offset}"
        pages = tuple(sorted(after.pages - self._part.known - self._part.pages))
        holds = (loop is None and self.keeps) or (cycle is None and self.late)
        alike = after.loop is loop or holds
        if not back and not pages and alike:
            return f"o{offset}"
        edge = _Edge(offset, pages, back, loop, self.dirty, cycle)
        return self._edges.setdefault(edge, self._new("to"))

    def _new(self, hint: str) -> str:
        return self.label(hint)

    def _go(self, offset: int) -> None:
        self.close(f"br label %{self._way(offset)}")

    def dispatch(self, pc: str, callee: str = "@dispatch") -> None:
        """Leave the region, to go on at a guest-virtual address; the budget is up to date."""
        self.out(f"store i64 {pc}, ptr %target.v")
        number = self._outs.setdefault((self.dirty, callee), len(self._outs))
        self.close(f"br label %out{number}")

    def aside(self) -> str:
        label = self.label("aside")
        self._asides.append(_Aside(label, self.offset, self._retired, self.dirty, True))
        return label

    def where(self, size: int) -> str:
        return f"i64 %page, i64 {self.budget()}, i64 {self.offset << 8 | size}"

    def before_call(self) -> None:
        self.flush()
        self.out(f"store i64 {self._pc()}, ptr {self.slot_pointer('pc')}{STATE}")
        self.out(f"store i64 {self._icount()}, ptr {self.slot_pointer('icount')}{STATE}")
        self.out(f"store i64 {self.member.bits}, ptr {self.engine_word('insn')}{STATE}")

    # -- operations --------------------------------------------------------------------------------
    def variable(self, v: Variable) -> str:
        return f"%i{self._serial}.{v.number}"

    def pc_of(self, offset: int) -> str:
        return self.temp(f"add i64 %page, {offset}")

    def _pc(self) -> str:
        return self.pc_of(self.offset)

    def _icount(self) -> str:
        end = self.temp(f"load i64, ptr {self.slot_pointer('icount_end')}{STATE}")
        return self.temp(f"sub i64 {end}, {self.budget()}")

    def op_pc(self, op: Op) -> None:
        self.bind(op.results[0], self._pc())

    def op_insn_length(self, op: Op) -> None:
        self.bind(op.results[0], str(self.member.length))

    def op_icount(self, op: Op) -> None:
        self.bind(op.results[0], self._icount())

    def op_operand(self, op: Op) -> None:
        raise ValueError(f"{self.routine.name}: operand {op.attrs['operand']} is not known")

    def op_exit(self, op: Op) -> None:
        self.out(f"store i64 {int(op.attrs['reason'])}, ptr {self.engine_word('exit_code')}")
        self.op_pending(op)
        self.out(f"store i64 {self.budget(1)}, ptr %bud")
        self.dispatch(self.pc_of(self.offset + self.member.length))

    def op_jump(self, op: Op) -> None:
        self.out(f"store i64 {self.budget(1)}, ptr %bud")
        if self.member.target is None or self.member.ends:
            self._indirect(self.use(op.args[0]))
            return
        following = self.offset + self.member.target
        if jump_distance(op.args[0].op) is None:  # most probably: LLVM knows, if it is surely there
            self._unless_at(self.use(op.args[0]), following)
        self._go(following)

    def _unless_at(self, target: str, due: int) -> None:
        """Dispatch to where a jump goes if that is not where it should."""
        same = self.temp(f"icmp eq i64 {target}, {self.pc_of(due)}")
        go, other = self.label("due"), self.label("elsewhere")
        self.branch(same, go, other, (1, 0))
        self.open(other)
        self.dispatch(target)
        self.open(go)

    def _indirect(self, target: str) -> None:
        """A jump to an address from a register: likely to behind one of the region's own calls, or
        to a case of a `switch`."""
        by = switch_of(self.member)
        if by is None or not self.parts[by].successors:
            self.dispatch(target)
            return
        if self.parts[by].loop is not self.loop and not self.late:
            self.flush()
        self.out(f"store i64 {target}, ptr %target.v")
        self.close(f"br label %o{by}")

    def op_call(self, op: Op) -> None:
        routine: Routine = op.attrs["routine"]
        kind = result_type(routine)
        params = "".join(f", i{p.width}" for p in routine.params)
        self.declares.add(f"declare dso_local {kind} {symbol(routine)}(ptr{params})")
        super().op_call(op)


def region_module(name: str, region: Region[Decoded], arch: Arch, layout: ThreadedLayout) -> str:
    """An LLVM module of one region. The numbers of its pages' contents, which only the process
    knows that runs it, are the addresses of symbols `content.DISTANCE`."""
    writer = RegionWriter(name, region, arch, layout)
    text = writer.text()
    symbols = [f'@"content.{page}"' for page in sorted(region.pages)]
    cells = ", ".join(f"i64 ptrtoint (ptr {symbol} to i64)" for symbol in symbols)
    numbers = [f"{symbol} = external dso_local global i8" for symbol in symbols]
    numbers.append(f"@contents = internal constant [{len(symbols)} x i64] [{cells}]")
    distances = ", ".join(f"i32 {e & -PAGE_SIZE}" for e in region.entries)
    numbers.append(f"@distances = internal constant [{len(region.entries)} x i32] [{distances}]")
    declares = sorted(writer.declares)
    parts = [RUNTIME, DECLARATIONS, *declares, *numbers, text, METADATA]
    if writer.counted:
        own = [d for d in declares if "@llvm." in d]
        parts += [LOOPS, *own, *writer.counted, METADATA]
    return "\n".join(parts) + "\n"
