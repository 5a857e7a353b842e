"""Stencils: the machine code that the baseline compiler copies and patches, as LLVM assembly.

A stencil is a handler whose record is known: where a handler loads operands, a stencil has *holes*,
symbols whose values are the operands of one instruction. The linker's relocations say where they
stand in the code (copy-and-patch: Xu and Kjolstad, OOPSLA 2021). `baseline_ir` copies the stencils
of one instruction after another, fills their holes in and so has compiled them.

Code made of stencils has a handler's arguments, but no record: a block belongs to its records, so
that each instruction's is a hole, as is its address but for what is added to all of a page. Its
budget is the one that was left at the block's first instruction. The fourth argument is the
distance from guest to host of the page that was looked up last. All that is not usual leaves by a
*thunk*, which stands apart from the code that usually runs: it goes on in the second handler of the
instruction (`handlers`), with its own record and what is left of the budget, or behind a jump in
`dispatch`.

LLVM makes a way out a jump on a condition if its block comes last and there is nothing else in it:
what usually runs has no jump that is taken then, and needs none to go around.

Neighbouring accesses about one register may share one look-up (CHECK) of all bytes that they touch;
they are the instruction's second stencil, which finds its page known.
"""

import json
from contextlib import suppress
from dataclasses import dataclass

from lamina.engine.threaded.baseline import (
    BARRIER,
    BASE_SHIFT,
    CHECKS,
    CODE_HOLES,
    DESTINATION_SHIFT,
    ENTER,
    GO_ON,
    HOLES,
    MERGE,
    OUT_THUNK,
    READS,
    SIZE_SHIFT,
    SLOW_THUNK,
    STRAIGHT,
    WRITES,
)
from lamina.engine.threaded.decoder import PLACES, PackTable, Variants, id_of, places
from lamina.engine.threaded.handlers import HandlerWriter, has_static_jump, static_jump
from lamina.engine.threaded.layout import RECORD, TLB_ENTRIES, ThreadedLayout
from lamina.engine.threaded.runtime_ir import HEAD
from lamina.ir.graph import Op, Routine, Value
from lamina.ir.softfloat import expand_floats
from lamina.isa.arch import CORE_PACK, Arch
from lamina.isa.insn import Insn

_MEMORY = {"load", "store", "rmw", "cas", "touch", "phys.load", "phys.cas"}
_SMALL = {name: 1 << 8 for name in "abcd"} | {name + "8": 1 << 11 for name in "abcd"}


class NoStencilError(Exception):
    """An instruction does what stencils do not: its handler does it."""


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


class StencilWriter(HandlerWriter):
    """One instruction as a stencil. Its arguments are a handler's, but `length`: how long the
    instruction is stands in a hole. `second`: the other stencil of an instruction that has two: the
    page that it accesses was looked up before; its jump leads forward, where no boundary is due."""

    def __init__(
        self,
        name: str,
        routine: Routine,
        arch: Arch,
        layout: ThreadedLayout,
        insn: Insn,
        local: bool,
        second: bool = False,
    ) -> None:
        super().__init__(name, routine, arch, layout, places(insn), 4, local)
        self._insn = insn
        self._second = second
        self._changed = False  # the instruction cannot be begun again
        self._thunks: set[str] = set()

    # -- holes ---------------------------------------------------------------------------------
    def hole(self, name: str) -> str:
        """The number in a hole, as an operand of 64 bits."""
        return f'ptrtoint (ptr @"hole.{name}" to i64)'

    def _operand(self, name: str) -> str:
        if name == "insn":
            raise NoStencilError(name)
        return self.hole(self.places[name])

    def register_pointer(self, file: str, index: str) -> str:
        head, _, rest = index.partition('"hole.')
        if not head.startswith("ptrtoint"):
            return super().register_pointer(file, index)
        base = self.word_pointer(self.layout.file_base[file])
        return self.temp(f"getelementptr inbounds i8, ptr {base}, i64 {self.hole(rest[0] + '8')}")

    def op_reg_set(self, op: Op) -> None:
        file = self.layout.files[op.attrs["file"]]
        if file.zero and not self.discards_by_itself(op.args[0]):
            raise NoStencilError("a register that may be the hardwired zero")
        super().op_reg_set(op)
        self._changed = True

    def op_set(self, op: Op) -> None:
        super().op_set(op)
        self._changed = True

    def op_store(self, op: Op) -> None:
        super().op_store(op)
        self._changed = True

    def _hit_pointer(self, gva: str, size: int, write: bool) -> str:
        if not self._second:
            # The way out stands last: so LLVM jumps to the thunk on a condition.
            hit, pointer = self.tlb_hit(gva, size, write)
            go = self.label("hit")
            self.branch(hit, go, self.escape, (1, 0))
            self.escapes = True
            self.open(go)
            return pointer
        return self.temp(f"inttoptr i64 {self.temp(f'add i64 {gva}, %k')} to ptr")

    def _shift(self, op: Op, instruction: str) -> None:
        amount = op.args[1]
        if self._is_in_range(amount, op.args[0].width):
            kind = f"i{op.args[0].width}"
            text = f"{instruction} {kind} {self.use(op.args[0])}, {self.use(amount)}"
            self.bind(op.results[0], self.temp(text))
        else:
            super()._shift(op, instruction)

    def _is_in_range(self, amount: Value, width: int) -> bool:
        """Whether an operand is encoded in so few bits that it always is a shift of a width."""
        while amount.op.name in ("zext", "trunc"):
            amount = amount.op.args[0]
        if amount.op.name != "operand" or amount.op.attrs["operand"] == "insn":
            return False
        operand = self._insn.encoding.operands[amount.op.attrs["operand"]]
        return not operand.signed and not operand.add and 1 << operand.width <= width

    def _pc_at(self, hole: str) -> str:
        bias = self.temp(f"load i64, ptr {self.engine_word('pc_bias')}")
        return self.temp(f"add i64 {bias}, {self.temp(_address(hole))}")

    def _pc(self) -> str:
        return self._pc_at("pc")

    def _next_pc(self) -> str:
        return self._pc_at("next_pc")

    def op_insn_length(self, op: Op) -> None:
        first, behind = (self.temp(_address(name)) for name in ("pc", "next_pc"))
        self.bind(op.results[0], self.temp(f"sub i64 {behind}, {first}"))

    def _binary(self, instruction: str, op: Op) -> None:
        """The sums that stand in holes are not made."""
        first, more = (v.op for v in op.args)
        hole = ""
        if op.name == "add" and first.name == "pc":
            if more.name == "insn.length":
                hole = "next_pc"
            elif more.name == "operand" and self.places.get(more.attrs["operand"]) == "imm":
                hole = "target"
        if hole:
            self.bind(op.results[0], self._pc_at(hole))
        else:
            super()._binary(instruction, op)

    def _pending(self) -> str:
        """A plain load: this is the only one here, which the comparison takes in."""
        return self.temp(f"load i64, ptr {self.slot_pointer('pending')}")

    def _spent(self) -> str:
        return self.temp(f"add i64 %b, {self.hole('spent')}")

    # -- leaving -------------------------------------------------------------------------------
    def _tail(self, callee: str, second: str, budget: str, traits: str = "") -> None:
        if callee == f'@"s.{self.name}"':
            self._leave_by(SLOW_THUNK)
            return
        call = f"musttail call preserve_nonecc i64 {callee}(ptr %s, {second}, i64 {budget}, i64 %k)"
        self.close(f"ret i64 {self.temp(call + traits)}")

    def _leave_by(self, thunk: str) -> None:
        self._thunks.add(thunk)
        if len(self._thunks) > 1:
            raise NoStencilError("two ways out")
        self._tail("@cold", "ptr poison", "%b")

    def _dispatch(self, pc: str, inline: bool = False) -> None:
        """Go on at an address, by the record that the fetch TLB leads to. Each jump does this for
        itself, so that the host predicts where it goes on for each by itself."""
        left, pointer = self._spent(), self.temp(f"inttoptr i64 {pc} to ptr")
        go, far, found = self.label("go"), self.label("far"), self.label("found")
        quiet = self.temp(f"icmp sgt i64 {left}, {self._pending()}")
        self.branch(quiet, go, far, (1, 0))
        self.open(go)
        table = self.temp(f"load ptr, ptr {self.engine_word('tlb_fetch')}")
        index = self.temp(f"and i64 {self.temp(f'lshr i64 {pc}, 8')}, {(TLB_ENTRIES - 1) * 16}")
        entry = self.temp(f"getelementptr inbounds i8, ptr {table}, i64 {index}")
        tag = self.temp(f"load i64, ptr {entry}")
        base = self.temp(f"and i64 {pc}, -4096")
        hit = self.temp(f"icmp eq i64 {tag}, {base}")
        self.branch(hit, found, far, (1, 0))
        self.open(found)
        bias_at = self.temp(f"getelementptr inbounds i8, ptr {entry}, i64 8")
        bias = self.temp(f"load i64, ptr {bias_at}")
        self.out(f"store i64 {bias}, ptr {self.engine_word('pc_bias')}")
        distance = self.temp(f"shl i64 {self.temp(f'sub i64 {pc}, {bias}')}, 3")
        self._record(self.temp(f"inttoptr i64 {distance} to ptr"), left)
        self.open(far)
        self._tail("@dispatch", f"ptr {pointer}", left)

    def op_jump(self, op: Op) -> None:
        if static_jump(op) is None:
            self._dispatch(self.use(op.args[0]))
            return
        if not self.local:
            self._dispatch(self._pc_at("target"))
            return
        go, out = self.label("go"), self.label("out")
        if not self._second:
            quiet = self.temp(f"icmp sgt i64 {self._spent()}, {self._pending()}")
            self.branch(quiet, go, out, (1, 0))
            self.open(go)
        self._tail("@taken", "ptr poison", self.temp(f"add i64 %b, {self.hole('rebase')}"))
        if not self._second:
            self.open(out)
            self._leave_by(OUT_THUNK)

    def op_trap(self, op: Op) -> None:
        """Where nothing has happened yet the second handler does it all, exception and all."""
        if self._changed or not self.has_slow:
            raise NoStencilError("an exception")
        self._leave_by(SLOW_THUNK)

    def _no(self, op: Op) -> None:
        raise NoStencilError(op.name)

    op_icount = op_exit = op_leave = op_time = op_notify = _no

    def call_routine(self, op: Op, routine: Routine) -> None:
        raise NoStencilError(routine.name)

    def before_call(self) -> None:
        raise NoStencilError("a call")

    def leave(self) -> None:
        raise NoStencilError("a call that may leave")

    def text(self) -> str:
        if self._redispatch:
            raise NoStencilError("what is fetched may change")
        self.body()
        if not self.closed:
            self._tail("@next", "ptr poison", "%b")
        if self.escapes:
            self.open("rare")
            self._tail(f'@"s.{self.name}"', "ptr poison", "%b")
        if any(_is_foreign_call(line) for line in self.lines):
            raise NoStencilError("a call")
        name = STRAIGHT + self.name if _is_straight(self.lines) else self.name
        return _define(name, self.lines, self.strictness())


def _is_foreign_call(line: str) -> bool:
    """Whether a line of LLVM assembly calls a function of the runtime, and comes back."""
    return "call " in line and not any(w in line for w in ("musttail ", "@llvm.", " asm "))


def _is_straight(lines: list[str]) -> bool:
    """Whether machine code without a jump inside is made of LLVM assembly, so that bytes of it may
    be left out."""
    text = "\n".join(lines)
    return not any(
        word in text for word in ("br ", "select", "switch", "atomic", "cmpxchg", "div", "rem")
    )


def _define(name: str, lines: list[str], traits: str = "") -> str:
    """A function in a section of its own, so that its size and its relocations are its own."""
    head = f'define preserve_nonecc i64 @"{name}"({_PARAMETERS}) optsize{traits}'
    return "\n".join([f'{head} section ".text.{name}" {{', "entry:", *lines, "}"])


def stencil_name(insn: Insn, local: bool, second: bool = False) -> str:
    """The name of an instruction's stencil. `local`: of a jump that stays in its page."""
    return (
        f"{insn.name}.{id_of(insn)}" + (".local" if local else "") + (".second" if second else "")
    )


_PARAMETERS = "ptr %s, ptr %r, i64 %b, i64 %k"


def _jump(
    callee: str, record: str = "poison", budget: str = "%b", known: str = "%k", result: str = "%x"
) -> list[str]:
    arguments = f"ptr %s, ptr {record}, i64 {budget}, i64 {known}"
    call = f"musttail call preserve_nonecc i64 {callee}({arguments})"
    return [f"  {result} = {call}", f"  ret i64 {result}"]


def _hole(name: str) -> str:
    return f'ptrtoint (ptr @"hole.{name}" to i64)'


def _address(name: str) -> str:
    """The number of 64 bits in a hole. LLVM would look for a symbol within reach of the code."""
    return f'call i64 asm "movabsq $1, $0", "=r,i"(ptr @"hole.{name}")'


def _parts(arch: Arch, layout: ThreadedLayout) -> list[str]:
    """The stencils that are no instructions."""
    left = f"  %left = add i64 %b, {_hole('done')}"
    own = [f"  %q.i = {_address('record')}", "  %q = inttoptr i64 %q.i to ptr"]
    bias = f"getelementptr inbounds i8, ptr %s, i64 {layout.at['pc_bias']}"
    return [
        _define(
            GO_ON,
            [
                *(*own, left),
                "  %off = load i32, ptr %q",
                "  %off.w = sext i32 %off to i64",
                "  %target = getelementptr i8, ptr @h.decode, i64 %off.w",
                *_jump("%target", "%q", "%left"),
            ],
        ),
        _define(
            MERGE,
            [f"  %left = add i64 %b, {_hole('rebase')}", *_jump("@taken", budget="%left")],
        ),
        _define(
            ENTER,
            [f"  %left = add i64 %b, {_hole('count')}", *_jump("@next", budget="%left")],
        ),
        _define(SLOW_THUNK, [*own, left, *_jump("@slow", "%q", "%left")]),
        _define(
            OUT_THUNK,
            [
                f"  %bias.p = {bias}",
                "  %bias = load i64, ptr %bias.p",
                f"  %target.0 = {_address('target')}",
                "  %target = add i64 %bias, %target.0",
                "  %pc = inttoptr i64 %target to ptr",
                f"  %left = add i64 %b, {_hole('spent')}",
                *_jump("@dispatch", "%pc", "%left"),
            ],
        ),
        *(_check(arch, layout, write) for write in (False, True)),
    ]


def _check(arch: Arch, layout: ThreadedLayout, write: bool) -> str:
    """Look up the page of all bytes from `low` to `high` of a register. If they are in two, or the
    TLB does not have it, the instruction at hand is done by its second handler."""
    files = [f for f in arch.layout.files.values() if f.zero]
    base = 8 * arch.layout.file_base[files[0].name] if files else 0
    lines = [
        f"  %file = getelementptr inbounds i8, ptr %s, i64 {base}",
        f"  %register = getelementptr inbounds i8, ptr %file, i64 {_hole('base8')}",
        "  %value = load i64, ptr %register",
        f"  %first = add i64 %value, {_hole('low')}",
        f"  %last = add i64 %value, {_hole('high')}",
        f"  %table.p = getelementptr inbounds i8, ptr %s, i64 {layout.at['tlb_data']}",
        "  %table = load ptr, ptr %table.p",
        "  %number = lshr i64 %last, 12",
        f"  %index = and i64 %number, {TLB_ENTRIES - 1}",
        "  %cell = getelementptr inbounds [4 x i64], ptr %table, i64 %index",
        f"  %tag.p = getelementptr inbounds i64, ptr %cell, i64 {int(write)}",
        "  %tag = load i64, ptr %tag.p",
        "  %page = and i64 %last, -4096",
        "  %hit = icmp eq i64 %page, %tag",
        "  br i1 %hit, label %same, label %out, !prof !0",
        "same:",
        "  %page.1 = and i64 %first, -4096",
        "  %one = icmp eq i64 %page.1, %page",
        "  br i1 %one, label %go, label %out, !prof !0",
        "go:",
        "  %addend.p = getelementptr inbounds i64, ptr %cell, i64 2",
        "  %addend = load i64, ptr %addend.p",
        *_jump("@next", known="%addend", result="%y"),
        "out:",
        *_jump("@cold"),
    ]
    return _define(CHECKS[write], lines)


def stencil_module(arch: Arch, pack: str) -> str:
    """The stencils of a pack's instructions as one module."""
    layout = ThreadedLayout(arch)
    declares: set[str] = set()
    texts: list[str] = []
    for insn in dict.fromkeys(insn for insn, _ in Variants(arch).of(pack)):
        for local in (False, True) if has_static_jump(insn.routine) else (False,):
            for second in (False, True) if access_of(insn) or local else (False,):
                with suppress(NoStencilError):
                    text, more = _stencil(arch, layout, insn, local, second)
                    texts.append(text)
                    declares |= more
    texts += _parts(arch, layout) if pack == CORE_PACK else []
    functions = ["dispatch", "h.decode", *sorted(CODE_HOLES)]
    declares |= {
        f"declare dso_local preserve_nonecc i64 @{f}(ptr, ptr, i64, i64)" for f in functions
    }
    low, high = -(1 << 31), 1 << 31
    ranges = "\n".join(
        f'@"hole.{h}" = external global i8, !absolute_symbol !{{i64 {0 if h in _SMALL else low}, '
        f"i64 {_SMALL.get(h, high)}}}"
        for h in HOLES
        if h not in CODE_HOLES
    )
    return "\n".join([HEAD, ranges, *sorted(declares), *texts]) + "\n"


def _stencil(
    arch: Arch, layout: ThreadedLayout, insn: Insn, local: bool, second: bool
) -> tuple[str, set[str]]:
    """The text of an instruction's stencil, and the declarations that it needs."""
    name, routine = stencil_name(insn, local, second), expand_floats(insn.routine)
    writer = StencilWriter(name, routine, arch, layout, insn, local, second)
    return writer.text(), writer.declares


def stencil_table(arch: Arch, pack: str) -> str:
    """Which stencils the handlers of a pack have, for whoever loads them (`templates`), as JSON. A
    row for each handler: its name, the names of its stencil and of the second one, the bytes of
    records that the instruction takes, what flags of a template say of its registers."""
    return json.dumps(
        [
            (
                handler.name,
                stencil_name(handler.insn, handler.local),
                stencil_name(handler.insn, handler.local, second=True),
                handler.length // 2 * RECORD,
                _about(arch, handler.insn),
            )
            for handler in PackTable(arch, pack, Variants(arch)).handlers
        ]
    )


def _about(arch: Arch, insn: Insn) -> int:
    """Which general register an instruction changes, and its access, as flags."""
    access, about = access_of(insn), 0
    general = next((f.name for f in arch.layout.files.values() if f.zero), "")
    written = written_places(insn, general)
    if len(written) == 1 and written[0] in PLACES[:4]:
        about |= (PLACES.index(written[0]) + 1) << DESTINATION_SHIFT
    elif written:
        about |= BARRIER
    if access is not None:
        about |= WRITES if access.write else READS
        about |= access.size << SIZE_SHIFT | PLACES.index(access.base) << BASE_SHIFT
    return about
