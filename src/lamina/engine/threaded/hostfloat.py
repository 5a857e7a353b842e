"""Floating point on the host's FPU, where its result and flags are those of the IR.

The table below names the softfloat routines that `float_ir` replaces by the host's instructions.
The exceptions of these collect in the host's sticky flags and are folded into the guest's flags
where these are looked at: in CSR accesses, before Python code runs, at the end of a run.

x86-64 (Intel SDM volume 1, 11.5): MXCSR bits IE DE ZE OE UE PE, tininess after rounding, as
RISC-V has it; rounding to nearest, always.
"""

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from lamina.ir.floats import RDN, RMM, RNE, RTZ, RUP

# Default control: all exceptions masked, round to nearest, no flags; and the flags alone.
MXCSR_DEFAULT = 0x1F80
MXCSR_FLAGS = 0x3F

TYPES = {32: "float", 64: "double"}  # LLVM's, by width


@dataclass(frozen=True, slots=True)
class HostOperation:
    """How the host does what a softfloat routine does."""

    kind: str  # arithmetic, from integer, to integer, comparison, extremum
    name: str = ""  # of LLVM's constrained intrinsic, or the predicate of a comparison
    exact: bool = False  # the result never needs rounding
    signed: bool = False  # of integers
    signals: bool = False  # a comparison is invalid with a quiet NaN, too
    modes: frozenset[int] = frozenset((RNE,))  # in which rounding modes

    def does(self, mode: int) -> bool:
        """Whether the host does it in a rounding mode; exact operations have none."""
        return self.exact or mode in self.modes or self.kind in ("comparison", "extremum")


def supported() -> bool:
    """Whether this host's FPU is used at all."""
    return platform.machine() in ("x86_64", "AMD64")


def _has(feature: str) -> bool:
    """Whether the host's CPU has a feature, as Linux calls it."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and feature in flags[1].split()


def _table() -> dict[str, HostOperation]:
    """By routine."""
    table: dict[str, HostOperation] = {}
    every = frozenset((RNE, RTZ, RDN, RUP, RMM))
    to_signed = every if _has("sse4_1") else frozenset((RNE, RTZ))
    for width in TYPES:
        for name in ("add", "sub", "mul", "div"):
            table[f"f{width}_{name}"] = HostOperation("arithmetic", "f" + name)
        table[f"f{width}_sqrt"] = HostOperation("arithmetic", "sqrt")
        if _has("fma"):
            table[f"f{width}_fma"] = HostOperation("arithmetic", "fma")
        for letter, bits in (("i", 32), ("i", 64), ("u", 32), ("u", 64)):
            signed, exact = letter == "i", bits < width
            table[f"{letter}{bits}_to_f{width}"] = HostOperation(
                "from integer", exact=exact, signed=signed, modes=every
            )
            table[f"f{width}_to_{letter}{bits}"] = HostOperation(
                "to integer", signed=signed, modes=to_signed if signed else frozenset((RTZ,))
            )
        for relation, predicate in (("eq", "oeq"), ("lt", "olt"), ("le", "ole")):
            table[f"f{width}_{relation}"] = HostOperation("comparison", predicate, signals=True)
            table[f"f{width}_{relation}_quiet"] = HostOperation("comparison", predicate)
        for name, predicate in (("min", "olt"), ("max", "ogt")):
            table[f"f{width}_{name}_number"] = HostOperation("extremum", predicate)
            table[f"f{width}_{name}"] = HostOperation("extremum", predicate)
    table["f32_to_f64"] = HostOperation("arithmetic", "fpext", exact=True)
    table["f64_to_f32"] = HostOperation("arithmetic", "fptrunc")
    return table


HOST_INSTRUCTIONS = _table() if supported() else {}

# The flags NV DZ OF UF NX (bits 4..0) from MXCSR's IE(0) ZE(2) OE(3) UE(4) PE(5).
_FOLD_X86 = """
define dso_local void @fold_flags(ptr %s) noinline {{
  %word = getelementptr inbounds i8, ptr %s, i64 {at[mxcsr]}
  call void asm sideeffect "stmxcsr $0", "=*m,~{{memory}}"(ptr elementtype(i32) %word)
  %now = load i32, ptr %word
  %flags = and i32 %now, {MXCSR_FLAGS}
  %none = icmp eq i32 %flags, 0
  br i1 %none, label %done, label %some
some:
  %clean = and i32 %now, -64
  store i32 %clean, ptr %word
  call void asm sideeffect "ldmxcsr $0", "*m,~{{memory}}"(ptr elementtype(i32) %word)
  %nv.b = and i32 %flags, 1
  %nv = shl i32 %nv.b, 4
  %dz.b = and i32 %flags, 4
  %dz = shl i32 %dz.b, 1
  %of.b = and i32 %flags, 8
  %of = lshr i32 %of.b, 1
  %uf.b = and i32 %flags, 16
  %uf = lshr i32 %uf.b, 3
  %nx.b = and i32 %flags, 32
  %nx = lshr i32 %nx.b, 5
  %a = or i32 %nv, %dz
  %b = or i32 %of, %uf
  %c = or i32 %a, %b
  %d = or i32 %c, %nx
  %wide = zext i32 %d to i64
  %slot = getelementptr inbounds i8, ptr %s, i64 {flags_slot}
  %old = load i64, ptr %slot
  %new = or i64 %old, %wide
  store i64 %new, ptr %slot
  br label %done
done:
  ret void
}}
; Around host code of others: its control word is kept aside, and its flags are not the guest's.
define internal void @enter_guest_floats(ptr %s) noinline {{
  %theirs = getelementptr inbounds i8, ptr %s, i64 {at[host_mxcsr]}
  call void asm sideeffect "stmxcsr $0", "=*m,~{{memory}}"(ptr elementtype(i32) %theirs)
  %word = getelementptr inbounds i8, ptr %s, i64 {at[mxcsr]}
  store i32 {MXCSR_DEFAULT}, ptr %word
  call void asm sideeffect "ldmxcsr $0", "*m,~{{memory}}"(ptr elementtype(i32) %word)
  ret void
}}
define internal void @leave_guest_floats(ptr %s) noinline {{
  call void @fold_flags(ptr %s)
  %theirs = getelementptr inbounds i8, ptr %s, i64 {at[host_mxcsr]}
  call void asm sideeffect "ldmxcsr $0", "*m,~{{memory}}"(ptr elementtype(i32) %theirs)
  ret void
}}
"""

_NOTHING = """
define dso_local void @fold_flags(ptr %s) alwaysinline {{
  ret void
}}
define internal void @enter_guest_floats(ptr %s) alwaysinline {{
  ret void
}}
define internal void @leave_guest_floats(ptr %s) alwaysinline {{
  ret void
}}
"""


def text(at: dict[str, int], flags_slot: int) -> str:
    """The functions that the runtime calls at the borders of guest code."""
    template = _FOLD_X86 if supported() else _NOTHING
    names = {"MXCSR_FLAGS": MXCSR_FLAGS, "MXCSR_DEFAULT": MXCSR_DEFAULT}
    return template.format_map({"at": at, "flags_slot": flags_slot, **names})
