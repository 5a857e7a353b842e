"""A region as one LLVM function `i64 (state, record, budget)`, to be entered at its start.

Guest registers live in local variables, which LLVM turns into values; every register write is
also stored to the state as it is made, so the state is exact wherever a slow path looks at it.
The budget is counted per instruction and looked at on backward jumps.
"""

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.region import Region, jump_offset
from lamina.engine.llvm.lower import result_type, symbol
from lamina.engine.threaded.functions import MemoryWriter
from lamina.engine.threaded.layout import RECORD, TLB_ENTRIES, ThreadedLayout
from lamina.ir.graph import Op, Routine, Variable
from lamina.isa.arch import Arch

# Accesses to the state, the TLB and guest RAM never touch each other's memory.
STATE = ", !alias.scope !4, !noalias !5"
TLB = ", !alias.scope !6, !noalias !7"
RAM = ", !alias.scope !8, !noalias !9"
METADATA = """
!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
!2 = distinct !{!2, !"guest"}
!10 = distinct !{!10, !2, !"state"}
!11 = distinct !{!11, !2, !"tlb"}
!12 = distinct !{!12, !2, !"ram"}
!4 = !{!10}
!5 = !{!11, !12}
!6 = !{!11}
!7 = !{!10, !12}
!8 = !{!12}
!9 = !{!10, !11}
"""
RUNTIME = """
declare dso_local tailcc i64 @dispatch(ptr, ptr, i64)
declare dso_local tailcc i64 @left(ptr, ptr, i64)
declare dso_local tailcc i64 @resume(ptr, ptr, i64)
declare dso_local { i1, i64 } @slow_load(ptr, i64, i64) cold
declare dso_local i1 @slow_store(ptr, i64, i64, i64) cold
declare dso_local { i1, ptr } @host_pointer(ptr, i64, i64)
declare dso_local i64 @time(ptr)
"""


class RegionWriter(MemoryWriter):
    """Writes one region."""

    def __init__(self, name: str, region: Region, arch: Arch, layout: ThreadedLayout) -> None:
        super().__init__(region.members[region.start].routine, arch, layout)
        self.name = name
        self.region = region
        self.member = region.members[region.start]
        self._head: list[str] = []
        self._registers: set[tuple[str, int]] = set()
        self._retired = 0  # since the budget variable was last written
        self._exits: dict[int, str] = {}
        self._checks: dict[int, str] = {}
        self._serial = 0

    # -- the whole function ----------------------------------------------------------------------
    def text(self) -> str:
        order = sorted(self.region.members)
        leaders = set(self.region.leaders)
        for here, after in zip(order, [*order[1:], -1], strict=True):
            following = here + self.region.members[here].length
            if following != after and following in self.region.members:
                leaders.add(following)
        self.closed = True
        for offset in order:
            self._instruction(offset, leaders)
        self._tails()
        return "\n".join([*self._prologue(), *self.lines, "}"])

    def _instruction(self, offset: int, leaders: set[int]) -> None:
        if offset in leaders or self.closed:
            self._flush_budget()
            self.open(f"o{offset}")
        self.member = self.region.members[offset]
        self.routine = self.member.routine
        self._names = {}
        self._serial += 1
        for v in self.routine.variables:
            self._head.append(f"{self.variable(v)} = alloca i{v.width}")
            self.out(f"store i{v.width} 0, ptr {self.variable(v)}")
        self.block(self.routine.body)
        if self.closed:
            self._retired = 0
            return
        self._retired += 1
        following = offset + self.member.length
        if following not in self.region.members:
            self._flush_budget()
            self._go(following)
        elif following in leaders:
            self._flush_budget()
            self.close(f"br label %o{following}")

    def _flush_budget(self) -> None:
        if self._retired and not self.closed:
            self.out(f"store i64 {self._budget()}, ptr %bud")
        self._retired = 0

    def _budget(self, more: int = 0) -> str:
        now = self.temp("load i64, ptr %bud")
        spent = self._retired + more
        return self.temp(f"sub i64 {now}, {spent}") if spent else now

    def _prologue(self) -> list[str]:
        lines = [
            f'define tailcc i64 @"{self.name}"(ptr %s, ptr %r, i64 %b) nounwind {{',
            "entry:",
            "%bud = alloca i64",
            "store i64 %b, ptr %bud",
            f"%bias.p = getelementptr inbounds i8, ptr %s, i64 {self.engine.at['pc_bias']}",
            f"%bias = load i64, ptr %bias.p{STATE}",
            "%r.i = ptrtoint ptr %r to i64",
            "%r.s = lshr i64 %r.i, 3",
            "%pc.start = add i64 %bias, %r.s",
            f"%page = sub i64 %pc.start, {self.region.start}",
            f"%tlb.p = getelementptr inbounds i8, ptr %s, i64 {self.engine.at['tlb_data']}",
            f"%tlb = load ptr, ptr %tlb.p{STATE}",
            *self._head,
        ]
        for file, index in sorted(self._registers):
            at = 8 * (self.layout.file_base[file] + index)
            name = f"%{file}{index}"
            lines += [
                f"{name} = alloca i64",
                f"{name}.p = getelementptr inbounds i8, ptr %s, i64 {at}",
                f"{name}.v = load i64, ptr {name}.p{STATE}",
                f"store i64 {name}.v, ptr {name}",
            ]
        return [*lines, f"br label %o{self.region.start}"]

    def _tails(self) -> None:
        """The shared blocks at the end: budget checks of backward jumps, exits."""
        for offset, label in self._checks.items():
            self.open(label)
            now = self.temp("load i64, ptr %bud")
            pointer = self.slot_pointer("pending")
            pending = self.temp(f"load atomic i64, ptr {pointer} monotonic, align 8{STATE}")
            quiet = self.temp(f"icmp sgt i64 {now}, {pending}")
            out = self.label("busy")
            self.branch(quiet, f"o{offset}", out, (1, 0))
            self.open(out)
            self._dispatch(self._pc_of(offset))
        for offset, label in self._exits.items():
            self.open(label)
            distance = (offset - self.region.start) * (RECORD // 2)
            record = self.temp(f"getelementptr i8, ptr %r, i64 {distance}")
            self._tail("@resume", f"ptr {record}")

    # -- leaving -----------------------------------------------------------------------------------
    def _go(self, offset: int) -> None:
        """To another instruction of the page; the budget is up to date."""
        if offset in self.region.members:
            if offset <= self.member.offset:
                label = self._checks.setdefault(offset, f"check{offset}")
                self.close(f"br label %{label}")
            else:
                self.close(f"br label %o{offset}")
            return
        label = self._exits.setdefault(offset, f"exit{offset}")
        self.close(f"br label %{label}")

    def _tail(self, callee: str, second: str) -> None:
        budget = self.temp("load i64, ptr %bud")
        call = f"musttail call tailcc i64 {callee}(ptr %s, {second}, i64 {budget})"
        self.close(f"ret i64 {self.temp(call)}")

    def _dispatch(self, pc: str) -> None:
        pointer = self.temp(f"inttoptr i64 {pc} to ptr")
        self._tail("@dispatch", f"ptr {pointer}")

    def leave(self) -> None:
        budget = self._budget()
        call = f"musttail call tailcc i64 @left(ptr %s, ptr null, i64 {budget})"
        self.close(f"ret i64 {self.temp(call)}")

    def before_call(self) -> None:
        self.out(f"store i64 {self._pc()}, ptr {self.slot_pointer('pc')}{STATE}")
        self.out(f"store i64 {self._icount()}, ptr {self.slot_pointer('icount')}{STATE}")
        self.out(f"store i64 {self.member.bits}, ptr {self.engine_word('insn')}{STATE}")

    # -- operations --------------------------------------------------------------------------------
    def variable(self, v: Variable) -> str:
        return f"%i{self._serial}.{v.number}"

    def _pc_of(self, offset: int) -> str:
        return self.temp(f"add i64 %page, {offset}")

    def _pc(self) -> str:
        return self._pc_of(self.member.offset)

    def _icount(self) -> str:
        end = self.temp(f"load i64, ptr {self.slot_pointer('icount_end')}{STATE}")
        return self.temp(f"sub i64 {end}, {self._budget()}")

    def op_pc(self, op: Op) -> None:
        self.bind(op.results[0], self._pc())

    def op_insn_length(self, op: Op) -> None:
        self.bind(op.results[0], str(self.member.length))

    def op_icount(self, op: Op) -> None:
        self.bind(op.results[0], self._icount())

    def op_operand(self, op: Op) -> None:
        name = op.attrs["operand"]
        value = self.member.bits if name == "insn" else self.member.operands[name]
        self.bind(op.results[0], str(value))

    def op_get(self, op: Op) -> None:
        if op.attrs["slot"] == "irq":
            return super().op_get(op)
        pointer = self.slot_pointer(op.attrs["slot"])
        self.bind(op.results[0], self.temp(f"load i64, ptr {pointer}{STATE}"))

    def op_set(self, op: Op) -> None:
        pointer = self.slot_pointer(op.attrs["slot"])
        self.out(f"store i64 {self.use(op.args[0])}, ptr {pointer}{STATE}")

    def _register(self, op: Op) -> tuple[str, int]:
        register = (op.attrs["file"], int(self.use(op.args[0])))
        return register

    def op_reg_get(self, op: Op) -> None:
        file, index = self._register(op)
        if index == 0 and self.layout.files[file].zero:
            self.bind(op.results[0], "0")
            return
        self._registers.add((file, index))
        self.bind(op.results[0], self.temp(f"load i64, ptr %{file}{index}"))

    def op_reg_set(self, op: Op) -> None:
        file, index = self._register(op)
        if index == 0 and self.layout.files[file].zero:
            return
        self._registers.add((file, index))
        value = self.use(op.args[1])
        self.out(f"store i64 {value}, ptr %{file}{index}")
        pointer = self.word_pointer(self.layout.file_base[file] + index)
        self.out(f"store i64 {value}, ptr {pointer}{STATE}")

    def op_jump(self, op: Op) -> None:
        relative = jump_offset(op, self.member)
        self.out(f"store i64 {self._budget(1)}, ptr %bud")
        if relative is None:
            self._indirect(self.use(op.args[0]))
            return
        target = self.member.offset + relative
        if 0 <= target < PAGE_SIZE:
            self._go(target)
        else:
            self._dispatch(self.temp(f"add i64 {self._pc()}, {relative}"))

    def _indirect(self, target: str) -> None:
        """A computed jump: likely a return to behind one of the region's own calls."""
        for offset in sorted(self.region.returns):
            hit, on = self.label("return"), self.label("other")
            same = self.temp(f"icmp eq i64 {target}, {self._pc_of(offset)}")
            self.branch(same, hit, on)
            self.open(hit)
            label = self._checks.setdefault(offset, f"check{offset}")
            self.close(f"br label %{label}")
            self.open(on)
        self._dispatch(target)

    def op_call(self, op: Op) -> None:
        routine: Routine = op.attrs["routine"]
        kind = result_type(routine)
        params = "".join(f", i{p.width}" for p in routine.params)
        self.declares.add(f"declare dso_local {kind} {symbol(routine)}(ptr{params})")
        super().op_call(op)

    def op_trap(self, op: Op) -> None:
        routine = self.arch.routines["trap"]
        self.declares.add(
            f"declare dso_local {result_type(routine)} {symbol(routine)}(ptr, i64, i64)"
        )
        super().op_trap(op)

    def tlb_hit(self, gva: str, size: int, write: bool) -> tuple[str, str]:
        page = self.temp(f"lshr i64 {gva}, 12")
        index = self.temp(f"and i64 {page}, {TLB_ENTRIES - 1}")
        entry = self.temp(f"getelementptr inbounds [4 x i64], ptr %tlb, i64 {index}")
        field = self.temp(f"getelementptr inbounds i64, ptr {entry}, i64 1") if write else entry
        tag = self.temp(f"load i64, ptr {field}{TLB}")
        last = self.temp(f"add i64 {gva}, {size - 1}") if size > 1 else gva
        base = self.temp(f"and i64 {last}, -4096")
        hit = self.temp(f"icmp eq i64 {base}, {tag}")
        addend_at = self.temp(f"getelementptr inbounds i64, ptr {entry}, i64 2")
        addend = self.temp(f"load i64, ptr {addend_at}{TLB}")
        host = self.temp(f"add i64 {gva}, {addend}")
        return hit, self.temp(f"inttoptr i64 {host} to ptr")

    ram_metadata = RAM


def region_module(
    names: list[str], regions: list[Region], arch: Arch, layout: ThreadedLayout
) -> str:
    """One LLVM module of several regions; it declares what it calls of the runtime."""
    parts, declares = [], set()
    for name, region in zip(names, regions, strict=True):
        writer = RegionWriter(name, region, arch, layout)
        parts.append(writer.text())
        declares |= writer.declares
    return "\n".join([RUNTIME, *sorted(declares), *parts, METADATA]) + "\n"
