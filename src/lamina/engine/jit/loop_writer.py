"""Loops with constant strides without checks, as LLVM text.

Such a loop (`strides`) is written twice. The checked one is a loop like any other. From its end
control goes to a block, the *top*, that finds the page of each stride, and how many passes stay in
these pages and in the budget: as a *limit*, down to which the budget may fall. The second one
compares the budget with that limit, once a pass, and its accesses check nothing; then comes the top
again. Where the top finds a page not in the TLB, or a pass that would lie in two, the checked loop
does the next passes. Many passes of a loop that is counted are done at once instead
(`counted_writer`). Base of the writer of regions.
"""

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.access_writer import AccessWriter
from lamina.engine.jit.register_writer import STATE
from lamina.engine.jit.strides import Cycle, Stride
from lamina.engine.jit.sums import Sum
from lamina.ir.graph import Op

PATIENCE = 4  # passes until what was in vain is tried again
LONGEST = 2000  # instructions between two looks at whether anybody wants attention,
LONGEST_COUNTED = 16_000  # and in loops that are counted, which are quicker


class LoopWriter(AccessWriter):
    """Loops of one region's function."""

    def prepare_loops(self) -> None:
        """Called once before anything is written."""
        self.cycle: Cycle | None = None  # whose blocks without checks are being written
        self.limits: dict[int, None] = {}  # heads of loops that have a limit

    def dispatch(self, pc: str, callee: str = "@dispatch") -> None:
        """Leave the region, to go on at a guest-virtual address; the budget is up to date."""
        raise NotImplementedError

    def pc_of(self, offset: int) -> str:
        """The guest-virtual address of an instruction."""
        raise NotImplementedError

    def sink(self, cycle: Cycle) -> None:
        """Do what a pass computes for nobody in the loop once more, where it is over."""
        raise NotImplementedError

    def check_budget(self, target: str) -> None:
        """Go on if nothing is pending; else dispatch to an address."""
        now = self.temp("load i64, ptr %bud")
        quiet = self.temp(f"icmp sgt i64 {now}, {self.pending()}")
        go, out = self.label("quiet"), self.label("busy")
        self.branch(quiet, go, out, (1, 0))
        self.open(out)
        self.dispatch(target)
        self.open(go)

    def pending(self) -> str:
        """The number that the budget must be above of."""
        pointer = self.slot_pointer("pending")
        return self.temp(f"load atomic i64, ptr {pointer} monotonic, align 8{STATE}")

    def variable_of(self, cycle: Cycle, stride: Stride) -> str:
        """The name of the variable for what leads to the host's addresses of a stride."""
        return f"%stride.{cycle.head}.{cycle.strides.index(stride)}"

    def loop_variables(self, cycle: Cycle) -> list[str]:
        """Lines that make the variables of a loop. It is tried first after one pass."""
        lines = [f"%limit.{cycle.head} = alloca i64", f"%again.{cycle.head} = alloca i64"]
        lines.append(f"store i64 {(1 << 63) - 1}, ptr %again.{cycle.head}")
        for stride in cycle.strides:
            name = self.variable_of(cycle, stride)
            lines += [f"{name} = alloca ptr", f"store ptr null, ptr {name}"]
        return lines

    def end_of_pass(self, cycle: Cycle, checked: str) -> None:
        """At the end of a pass of the checked loop, whose next one is at a label."""
        now = self.temp("load i64, ptr %bud")
        again = self.temp(f"load i64, ptr %again.{cycle.head}")
        self.branch(self.temp(f"icmp sgt i64 {now}, {again}"), checked, f"top.{cycle.head}")

    def end_of_free_pass(self, cycle: Cycle) -> None:
        """At the end of a pass without checks."""
        now = self.temp("load i64, ptr %bud")
        limit = self.temp(f"load i64, ptr %limit.{cycle.head}")
        more = self.temp(f"icmp sgt i64 {now}, {limit}")
        self.branch(more, f"free.{cycle.head}", f"top.{cycle.head}", (1, 0))

    def top(self, cycle: Cycle) -> None:
        """The block that decides how far the loop may run without checks."""
        head = cycle.head
        self.open(f"top.{head}")
        self.sink(cycle)
        self.check_budget(self.pc_of(head))
        self.declares.add("declare i64 @llvm.umin.i64(i64, i64)")
        self.declares.add("declare i64 @llvm.smax.i64(i64, i64)")
        longest = LONGEST if cycle.count is None else LONGEST_COUNTED
        passes = str(max(1, longest // cycle.length))
        for stride in cycle.strides:
            room = self._passes(cycle, stride)
            if room:
                passes = self.least(passes, room)
        if cycle.count is not None:
            margin = self.sum_of(cycle.count.margin)
            more = self.temp(f"udiv i64 {margin}, {cycle.count.step}")
            self.run_counted(cycle, self.least(passes, more))
        now = self.temp("load i64, ptr %bud")
        spent = self.temp(f"mul i64 {passes}, {cycle.length}")
        limit = self.temp(f"sub i64 {now}, {spent}")
        limit = self.temp(f"call i64 @llvm.smax.i64(i64 {limit}, i64 {self.pending()})")
        self.out(f"store i64 {limit}, ptr %limit.{head}")
        self.close(f"br label %free.{head}")
        self.open(f"vain.{head}")
        now = self.temp("load i64, ptr %bud")
        again = self.temp(f"sub i64 {now}, {PATIENCE * cycle.length}")
        self.out(f"store i64 {again}, ptr %again.{head}")
        self.close(f"br label %o{head}")

    def least(self, a: str, b: str) -> str:
        """The smaller of two numbers without sign."""
        return self.temp(f"call i64 @llvm.umin.i64(i64 {a}, i64 {b})")

    def run_counted(self, cycle: Cycle, passes: str) -> None:
        """Do so many passes of a loop that is counted, and go on with checks; or fall through, if
        these are few."""
        raise NotImplementedError

    def _passes(self, cycle: Cycle, stride: Stride) -> str:
        """How many passes stay in the page of a stride, which is looked up; "" for any number."""
        vain, group = f"vain.{cycle.head}", stride.group
        low = self.temp(f"add i64 {self.sum_of(Sum(stride.terms))}, {group.low}")
        last = self.temp(f"add i64 {low}, {group.span - 1}")
        differ = self.temp(f"xor i64 {low}, {last}")
        one, here = self.temp(f"icmp ult i64 {differ}, {PAGE_SIZE}"), self.label("one")
        self.branch(one, here, vain, (1, 0))
        self.open(here)
        page = self.temp(f"and i64 {last}, {-PAGE_SIZE}")
        addend = self.addend_of(group, low, page, vain)
        self.out(f"store ptr {addend}, ptr {self.variable_of(cycle, stride)}")
        if stride.step == 0:
            return ""
        within = self.temp(f"and i64 {last if stride.step > 0 else low}, {PAGE_SIZE - 1}")
        if stride.step > 0:
            within = self.temp(f"xor i64 {within}, {PAGE_SIZE - 1}")
        return self.temp(f"add i64 {self.temp(f'udiv i64 {within}, {abs(stride.step)}')}, 1")

    def sum_of(self, of: Sum) -> str:
        """What registers come to."""
        total = ""
        for (file, index), times in of.terms:
            value = self.temp(f"load i64, ptr {self.local(file, index)}")
            if times != 1:
                value = self.temp(f"mul i64 {value}, {times}")
            total = self.temp(f"add i64 {total}, {value}") if total else value
        if of.constant and total:
            return self.temp(f"add i64 {total}, {of.constant}")
        return total or str(of.constant)

    def host(self, op: Op, write: bool, call: str) -> str:
        """A host pointer to what an operation accesses, if need be by a call of the runtime."""
        place = self.cycle.accesses.get(self.offset) if self.cycle is not None else None
        if self.cycle is None or place is None:
            return super().host(op, write, call)
        stride, distance = place
        group, gva = stride.group, self.use(op.args[0])
        if not group.base:
            low = self.temp(f"add i64 {gva}, {group.low - distance}")
            addend = self.temp(f"load ptr, ptr {self.variable_of(self.cycle, stride)}")
            group.base = self.temp(f"getelementptr i8, ptr {addend}, i64 {low}")
        return self.temp(f"getelementptr i8, ptr {group.base}, i64 {distance - group.low}")
