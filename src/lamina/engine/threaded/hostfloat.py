"""Floating point on the host's FPU, where its result and flags are those of the IR.

For a softfloat routine of the table below, rounded to nearest even, the compiled code uses one host
instruction; the exceptions collect in the host's sticky flags and are folded into the guest's
flags where these are looked at: in CSR accesses, before Python code runs, at the end of a run.
Every other rounding mode, and every NaN that results, goes the way of the softfloat routine.

x86-64 (Intel SDM volume 1, 11.5): MXCSR bits IE DE ZE OE UE PE, tininess after rounding, as
RISC-V has it. Instructions are volatile assembly, so that LLVM neither folds nor moves them.
"""

import platform
import re
from pathlib import Path

# Default control: all exceptions masked, round to nearest, no flags; and the flags alone.
MXCSR_DEFAULT = 0x1F80
MXCSR_FLAGS = 0x3F

_TWO = {"add": "add", "sub": "sub", "mul": "mul", "div": "div"}
TYPES = {32: ("float", "ss"), 64: ("double", "sd")}


def supported() -> bool:
    """Whether this host's FPU is used at all."""
    return platform.machine() in ("x86_64", "AMD64")


def _fuses() -> bool:
    """Whether the host has fused multiply-add (FMA3)."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and "fma" in flags[1].split()


def _table() -> dict[str, tuple[str, str, int]]:
    """By routine: assembly, constraints, and the width of the result."""
    table: dict[str, tuple[str, str, int]] = {}
    for width, (_, suffix) in TYPES.items():
        for name, mnemonic in _TWO.items():
            table[f"f{width}_{name}"] = (f"{mnemonic}{suffix} $2, $0", "=x,0,x", width)
        table[f"f{width}_sqrt"] = (f"sqrt{suffix} $1, $0", "=x,x", width)
        if _fuses():
            table[f"f{width}_fma"] = (f"vfmadd213{suffix} $3, $2, $0", "=x,0,x,x", width)
        for bits, operand in ((32, "l"), (64, "q")):
            table[f"i{bits}_to_f{width}"] = (f"cvtsi2{suffix}{operand} $1, $0", "=x,r", width)
    table["f32_to_f64"] = ("cvtss2sd $1, $0", "=x,x", 64)
    table["f64_to_f32"] = ("cvtsd2ss $1, $0", "=x,x", 32)
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
