"""The compiled decoder: tables made from the instruction encodings, and the loop that reads them.

Per instruction form there is an entry: mask and match, up to three excluded patterns (reserved
operand values), steps that move encoding bits to record fields, and where its handlers stand.
Buckets of entries are chosen by a few opcode bits.

Handlers come in packs. Each pack has a table of its own (`PackTable`) with a row for each of its
instructions: two handlers (a static jump inside the page, and any other) and what the record
needs. A pack that is not loaded has none: then the record leads to `@h.missing`, which asks for it.
"""

from dataclasses import dataclass

from lamina.base.bits import U32, mask, sext
from lamina.engine.threaded.handlers import has_static_jump, remapped_operands
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.arch import Arch
from lamina.isa.encoding import Encoding, Operand
from lamina.isa.insn import Form, Insn

MAX_EXCLUDED = 3
STEP = "{ i8, i8, i8, i8, i32 }"  # destination, instruction bit, width, operand bit, addend
ENTRY = "[13 x i32]"  # mask, match, 3 pairs, pack, row, first step, steps, sign extension
ROW = "{ ptr, ptr, i64 }"
PLACES = ("a", "b", "c", "d", "imm")


def places(insn: Insn) -> dict[str, str]:
    """Where each operand of an instruction goes in a record: small ones in bytes, in order."""
    result: dict[str, str] = {}
    small = iter("abcd")
    for name in insn.operands:
        operand = insn.encoding.operands[name]
        place = None if operand.signed or operand.width > 8 else next(small, None)
        place = place or "imm"
        if place == "imm" and "imm" in result.values():
            raise ValueError(f"{insn.name}: the operands do not fit a record")
        result[name] = place
    return result


@dataclass(frozen=True, slots=True)
class Handler:
    """One compiled variant of an instruction."""

    insn: Insn
    length: int
    local: bool

    @property
    def name(self) -> str:
        return f"{self.insn.name}.{id_of(self.insn)}.{self.length}" + (
            ".local" if self.local else ""
        )


def id_of(insn: Insn) -> str:
    """Tells forms of one mnemonic apart."""
    return f"{insn.encoding.match:x}.{insn.encoding.mask:x}"


def _excluded(encoding: Encoding) -> list[tuple[int, int]]:
    """(mask, match) of the reserved operand values of an encoding."""
    pairs = []
    for operand in encoding.operands.values():
        field = 0
        for p in operand.pieces:
            field |= mask(p.width) << p.insn_low
        pairs += [(field, operand.insert(value)) for value in operand.forbidden]
    if len(pairs) > MAX_EXCLUDED:
        raise ValueError(f"{encoding.pattern}: more than {MAX_EXCLUDED} reserved values")
    return pairs


def _operand_steps(operand: Operand, dest: int) -> list[tuple[int, int, int, int, int]]:
    steps = [(dest, p.insn_low, p.width, p.low, 0) for p in operand.pieces]
    if operand.add:
        steps.append((dest, 0, 0, 0, operand.add))
    return steps


class Variants:
    """The numbers of an architecture's handlers in the tables of their packs."""

    def __init__(self, arch: Arch) -> None:
        self._packs: dict[str, dict[tuple[Insn, int], int]] = {name: {} for name in arch.packs}
        for form in arch.table.forms:
            rows = self._packs[arch.pack_of(form.base)]
            rows.setdefault((form.base, form.encoding.length), len(rows))

    def of(self, pack: str) -> list[tuple[Insn, int]]:
        """The instructions of a pack with their lengths, in the order of its table."""
        return list(self._packs[pack])

    def number(self, pack: str, insn: Insn, length: int) -> int:
        return self._packs[pack][insn, length]


class PackTable:
    """The handlers of a pack, and the table that leads to them."""

    def __init__(self, arch: Arch, pack: str, variants: Variants) -> None:
        self._arch = arch
        self._name = pack
        self.handlers: list[Handler] = []
        self._rows: list[str] = []
        for insn, length in variants.of(pack):
            far = self._handler(insn, length, False)
            local = self._handler(insn, length, True) if has_static_jump(insn.routine) else far
            self._rows.append(f"{ROW} {{ ptr {local}, ptr {far}, i64 {self._zero_place(insn)} }}")

    def _handler(self, insn: Insn, length: int, local: bool) -> str:
        handler = Handler(insn, length, local)
        self.handlers.append(handler)
        return f'@"h.{handler.name}"'

    def _zero_place(self, insn: Insn) -> int:
        """1 + the place where the decoder puts the discard register for register 0; 0: nowhere."""
        where = places(insn)
        found = [where[name] for name in remapped_operands(insn.routine, self._arch)]
        return 1 + PLACES.index(found[-1]) if found else 0

    def text(self) -> str:
        rows, count = ", ".join(self._rows), len(self._rows)
        return f'@"{table_symbol(self._name)}" = constant [{count} x {ROW}] [{rows}]'


def table_symbol(pack: str) -> str:
    """The symbol of a pack's table."""
    return f"forms.{pack}"


class DecoderTables:
    """All forms of an architecture as LLVM constants. Made from the encodings alone."""

    def __init__(self, arch: Arch, variants: Variants) -> None:
        self.arch = arch
        self._variants = variants
        self._steps: list[tuple[int, int, int, int, int]] = []
        self._entries: list[list[int]] = []
        for form in arch.table.forms:
            self._entries.append(self._entry(form))
        self._buckets = self._fill_buckets()

    def _entry(self, form: Form) -> list[int]:
        base, encoding = form.base, form.encoding
        first = len(self._steps)
        extend = self._add_steps(form, places(base))
        pairs = _excluded(encoding)
        pairs += [(0, 1)] * (MAX_EXCLUDED - len(pairs))
        flat = [v for pair in pairs for v in pair]
        pack = self.arch.pack_of(base)
        number = self._variants.number(pack, base, encoding.length)
        handlers = [self.arch.packs.index(pack), number]
        steps = [first, len(self._steps) - first]
        return [encoding.mask, encoding.match, *flat, *handlers, *steps, extend]

    def _add_steps(self, form: Form, where: dict[str, str]) -> int:
        """Append the steps of a form; returns the immediate's bits to sign-extend (0: none)."""
        extend = 0
        mapping = getattr(form, "mapping", None)
        for name, place in where.items():
            dest = PLACES.index(place)
            source = name if mapping is None else mapping.get(name, 0)
            if isinstance(source, int):
                self._steps.append((dest, 0, 0, 0, sext(source & U32, 32, 32)))
                continue
            operand = form.encoding.operands[source]
            self._steps += _operand_steps(operand, dest)
            if operand.signed:
                extend = operand.width
        return extend

    def _fill_buckets(self) -> list[list[int]]:
        buckets: list[list[int]] = [[] for _ in range(256 + 32)]
        for number, form in enumerate(self.arch.table.forms):
            e = form.encoding
            for bucket in range(256) if e.length == 4 else range(32):
                if e.length == 4:
                    bits, care = (bucket >> 3) << 2 | (bucket & 7) << 12, 0x707C
                else:
                    bits, care = bucket >> 3 | (bucket & 7) << 13, 0xE003
                if (bits ^ e.match) & e.mask & care == 0:
                    buckets[bucket + (0 if e.length == 4 else 256)].append(number)
        return buckets

    def text(self, layout: ThreadedLayout) -> str:
        """The tables and the function `decode(state, record, insn, offset, long, step)`."""
        order = [n for bucket in self._buckets for n in bucket]
        starts, at = [], 0
        for bucket in self._buckets:
            starts.append((at, len(bucket)))
            at += len(bucket)
        entries = [self._entries[n] for n in order]
        steps = ", ".join(
            f"{STEP} {{ i8 {d}, i8 {lo}, i8 {w}, i8 {at}, i32 {add} }}"
            for d, lo, w, at, add in self._steps
        )
        rows = ", ".join(f"{ENTRY} [" + ", ".join(f"i32 {v}" for v in row) + "]" for row in entries)
        pairs = ", ".join(f"[2 x i32] [i32 {a}, i32 {n}]" for a, n in starts)
        return "\n".join(
            [
                f"@buckets = internal constant [288 x [2 x i32]] [{pairs}]",
                f"@entries = internal constant [{len(entries)} x {ENTRY}] [{rows}]",
                f"@steps = internal constant [{len(self._steps)} x {STEP}] [{steps}]",
                _DECODE.replace("ZERO", str(discard(self.arch))).replace(
                    "PACKS", str(layout.at["pack_tables"])
                ),
            ]
        )


def discard(arch: Arch) -> int:
    """The register that takes what is written to a hardwired zero."""
    zero = [f for f in arch.layout.files.values() if f.zero]
    return zero[0].count if zero else 0


_DECODE = """
define internal i32 @entry_word(ptr %e, i64 %i) alwaysinline {
  %p = getelementptr inbounds i32, ptr %e, i64 %i
  %v = load i32, ptr %p
  ret i32 %v
}
define internal i1 @excluded(ptr %e, i64 %i, i32 %insn) alwaysinline {
  %m = call i32 @entry_word(ptr %e, i64 %i)
  %j = add i64 %i, 1
  %v = call i32 @entry_word(ptr %e, i64 %j)
  %x = and i32 %insn, %m
  %r = icmp eq i32 %x, %v
  ret i1 %r
}
define internal void @decode(ptr %s, ptr %r, i32 %insn, i64 %off, i1 %long, i1 %step) noinline {
entry:
  %fields = alloca [5 x i64]
  call void @llvm.memset.p0.i64(ptr %fields, i8 0, i64 40, i1 false)
  %raw = getelementptr inbounds i8, ptr %r, i64 12
  store i32 %insn, ptr %raw
  %wide = zext i32 %insn to i64
  %op4.s = lshr i64 %wide, 2
  %op4 = and i64 %op4.s, 31
  %op4.h = shl i64 %op4, 3
  %f4.s = lshr i64 %wide, 12
  %f4 = and i64 %f4.s, 7
  %b4 = or i64 %op4.h, %f4
  %op2 = and i64 %wide, 3
  %op2.h = shl i64 %op2, 3
  %f2.s = lshr i64 %wide, 13
  %f2 = and i64 %f2.s, 7
  %b2.l = or i64 %op2.h, %f2
  %b2 = add i64 %b2.l, 256
  %b = select i1 %long, i64 %b4, i64 %b2
  %bucket = getelementptr inbounds [2 x i32], ptr @buckets, i64 %b
  %first32 = call i32 @entry_word(ptr %bucket, i64 0)
  %count32 = call i32 @entry_word(ptr %bucket, i64 1)
  %first = zext i32 %first32 to i64
  %count = zext i32 %count32 to i64
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %end = icmp uge i64 %i, %count
  br i1 %end, label %illegal, label %look
illegal:
  call void @set_handler(ptr %r, ptr @h.illegal)
  ret void
look:
  %n = add i64 %first, %i
  %e = getelementptr inbounds [13 x i32], ptr @entries, i64 %n
  %fits = call i1 @excluded(ptr %e, i64 0, i32 %insn)
  %no1 = call i1 @excluded(ptr %e, i64 2, i32 %insn)
  %no2 = call i1 @excluded(ptr %e, i64 4, i32 %insn)
  %no3 = call i1 @excluded(ptr %e, i64 6, i32 %insn)
  %no12 = or i1 %no1, %no2
  %no = or i1 %no12, %no3
  %yes = xor i1 %no, true
  %match = and i1 %fits, %yes
  br i1 %match, label %found, label %next
next:
  %i1 = add i64 %i, 1
  br label %loop
found:
  %step0 = call i32 @entry_word(ptr %e, i64 10)
  %steps32 = call i32 @entry_word(ptr %e, i64 11)
  %extend = call i32 @entry_word(ptr %e, i64 12)
  %s0 = zext i32 %step0 to i64
  %sn = zext i32 %steps32 to i64
  %pack32 = call i32 @entry_word(ptr %e, i64 8)
  %row32 = call i32 @entry_word(ptr %e, i64 9)
  %pack = zext i32 %pack32 to i64
  %row = zext i32 %row32 to i64
  %packs.p = getelementptr inbounds i8, ptr %s, i64 PACKS
  %packs = load ptr, ptr %packs.p
  %pack.p = getelementptr inbounds ptr, ptr %packs, i64 %pack
  %table.i = load atomic i64, ptr %pack.p acquire, align 8
  %none = icmp eq i64 %table.i, 0
  br i1 %none, label %missing, label %loaded
missing:
  %want = getelementptr inbounds i8, ptr %r, i64 8
  store i32 %pack32, ptr %want
  call void @set_handler(ptr %r, ptr @h.missing)
  ret void
loaded:
  %table = inttoptr i64 %table.i to ptr
  %form = getelementptr inbounds { ptr, ptr, i64 }, ptr %table, i64 %row
  br label %extract
extract:
  %k = phi i64 [ 0, %loaded ], [ %k1, %one ]
  %k.end = icmp uge i64 %k, %sn
  br i1 %k.end, label %extracted, label %one
one:
  %sk = add i64 %s0, %k
  %st = getelementptr inbounds { i8, i8, i8, i8, i32 }, ptr @steps, i64 %sk
  %dest8 = load i8, ptr %st
  %lo.p = getelementptr inbounds i8, ptr %st, i64 1
  %lo8 = load i8, ptr %lo.p
  %w.p = getelementptr inbounds i8, ptr %st, i64 2
  %w8 = load i8, ptr %w.p
  %at.p = getelementptr inbounds i8, ptr %st, i64 3
  %at8 = load i8, ptr %at.p
  %add.p = getelementptr inbounds i8, ptr %st, i64 4
  %add32 = load i32, ptr %add.p
  %dest = zext i8 %dest8 to i64
  %lo = zext i8 %lo8 to i64
  %w = zext i8 %w8 to i64
  %at = zext i8 %at8 to i64
  %addv = sext i32 %add32 to i64
  %shifted = lshr i64 %wide, %lo
  %ones = shl i64 1, %w
  %keep = sub i64 %ones, 1
  %piece = and i64 %shifted, %keep
  %placed = shl i64 %piece, %at
  %cell = getelementptr inbounds i64, ptr %fields, i64 %dest
  %old = load i64, ptr %cell
  %sum0 = add i64 %old, %placed
  %sum = add i64 %sum0, %addv
  store i64 %sum, ptr %cell
  %k1 = add i64 %k, 1
  br label %extract
extracted:
  %imm.p = getelementptr inbounds i64, ptr %fields, i64 4
  %imm0 = load i64, ptr %imm.p
  %ext = zext i32 %extend to i64
  %sign = icmp ne i32 %extend, 0
  %down0 = sub i64 64, %ext
  %down = select i1 %sign, i64 %down0, i64 0
  %up = shl i64 %imm0, %down
  %imm = ashr i64 %up, %down
  %imm32 = trunc i64 %imm to i32
  %r.imm = getelementptr inbounds i8, ptr %r, i64 8
  store i32 %imm32, ptr %r.imm
  %zero.p = getelementptr inbounds i8, ptr %form, i64 16
  %zd = load i64, ptr %zero.p
  %has.zero = icmp ne i64 %zd, 0
  br i1 %has.zero, label %remap, label %bytes
remap:
  %zd1 = sub i64 %zd, 1
  %zcell = getelementptr inbounds i64, ptr %fields, i64 %zd1
  %zv = load i64, ptr %zcell
  %is.zero = icmp eq i64 %zv, 0
  %znew = select i1 %is.zero, i64 ZERO, i64 %zv
  store i64 %znew, ptr %zcell
  br label %bytes
bytes:
  %j = phi i64 [ 0, %extracted ], [ 0, %remap ], [ %j1, %bytes ]
  %fcell = getelementptr inbounds i64, ptr %fields, i64 %j
  %fv = load i64, ptr %fcell
  %fb = trunc i64 %fv to i8
  %rb0 = add i64 %j, 4
  %rb = getelementptr inbounds i8, ptr %r, i64 %rb0
  store i8 %fb, ptr %rb
  %j1 = add i64 %j, 1
  %j.more = icmp ult i64 %j1, 4
  br i1 %j.more, label %bytes, label %choose
choose:
  %target = add i64 %off, %imm
  %inside = icmp ult i64 %target, 4096
  %whole = xor i1 %step, true
  %local = and i1 %inside, %whole
  %far.p = getelementptr inbounds i8, ptr %form, i64 8
  %h.p = select i1 %local, ptr %form, ptr %far.p
  %handler = load ptr, ptr %h.p
  call void @set_handler(ptr %r, ptr %handler)
  ret void
}
"""
