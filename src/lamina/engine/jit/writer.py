"""A region as one LLVM function `i64 (state, record, budget)`, to be entered at its entries.

Guest registers live in local variables, which LLVM turns into values; every register write is
also stored to the state as it is made, so the state is exact wherever a slow path looks at it. An
entry loads the registers that may be read before they are written.
The budget is counted per block and looked at on backward jumps. Control that moves into another
guest page checks there, in the fetch TLB, that the page is the one that was compiled.
"""

from dataclasses import dataclass

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.engine.jit.flow import Decoded, jump_distance
from lamina.engine.jit.groups import Group, groups_of
from lamina.engine.jit.region import Region
from lamina.engine.jit.shape import RETURNS, Part, parts_of
from lamina.engine.llvm.lower import result_type, symbol
from lamina.engine.threaded.functions import MemoryWriter
from lamina.engine.threaded.layout import (
    CONTENT_OFFSET,
    DATA_ENTRY,
    TLB_ENTRIES,
    ThreadedLayout,
)
from lamina.engine.threaded.region_ir import DECLARATIONS
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
"""


@dataclass(frozen=True, slots=True)
class _Edge:
    """Where control goes: to a block, past checks of pages and of the budget."""

    target: int
    pages: tuple[int, ...]
    back: bool

    @property
    def label(self) -> str:
        pages = "".join(f".p{p}" for p in self.pages)
        return f"to{self.target}{pages}{'.b' if self.back else ''}"


class RegionWriter(MemoryWriter):
    """Writes one region."""

    ram_metadata = RAM

    def __init__(self, name: str, region: Region, arch: Arch, layout: ThreadedLayout) -> None:
        start = region.entries[0]
        super().__init__(region.members[start].routine, arch, layout)
        self.name = name
        self.region = region
        self.offset = start
        self.member: Decoded = region.members[start]
        self._parts = parts_of(region)
        self._part = self._parts[start]
        self._head: list[str] = []
        self._registers: set[tuple[str, int]] = set()
        self._retired = 0  # since the budget variable was last written
        self._exits: dict[int, str] = {}
        self._edges: dict[_Edge, None] = {}
        self._groups: dict[int, Group] = {}
        self._asides: list[tuple[str, int, int]] = []  # exits inside a block: label, where, retired
        self._leaves = False
        self._serial = 0

    # -- the whole function ----------------------------------------------------------------------
    def text(self) -> str:
        self.closed = True
        for part in self._parts.values():
            if part.first != RETURNS:
                self._block(part)
        self._returns(self._parts[RETURNS])
        self._tails()
        body, self.lines = self.lines, []
        self._entries()
        return "\n".join([*self._prologue(), *self.lines, *body, "}"])

    def _block(self, part: Part) -> None:
        self._part = part
        self._groups = groups_of(self.region, part, list(self.layout.files))
        self.open(f"o{part.first}")
        for offset in part.offsets:
            self._instruction(offset)
            if self.closed:
                break
        if not self.closed:
            following = self.offset + self.member.length
            self._flush_budget()
            self._go(following)
        self._retired = 0

    def _returns(self, part: Part) -> None:
        """The block that compares a return's target with what follows the region's calls."""
        if not part.successors:
            return
        self._part, self.offset = part, part.first
        self.open(f"o{RETURNS}")
        target = self.temp("load i64, ptr %return.v")
        distance = self.temp(f"sub i64 {target}, {self.temp('load i64, ptr %page.v')}")
        other = self.label("other")
        cases = " ".join(f"i64 {o}, label %{self._way(o)}" for o in part.successors)
        self.close(f"switch i64 {distance}, label %{other} [ {cases} ]")
        self.open(other)
        self._dispatch(target)

    def _instruction(self, offset: int) -> None:
        self.offset = offset
        self.member = self.region.members[offset]
        self.routine = self.member.routine
        self._names = {}
        self._serial += 1
        for v in self.routine.variables:
            self._head.append(f"{self.variable(v)} = alloca i{v.width}")
            self.out(f"store i{v.width} 0, ptr {self.variable(v)}")
        self.block(self.routine.body)
        if self.closed:
            return
        self._retired += 1
        if self.member.ends:
            self._flush_budget()
            self._dispatch(self._pc_of(offset + self.member.length))

    def _flush_budget(self) -> None:
        if self._retired and not self.closed:
            self.out(f"store i64 {self._budget()}, ptr %bud")
        self._retired = 0

    def _budget(self, more: int = 0) -> str:
        now = self.temp("load i64, ptr %bud")
        spent = self._retired + more
        return self.temp(f"sub i64 {now}, {spent}") if spent else now

    def _prologue(self) -> list[str]:
        at = self.engine.at
        lines = [
            f'define tailcc i64 @"{self.name}"(ptr %s, ptr %r, i64 %b) nounwind {{',
            "entry:",
            "%bud = alloca i64",
            "store i64 %b, ptr %bud",
            "%page.v = alloca i64",
            "%return.v = alloca i64",
            f"%bias.p = getelementptr inbounds i8, ptr %s, i64 {at['pc_bias']}",
            f"%bias = load i64, ptr %bias.p{STATE}",
            "%r.i = ptrtoint ptr %r to i64",
            "%r.s = lshr i64 %r.i, 3",
            "%pc.start = add i64 %bias, %r.s",
            f"%page.start = and i64 %pc.start, {-PAGE_SIZE}",
            f"%tlb.p = getelementptr inbounds i8, ptr %s, i64 {at['tlb_data']}",
            f"%tlb = load ptr, ptr %tlb.p{STATE}",
            *self._head,
        ]
        lines += [f"{_local(*register)} = alloca i64" for register in sorted(self._registers)]
        entries = self.region.entries
        if len(entries) == 1:
            return [*lines, "br label %e0"]
        lines += [
            "%which.p = getelementptr inbounds i8, ptr %r, i64 8",
            "%which = load i32, ptr %which.p",
        ]
        cases = " ".join(f"i32 {i}, label %e{i}" for i in range(1, len(entries)))
        return [*lines, f"switch i32 %which, label %e0 [ {cases} ]"]

    def _entries(self) -> None:
        """The blocks that load what an entry needs."""
        files = list(self.layout.files)
        for i, offset in enumerate(self.region.entries):
            part = self._parts[offset]
            self.closed = True
            self.open(f"e{i}")
            distance = (offset >> PAGE_SHIFT) * PAGE_SIZE
            page = self.temp(f"sub i64 %page.start, {distance}")
            self.out(f"store i64 {page}, ptr %page.v")
            for file, index in sorted(self._registers):
                if not part.live >> 64 * files.index(file) + index & 1:
                    continue
                pointer = self.word_pointer(self.layout.file_base[file] + index)
                value = self.temp(f"load i64, ptr {pointer}{STATE}")
                self.out(f"store i64 {value}, ptr {_local(file, index)}")
            more = part.pages - {offset >> PAGE_SHIFT}
            for page_number in sorted(more):
                self._check_page(page_number, offset)
            self.close(f"br label %o{offset}")

    def _tails(self) -> None:
        """The shared blocks at the end: checked ways to blocks, exits."""
        for edge in self._edges:
            self.open(edge.label)
            for page in edge.pages:
                self._check_page(page, edge.target)
            if edge.back:
                self._check_budget(edge.target)
            self.close(f"br label %o{edge.target}")
        for offset, label in self._exits.items():
            self.open(label)
            self._dispatch(self._pc_of(offset))
        for label, offset, retired in self._asides:
            self.open(label)
            self._retired = retired
            self.out(f"store i64 {self._budget()}, ptr %bud")
            self._dispatch(self._pc_of(offset))
        if self._leaves:
            self.open("leave")
            left = self.temp(f"load i64, ptr {self.engine_word('left_budget')}")
            self._tail("@left", "ptr null", left)

    def _check_budget(self, target: int) -> None:
        now = self.temp("load i64, ptr %bud")
        pointer = self.slot_pointer("pending")
        pending = self.temp(f"load atomic i64, ptr {pointer} monotonic, align 8{STATE}")
        quiet = self.temp(f"icmp sgt i64 {now}, {pending}")
        go, out = self.label("quiet"), self.label("busy")
        self.branch(quiet, go, out, (1, 0))
        self.open(out)
        self._dispatch(self._pc_of(target))
        self.open(go)

    def _check_page(self, number: int, target: int) -> None:
        """Go on only if the page is the one that was compiled; else dispatch to `target`."""
        gva = self._pc_of(number * PAGE_SIZE)
        table = self.temp(f"load ptr, ptr {self.engine_word('tlb_fetch')}{STATE}")
        page = self.temp(f"lshr i64 {gva}, 12")
        index = self.temp(f"and i64 {page}, {TLB_ENTRIES - 1}")
        entry = self.temp(f"getelementptr inbounds [2 x i64], ptr {table}, i64 {index}")
        tag = self.temp(f"load i64, ptr {entry}{TLB}")
        mapped = self.temp(f"icmp eq i64 {tag}, {gva}")
        look, go, out = self.label("look"), self.label("same"), self.label("other")
        self.branch(mapped, look, out, (1, 0))
        self.open(look)
        code_at = self.temp(f"getelementptr inbounds i8, ptr {entry}, i64 8")
        code = self.temp(f"load ptr, ptr {code_at}{TLB}")
        content_at = self.temp(f"getelementptr inbounds i8, ptr {code}, i64 {CONTENT_OFFSET}")
        content = self.temp(f"load i64, ptr {content_at}")
        at = sorted(self.region.pages).index(number)
        due_at = self.temp(f"getelementptr inbounds i64, ptr @contents, i64 {at}")
        same = self.temp(f"icmp eq i64 {content}, {self.temp(f'load i64, ptr {due_at}')}")
        self.branch(same, go, out, (1, 0))
        self.open(out)
        self._dispatch(self._pc_of(target))
        self.open(go)

    # -- leaving -----------------------------------------------------------------------------------
    def _way(self, offset: int) -> str:
        """The label that leads to an instruction; the budget must be up to date there."""
        if offset not in self.region.members:
            return self._exits.setdefault(offset, f"exit{offset}")
        after = self._parts[offset]
        back = offset <= self.offset
        pages = tuple(sorted(after.pages - self._part.known - self._part.pages))
        if not back and not pages:
            return f"o{offset}"
        edge = _Edge(offset, pages, back)
        self._edges.setdefault(edge)
        return edge.label

    def _go(self, offset: int) -> None:
        self.close(f"br label %{self._way(offset)}")

    def _tail(self, callee: str, second: str, budget: str) -> None:
        call = f"musttail call tailcc i64 {callee}(ptr %s, {second}, i64 {budget})"
        self.close(f"ret i64 {self.temp(call)}")

    def _dispatch(self, pc: str) -> None:
        pointer = self.temp(f"inttoptr i64 {pc} to ptr")
        self._tail("@dispatch", f"ptr {pointer}", self.temp("load i64, ptr %bud"))

    def leave(self) -> None:
        self.out(f"store i64 {self._budget()}, ptr {self.engine_word('left_budget')}{STATE}")
        self._leave()

    def _leave(self) -> None:
        """The instruction was abandoned, and `left_budget` is set."""
        self._leaves = True
        self.close("br label %leave")

    def before_call(self) -> None:
        self.out(f"store i64 {self._pc()}, ptr {self.slot_pointer('pc')}{STATE}")
        self.out(f"store i64 {self._icount()}, ptr {self.slot_pointer('icount')}{STATE}")
        self.out(f"store i64 {self.member.bits}, ptr {self.engine_word('insn')}{STATE}")

    # -- operations --------------------------------------------------------------------------------
    def variable(self, v: Variable) -> str:
        return f"%i{self._serial}.{v.number}"

    def _pc_of(self, offset: int) -> str:
        return self.temp(f"add i64 {self.temp('load i64, ptr %page.v')}, {offset}")

    def _pc(self) -> str:
        return self._pc_of(self.offset)

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
        if name != "insn":
            raise ValueError(f"{self.routine.name}: operand {name} is not known")
        value = self.member.bits
        self.bind(op.results[0], str(value))

    def op_get(self, op: Op) -> None:
        if op.attrs["slot"] == "irq":
            return super().op_get(op)
        pointer = self.slot_pointer(op.attrs["slot"])
        self.bind(op.results[0], self.temp(f"load i64, ptr {pointer}{STATE}"))

    def op_set(self, op: Op) -> None:
        pointer = self.slot_pointer(op.attrs["slot"])
        self.out(f"store i64 {self.use(op.args[0])}, ptr {pointer}{STATE}")

    def op_reg_get(self, op: Op) -> None:
        file, index = op.attrs["file"], int(self.use(op.args[0]))
        if index == 0 and self.layout.files[file].zero:
            self.bind(op.results[0], "0")
            return
        self._registers.add((file, index))
        self.bind(op.results[0], self.temp(f"load i64, ptr {_local(file, index)}"))

    def op_reg_set(self, op: Op) -> None:
        file, index = op.attrs["file"], int(self.use(op.args[0]))
        if index == 0 and self.layout.files[file].zero:
            return
        self._registers.add((file, index))
        value = self.use(op.args[1])
        self.out(f"store i64 {value}, ptr {_local(file, index)}")
        pointer = self.word_pointer(self.layout.file_base[file] + index)
        self.out(f"store i64 {value}, ptr {pointer}{STATE}")

    def op_exit(self, op: Op) -> None:
        self.out(f"store i64 {int(op.attrs['reason'])}, ptr {self.engine_word('exit_code')}")
        self.op_pending(op)
        self.out(f"store i64 {self._budget(1)}, ptr %bud")
        self._dispatch(self._pc_of(self.offset + self.member.length))

    def op_jump(self, op: Op) -> None:
        self.out(f"store i64 {self._budget(1)}, ptr %bud")
        if self.member.target is None or jump_distance(op) is None or self.member.ends:
            self._indirect(self.use(op.args[0]))
        else:
            self._go(self.offset + self.member.target)

    def _indirect(self, target: str) -> None:
        """A computed jump: likely a return to behind one of the region's own calls."""
        if self.member.links or self.member.ends or not self._parts[RETURNS].successors:
            self._dispatch(target)
        else:
            self.out(f"store i64 {target}, ptr %return.v")
            self.close(f"br label %o{RETURNS}")

    def op_call(self, op: Op) -> None:
        routine: Routine = op.attrs["routine"]
        kind = result_type(routine)
        params = "".join(f", i{p.width}" for p in routine.params)
        self.declares.add(f"declare dso_local {kind} {symbol(routine)}(ptr{params})")
        super().op_call(op)

    def op_trap(self, op: Op) -> None:
        cause, tval = (self.use(a) for a in op.args)
        arguments = f"ptr %s, i64 {cause}, i64 {tval}, {self._where(0)}"
        self.out(f"call preserve_mostcc void @region_trap({arguments})")
        self._leave()

    # -- memory ------------------------------------------------------------------------------------
    def _where(self, size: int) -> str:
        """The arguments that tell the runtime which instruction this is."""
        page = self.temp("load i64, ptr %page.v")
        return f"i64 {page}, i64 {self._budget()}, i64 {self.offset << 8 | size}"

    def _look(self, gva: str, size: int, reads: bool, writes: bool) -> tuple[str, str]:
        """(hit, host minus guest address as a pointer) for `size` bytes at gva."""
        shift = DATA_ENTRY.bit_length() - 1
        number = self.temp(f"lshr i64 {gva}, {PAGE_SHIFT - shift}")
        index = self.temp(f"and i64 {number}, {TLB_ENTRIES - 1 << shift}")
        entry = self.temp(f"getelementptr inbounds i8, ptr %tlb, i64 {index}")
        last = self.temp(f"add i64 {gva}, {size - 1}") if size > 1 else gva
        base = self.temp(f"and i64 {last}, {-PAGE_SIZE}")
        hits = []
        for field in [0] * reads + [8] * writes:
            at = self.temp(f"getelementptr inbounds i8, ptr {entry}, i64 {field}")
            hits.append(self.temp(f"icmp eq i64 {self.temp(f'load i64, ptr {at}{TLB}')}, {base}"))
        hit = hits[0] if len(hits) == 1 else self.temp(f"and i1 {hits[0]}, {hits[1]}")
        addend_at = self.temp(f"getelementptr inbounds i8, ptr {entry}, i64 16")
        return hit, self.temp(f"load ptr, ptr {addend_at}{TLB}")

    def _host(self, gva: str, size: int, write: bool, call: str) -> str:
        """A host pointer to `size` bytes at gva, if need be by a call of the runtime."""
        group = self._groups.get(self.offset)
        if group is not None:
            return self._host_in(group, gva)
        hit, base = self._look(gva, size, not write, write)
        quick = self.temp(f"getelementptr i8, ptr {base}, i64 {gva}")
        here, miss, end = self.current, self.label("miss"), self.label("there")
        self.branch(hit, end, miss, (1, 0))
        self.open(miss)
        slow = self.temp(f"call preserve_mostcc ptr {call}, {self._where(size)})")
        gone = self.temp(f"icmp eq ptr {slow}, null")
        self._leaves = True
        self.branch(gone, "leave", end, (0, 1))
        self.open(end)
        return self.temp(f"phi ptr [ {quick}, %{here} ], [ {slow}, %{miss} ]")

    def _host_in(self, group: Group, gva: str) -> str:
        """A host pointer by the check of the access's group."""
        if not group.base:
            access = self.member.access
            assert access is not None
            low = self.temp(f"add i64 {gva}, {group.low - access.distance}")
            span = group.high - group.low
            hit, group.base = self._look(low, span, group.reads, group.writes)
            go, out = self.label("go"), self.label("across")
            self._asides.append((out, self.offset, self._retired))
            self.branch(hit, go, out, (1, 0))
            self.open(go)
        return self.temp(f"getelementptr i8, ptr {group.base}, i64 {gva}")

    def op_load(self, op: Op) -> None:
        size, gva = op.attrs["size"], self.use(op.args[0])
        pointer = self._host(gva, size, False, f"@region_read(ptr %s, i64 {gva}")
        text = f"load i{8 * size}, ptr {pointer}, align 1{RAM}"
        self.bind(op.results[0], self.temp(text))

    def op_store(self, op: Op) -> None:
        size, gva, value = op.attrs["size"], self.use(op.args[0]), self.use(op.args[1])
        wide = value if size == 8 else self.temp(f"zext i{8 * size} {value} to i64")
        call = f"@region_write(ptr %s, i64 {gva}, i64 {wide}"
        pointer = self._host(gva, size, True, call)
        self.out(f"store i{8 * size} {value}, ptr {pointer}, align 1{RAM}")

    def atomic_pointer(self, op: Op) -> str:
        size, gva = op.attrs["size"], self.use(op.args[0])
        return self._host(gva, size, True, f"@region_pointer(ptr %s, i64 {gva}")


def _local(file: str, index: int) -> str:
    return f"%{file}{index}"


def region_module(name: str, region: Region, arch: Arch, layout: ThreadedLayout) -> str:
    """An LLVM module of one region. The numbers of its pages' contents, which only the process
    knows that runs it, are the addresses of symbols `content.DISTANCE`."""
    writer = RegionWriter(name, region, arch, layout)
    text = writer.text()
    symbols = [f'@"content.{page}"' for page in sorted(region.pages)]
    cells = ", ".join(f"i64 ptrtoint (ptr {symbol} to i64)" for symbol in symbols)
    numbers = [f"{symbol} = external dso_local global i8" for symbol in symbols]
    numbers.append(f"@contents = internal constant [{len(symbols)} x i64] [{cells}]")
    parts = [RUNTIME, DECLARATIONS, *sorted(writer.declares), *numbers, text, METADATA]
    return "\n".join(parts) + "\n"
