"""LLVM text of shared routines, and what they share with instruction handlers: memory, time.

A shared routine becomes `{i1 left, results...} @r.NAME(ptr state, ...)`; left means that the
instruction was abandoned and the state is exact. Handlers are written by `handlers`.
"""

from lamina.engine.llvm.lower import result_type, symbol
from lamina.engine.threaded.float_ir import FloatWriter
from lamina.engine.threaded.hostfloat import HOST_INSTRUCTIONS
from lamina.engine.threaded.layout import DATA_ENTRY, EVENTS, ThreadedLayout, tlb_place
from lamina.ir.graph import LEAVING, Op, Routine, Value
from lamina.isa.arch import TOUCHES, WRITE, Arch

REDISPATCH = {"tlb.flush", "tlb.flush_page", "tlb.flush_space", "tlb.flush_space_page"}
REDISPATCH |= {"tlb.space", "tlb.context", "icache.flush", "fence.remote", "post.remote", "pending"}
_STATEFUL = {"get", "set", "reg.get", "reg.set", "pc", "icount", "time", "operand", "notify"}
_STATEFUL |= REDISPATCH | LEAVING | {"phys.load", "phys.cas", "exit"}


def mentions(routine: Routine, names: set[str] | frozenset[str]) -> bool:
    """True if the routine or one that it calls has an operation of these names."""
    return any(
        op.name in names or (op.name == "call" and mentions(op.attrs["routine"], names))
        for op in routine.body.walk()
    )


class MemoryWriter(FloatWriter):
    """What routines and handlers do alike: memory, the TLB, time. They differ in `leave_if`."""

    def __init__(self, routine: Routine, arch: Arch, layout: ThreadedLayout) -> None:
        super().__init__(routine, arch.layout)
        self.arch = arch
        self.engine = layout

    ram_metadata = ""  # alias metadata of accesses to guest RAM

    def engine_word(self, name: str) -> str:
        return self.temp(f"getelementptr inbounds i8, ptr %s, i64 {self.engine.at[name]}")

    def leave_if(self, condition: str) -> None:
        """Continue only if the condition is false; else the instruction is abandoned."""
        go, out = self.label("go"), self.label("left")
        self.branch(condition, out, go, (0, 1))
        self.open(out)
        self.leave()
        self.open(go)

    def leave(self) -> None:
        raise NotImplementedError

    def before_call(self) -> None:
        """Make the state exact before code that may trap or look at the instruction count."""

    def data_tlb(self) -> str:
        """The table in force."""
        return self.temp(f"load ptr, ptr {self.engine_word('tlb_data')}")

    def tlb_entry(self, table: str, gva: str, size: int = DATA_ENTRY) -> str:
        """The entry for an address in a table of entries of so many bytes."""
        shift, mask = tlb_place(size)
        place = self.temp(f"and i64 {self.temp(f'lshr i64 {gva}, {shift}')}, {mask}")
        return self.temp(f"getelementptr inbounds i8, ptr {table}, i64 {place}")

    def tlb_hit(self, gva: str, size: int, write: bool) -> tuple[str, str]:
        """(hit, host pointer that is valid if hit)."""
        entry = self.tlb_entry(self.data_tlb(), gva)
        field = self.temp(f"getelementptr inbounds i64, ptr {entry}, i64 1") if write else entry
        tag = self.temp(f"load i64, ptr {field}")
        last = self.temp(f"add i64 {gva}, {size - 1}")
        page = self.temp(f"and i64 {last}, -4096")
        hit = self.temp(f"icmp eq i64 {page}, {tag}")
        addend_at = self.temp(f"getelementptr inbounds i64, ptr {entry}, i64 2")
        addend = self.temp(f"load i64, ptr {addend_at}")
        host = self.temp(f"add i64 {gva}, {addend}")
        return hit, self.temp(f"inttoptr i64 {host} to ptr")

    def op_load(self, op: Op) -> None:
        size, gva = op.attrs["size"], self.use(op.args[0])
        hit, pointer = self.tlb_hit(gva, size, write=False)
        fast, slow, end = self.label("hit"), self.label("miss"), self.label("loaded")
        self.branch(hit, fast, slow, (1, 0))
        self.open(fast)
        quick = self.temp(f"load i{8 * size}, ptr {pointer}, align 1{self.ram_metadata}")
        self.close(f"br label %{end}")
        self.open(slow)
        careful = self.load_slowly(op)
        label = self.current
        self.close(f"br label %{end}")
        self.open(end)
        phi = f"phi i{8 * size} [ {quick}, %{fast} ], [ {careful}, %{label} ]"
        self.bind(op.results[0], self.temp(phi))

    def load_slowly(self, op: Op) -> str:
        """The value by way of a full translation."""
        size, gva = op.attrs["size"], self.use(op.args[0])
        self.before_call()
        answer = self.temp(f"call {{ i1, i64 }} @slow_load(ptr %s, i64 {gva}, i64 {size})")
        self.leave_if(self.temp(f"extractvalue {{ i1, i64 }} {answer}, 0"))
        value = self.temp(f"extractvalue {{ i1, i64 }} {answer}, 1")
        return value if size == 8 else self.temp(f"trunc i64 {value} to i{8 * size}")

    def op_store(self, op: Op) -> None:
        size = op.attrs["size"]
        gva, value = self.use(op.args[0]), self.use(op.args[1])
        hit, pointer = self.tlb_hit(gva, size, write=True)
        fast, slow, end = self.label("hit"), self.label("miss"), self.label("stored")
        self.branch(hit, fast, slow, (1, 0))
        self.open(fast)
        self.out(f"store i{8 * size} {value}, ptr {pointer}, align 1{self.ram_metadata}")
        self.close(f"br label %{end}")
        self.open(slow)
        self.store_slowly(op)
        self.close(f"br label %{end}")
        self.open(end)

    def store_slowly(self, op: Op) -> None:
        """Store by way of a full translation."""
        size, gva, value = op.attrs["size"], self.use(op.args[0]), self.use(op.args[1])
        self.before_call()
        wide = value if size == 8 else self.temp(f"zext i{8 * size} {value} to i64")
        self.leave_if(self.temp(f"call i1 @slow_store(ptr %s, i64 {gva}, i64 {size}, i64 {wide})"))

    def atomic_pointer(self, op: Op) -> str:
        """A host pointer that may be written, or the instruction is abandoned."""
        size, gva = op.attrs["size"], self.use(op.args[0])
        self.before_call()
        answer = self.temp(f"call {{ i1, ptr }} @host_pointer(ptr %s, i64 {gva}, i64 {size})")
        self.leave_if(self.temp(f"extractvalue {{ i1, ptr }} {answer}, 0"))
        return self.temp(f"extractvalue {{ i1, ptr }} {answer}, 1")

    def op_rmw(self, op: Op) -> None:
        kind = {"swap": "xchg", "minu": "umin", "maxu": "umax"}.get(
            op.attrs["kind"], op.attrs["kind"]
        )
        pointer, w = self.atomic_pointer(op), op.args[1].width
        value = self.use(op.args[1])
        text = f"atomicrmw {kind} ptr {pointer}, i{w} {value} seq_cst, align {w // 8}"
        self.bind(op.results[0], self.temp(text))

    def op_cas(self, op: Op) -> None:
        pointer = self.atomic_pointer(op)
        self.bind(op.results[0], self._cmpxchg(pointer, op.args[1], op.args[2]))

    def _cmpxchg(self, pointer: str, expected: Value, new: Value) -> str:
        w = new.width
        pair = self.temp(
            f"cmpxchg ptr {pointer}, i{w} {self.use(expected)}, i{w} {self.use(new)} "
            f"seq_cst seq_cst, align {w // 8}"
        )
        return self.temp(f"extractvalue {{ i{w}, i1 }} {pair}, 0")

    def op_touch(self, op: Op) -> None:
        """A page in the TLB may be touched: for writing, or else for reading, which is what
        cache-block management needs."""
        access, gva = TOUCHES[op.attrs["access"]], self.use(op.args[0])
        hit, _ = self.tlb_hit(gva, 1, write=access == WRITE)
        slow, end = self.label("miss"), self.label("touched")
        self.branch(hit, end, slow, (1, 0))
        self.open(slow)
        self.before_call()
        self.leave_if(self.temp(f"call i1 @touch(ptr %s, i64 {gva}, i64 {access})"))
        self.close(f"br label %{end}")
        self.open(end)

    def _phys(self, op: Op, write: int) -> tuple[str, str, str]:
        size = op.attrs["size"]
        call = f"call ptr @ram_pointer(ptr %s, i64 {self.use(op.args[0])}, i64 {size}, i64 {write})"
        pointer = self.temp(call + " alwaysinline")
        ok = self.temp(f"icmp ne ptr {pointer}, null")
        # Where there is no RAM the access goes to a dead word, so that no branch is needed.
        safe = self.temp(f"select i1 {ok}, ptr {pointer}, ptr {self.engine_word('mmio_value')}")
        return ok, safe, str(size)

    def op_phys_load(self, op: Op) -> None:
        ok, pointer, size = self._phys(op, 0)
        width = op.results[0].width
        text = f"load atomic i{width}, ptr {pointer} monotonic, align {size}"
        self.bind(op.results[0], self.temp(text))
        self.bind(op.results[1], ok)

    def op_phys_cas(self, op: Op) -> None:
        ok, pointer, _ = self._phys(op, 1)
        self.bind(op.results[0], self._cmpxchg(pointer, op.args[1], op.args[2]))
        self.bind(op.results[1], ok)

    def op_call(self, op: Op) -> None:
        routine: Routine = op.attrs["routine"]
        if routine.name in HOST_INSTRUCTIONS:
            self._float_call(op, routine)
        else:
            self.call_routine(op, routine)

    def call_routine(self, op: Op, routine: Routine) -> None:
        """A call of a shared routine."""
        if mentions(routine, _STATEFUL):
            self.facts.forget()
            self.before_call()
        kind = result_type(routine)
        args = "".join(f", i{a.width} {self.use(a)}" for a in op.args)
        answer = self.temp(f"call {kind} {symbol(routine)}(ptr %s{args})")
        if mentions(routine, LEAVING):
            self.leave_if(self.temp(f"extractvalue {kind} {answer}, 0"))
        for i, result in enumerate(op.results):
            self.bind(result, self.temp(f"extractvalue {kind} {answer}, {i + 1}"))

    def op_trap(self, op: Op) -> None:
        self.before_call()
        routine = self.arch.routines["trap"]
        cause, tval = (self.use(a) for a in op.args)
        self.out(f"call {result_type(routine)} {symbol(routine)}(ptr %s, i64 {cause}, i64 {tval})")
        self.leave()

    def op_leave(self, op: Op) -> None:
        self.leave()

    def op_time(self, op: Op) -> None:
        self.before_call()
        self.bind(op.results[0], self.temp("call i64 @time(ptr %s)"))

    def op_tlb_flush(self, op: Op) -> None:
        self.out("call void @tlb_flush(ptr %s)")

    def op_tlb_flush_page(self, op: Op) -> None:
        self.out(f"call void @tlb_flush_page(ptr %s, i64 {self.use(op.args[0])})")

    def op_tlb_flush_space(self, op: Op) -> None:
        self.out(f"call void @tlb_flush_space(ptr %s, i64 {self.use(op.args[0])})")

    def op_tlb_flush_space_page(self, op: Op) -> None:
        space, gva = (self.use(a) for a in op.args)
        self.out(f"call void @tlb_flush_space_page(ptr %s, i64 {space}, i64 {gva})")

    def op_tlb_space(self, op: Op) -> None:
        self.out("call void @tlb_space(ptr %s)")

    def op_tlb_context(self, op: Op) -> None:
        self.out("call void @tlb_context(ptr %s)")

    def op_icache_flush(self, op: Op) -> None:
        self.out("call void @icache_flush(ptr %s)")

    def op_fence_remote(self, op: Op) -> None:
        arguments = ", ".join(f"i64 {self.use(a)}" for a in op.args)
        self.bind(op.results[0], self.temp(f"call i64 @remote_fence(ptr %s, {arguments})"))

    def op_post_remote(self, op: Op) -> None:
        arguments = ", ".join(f"i64 {self.use(a)}" for a in op.args)
        self.bind(op.results[0], self.temp(f"call i64 @remote_post(ptr %s, {arguments})"))

    def op_relax(self, op: Op) -> None:
        self.out("call void @relax(ptr %s)")

    def op_notify(self, op: Op) -> None:
        self.before_call()
        event = EVENTS.index(op.attrs["event"])
        self.out(f"call void @notify(ptr %s, i64 {event}, i64 {self.use(op.args[0])})")


class RoutineWriter(MemoryWriter):
    """A shared routine as a function that returns whether the instruction was left."""

    uses_host = False

    def leave(self) -> None:
        kind = result_type(self.routine)
        self.close(f"ret {kind} {self._pack('true', None)}")

    def _pack(self, left: str, results: tuple[Value, ...] | None) -> str:
        kind = result_type(self.routine)
        if results is None or not results:
            zero = "zeroinitializer"
            return self.temp(f"insertvalue {kind} {zero}, i1 {left}, 0")
        value = self.temp(f"insertvalue {kind} zeroinitializer, i1 {left}, 0")
        for i, r in enumerate(results):
            text = f"insertvalue {kind} {value}, i{r.width} {self.use(r)}, {i + 1}"
            value = self.temp(text)
        return value

    def op_pc(self, op: Op) -> None:
        self.bind(op.results[0], self.temp(f"load i64, ptr {self.slot_pointer('pc')}"))

    def op_get(self, op: Op) -> None:
        self._fold(op)
        super().op_get(op)

    def op_set(self, op: Op) -> None:
        self._fold(op)
        super().op_set(op)

    def _fold(self, op: Op) -> None:
        """A routine looks at the flags, or replaces them (instructions only add to them)."""
        if op.attrs["slot"] == self.arch.flags_slot:
            self.out("call void @fold_flags(ptr %s)")

    def op_icount(self, op: Op) -> None:
        self.bind(op.results[0], self.temp(f"load i64, ptr {self.slot_pointer('icount')}"))

    def op_operand(self, op: Op) -> None:
        if op.attrs["operand"] != "insn":
            raise ValueError(f"{self.routine.name}: a routine has no operand {op.attrs}")
        self.bind(op.results[0], self.temp(f"load i64, ptr {self.engine_word('insn')}"))

    def op_exit(self, op: Op) -> None:
        self.out(f"store i64 {int(op.attrs['reason'])}, ptr {self.engine_word('exit_code')}")
        self.op_pending(op)
        self.leave()

    def text(self) -> str:
        for p in self.routine.params:
            self.bind(p, f"%p{p.number}")
        self.body()
        if not self.closed:
            kind = result_type(self.routine)
            self.close(f"ret {kind} {self._pack('false', self.routine.results)}")
        params = "".join(f", i{p.width} %p{p.number}" for p in self.routine.params)
        head = (
            f"define dso_local {result_type(self.routine)} {symbol(self.routine)}(ptr %s{params})"
        )
        return "\n".join([head + " {", "entry:", *self.lines, "}"])


def has_rare_cases(routine: Routine) -> bool:
    """True if an instruction tells some of its cases to be rare."""
    return any(op.attrs.get("rare") for op in routine.body.walk())
