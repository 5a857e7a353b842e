"""The stencils of a pack as one LLVM module (`stencils`). Called by `packs`, in the process that
compiles.
"""

from contextlib import suppress

from lamina.engine.threaded.baseline import (
    CHECKS,
    CODE_HOLES,
    ENTER,
    GO_ON,
    HOLES,
    LOAD,
    MERGE,
    OUT_THUNK,
    SLOW_THUNK,
    STORE,
    ZERO,
)
from lamina.engine.threaded.decoder import Variants, id_of
from lamina.engine.threaded.handlers import has_static_jump
from lamina.engine.threaded.layout import DATA_ENTRY, ThreadedLayout, tlb_place
from lamina.engine.threaded.runtime_ir import HEAD
from lamina.engine.threaded.stencil_forms import (
    PLAIN,
    Special,
    access_of,
    general_file,
    specials,
)
from lamina.engine.threaded.stencil_registers import SIGNATURE, call, call_outside
from lamina.engine.threaded.stencils import (
    NoStencilError,
    StencilWriter,
    define,
    from_middle,
    middle_word,
    number_in,
    number_of,
)
from lamina.ir.softfloat import expand_floats
from lamina.isa.arch import CORE_PACK, Arch
from lamina.isa.insn import Insn

_SMALL = {name: 1 << 8 for name in "abcd"} | {name + "8": 1 << 11 for name in "abcd"}


def stencil_name(insn: Insn, local: bool, second: bool = False) -> str:
    """The name of an instruction's stencil. `local`: of a jump that stays in its page."""
    return (
        f"{insn.name}.{id_of(insn)}" + (".local" if local else "") + (".second" if second else "")
    )


def _go(text: str, result: str = "%o") -> list[str]:
    """Leave by a tail call."""
    return [f"  {result} = {text}", f"  ret i64 {result}"]


def _parts(arch: Arch, layout: ThreadedLayout) -> list[str]:
    """The stencils that are no instructions."""
    left = f"  %left = add i64 %b, {number_of('done')}"
    own = [f"  %q.i = {number_in('record')}", "  %q = inttoptr i64 %q.i to ptr"]
    bias = f"getelementptr inbounds i8, ptr %s, i64 {layout.at['pc_bias']}"
    nothing = ("poison", "poison", "poison")
    return [
        define(
            GO_ON,
            [
                *(*own, left),
                "  %off = load i32, ptr %q",
                "  %off.w = sext i32 %off to i64",
                "  %target = getelementptr i8, ptr @h.decode, i64 %off.w",
                *_go(call_outside("%target", "ptr %q", "%left")),
            ],
        ),
        define(
            MERGE,
            [f"  %left = add i64 %b, {number_of('rebase')}", *_go(call("@taken", budget="%left"))],
        ),
        define(
            ENTER,
            [
                f"  %middle = getelementptr inbounds i8, ptr %s, i64 {8 * middle_word(arch)}",
                f"  %table.p = getelementptr inbounds i8, ptr %s, i64 {layout.at['tlb_data']}",
                "  %table = load ptr, ptr %table.p",
                f"  %left = add i64 %b, {number_of('count')}",
                *_go(call("@next", "ptr %middle", "%left", "poison", "%table", nothing)),
            ],
        ),
        define(SLOW_THUNK, [*own, left, *_go(call_outside("@slow", "ptr %q", "%left"))]),
        define(
            OUT_THUNK,
            [
                f"  %bias.p = {bias}",
                "  %bias = load i64, ptr %bias.p",
                f"  %target.0 = {number_in('target')}",
                "  %target = add i64 %bias, %target.0",
                "  %pc = inttoptr i64 %target to ptr",
                f"  %left = add i64 %b, {number_of('spent')}",
                *_go(call_outside("@dispatch", "ptr %pc", "%left")),
            ],
        ),
        define(
            LOAD,
            [
                f"  %file = getelementptr i8, ptr %x, i64 {number_of('base8')}",
                f"  %p = getelementptr i8, ptr %file, i64 {from_middle(arch, general_file(arch))}",
                "  %v = load i64, ptr %p",
                *_go(call("@next", held=("%first", "%other", "%v"))),
            ],
        ),
        define(
            STORE,
            [
                f"  %file = getelementptr i8, ptr %x, i64 {number_of('base8')}",
                f"  %p = getelementptr i8, ptr %file, i64 {from_middle(arch, general_file(arch))}",
                "  store i64 %first, ptr %p",
                *_go(call("@next")),
            ],
        ),
        define(ZERO, _go(call("@next", held=("%first", "%other", "0")))),
        *(_check(write) for write in (False, True)),
    ]


def _check(write: bool) -> str:
    """Look up the page of all bytes from `low` to `high` of the first register. If they are in two,
    or the TLB does not have it, the instruction at hand is done by its handler."""
    shift, mask = tlb_place(DATA_ENTRY)
    lines = [
        f"  %lowest = add i64 %first, {number_of('low')}",
        f"  %last = add i64 %first, {number_of('high')}",
        f"  %number = lshr i64 %last, {shift}",
        f"  %index = and i64 %number, {mask}",
        "  %cell = getelementptr i8, ptr %t, i64 %index",
        f"  %tag.p = getelementptr i8, ptr %cell, i64 {8 * write}",
        "  %tag = load i64, ptr %tag.p",
        "  %page = and i64 %last, -4096",
        "  %hit = icmp eq i64 %page, %tag",
        "  br i1 %hit, label %same, label %out, !prof !0",
        "same:",
        "  %page.1 = and i64 %lowest, -4096",
        "  %one = icmp eq i64 %page.1, %page",
        "  br i1 %one, label %go, label %out, !prof !0",
        "go:",
        "  %addend.p = getelementptr i8, ptr %cell, i64 16",
        "  %addend = load i64, ptr %addend.p",
        *_go(call("@next", known="%addend"), "%y"),
        "out:",
        *_go(call_outside("@cold", "ptr poison", "%b")),
    ]
    return define(CHECKS[write], lines)


def stencil_module(arch: Arch, pack: str) -> str:
    """The stencils of a pack's instructions as one module."""
    layout = ThreadedLayout(arch)
    declares: set[str] = set()
    texts: list[str] = []
    for insn in dict.fromkeys(insn for insn, _ in Variants(arch).of(pack)):
        for local in (False, True) if has_static_jump(insn.routine) else (False,):
            for second in (False, True) if access_of(insn) or local else (False,):
                for special in (PLAIN, *specials(arch, insn)):
                    with suppress(NoStencilError):
                        text, more = _stencil(arch, layout, insn, local, second, special)
                        texts.append(text)
                        declares |= more
    texts += _parts(arch, layout) if pack == CORE_PACK else []
    functions = ["dispatch", "h.decode", *sorted(CODE_HOLES)]
    declares |= {f"declare dso_local preserve_nonecc i64 @{f}({SIGNATURE})" for f in functions}
    low, high = -(1 << 31), 1 << 31
    ranges = "\n".join(
        f'@"hole.{h}" = external global i8, !absolute_symbol !{{i64 {0 if h in _SMALL else low}, '
        f"i64 {_SMALL.get(h, high)}}}"
        for h in HOLES
        if h not in CODE_HOLES
    )
    return "\n".join([HEAD, ranges, *sorted(declares), *texts]) + "\n"


def _stencil(
    arch: Arch, layout: ThreadedLayout, insn: Insn, local: bool, second: bool, special: Special
) -> tuple[str, set[str]]:
    """The text of an instruction's stencil, and the declarations that it needs."""
    name = stencil_name(insn, local, second) + special.suffix
    routine = expand_floats(insn.routine)
    writer = StencilWriter(name, routine, arch, layout, insn, local, second, special)
    return writer.text(), writer.declares
