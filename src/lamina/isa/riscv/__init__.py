"""RISC-V 64: the assembled instruction set, `RISCV64`.

Registers and CSR state in `state`, CSRs in `csr_*`, traps in `traps`, translation in `paging`, the
instructions in one `ext_*` module an extension. Importing those modules fills the table `RV64`.
"""

from lamina.isa.arch import Arch, Routines
from lamina.isa.riscv import (
    ext_a,
    ext_c,
    ext_d,
    ext_f,
    ext_hints,
    ext_i,
    ext_m,
    ext_priv,
    ext_zawrs,
    ext_zba,
    ext_zbb,
    ext_zbc,
    ext_zbkb,
    ext_zbkx,
    ext_zbs,
    ext_zfa,
    ext_zfh,
    ext_zicbo,
    ext_zicond,
    ext_zicsr,
    ext_zifencei,
    ext_zimop,
    paging,
    traps,
)
from lamina.isa.riscv.fields import Cause
from lamina.isa.riscv.hart import RV64
from lamina.isa.riscv.packs import PACKS, pack_of
from lamina.isa.riscv.state import LAYOUT, reset_values

EXTENSIONS = (
    *(ext_i, ext_m, ext_a, ext_f, ext_d, ext_c, ext_zicsr, ext_zifencei, ext_priv),
    *(ext_zba, ext_zbb, ext_zbc, ext_zbs, ext_zbkb, ext_zbkx, ext_zicond, ext_zfa, ext_zfh),
    *(ext_zicbo, ext_zawrs, ext_zimop, ext_hints),
)

RISCV64 = Arch(
    name="riscv64",
    table=RV64,
    layout=LAYOUT,
    routines=Routines(
        {
            "trap": traps.trap,
            "interrupt": traps.interrupt,
            "wakes": traps.wakes,
            "deadline": traps.deadline,
            "translate": paging.translate,
            "context": paging.context,
            "space": paging.space,
            "bus_fault": paging.bus_fault,
        }
    ),
    reset=reset_values,
    link_registers=frozenset((("x", 1), ("x", 5))),  # unprivileged, 2.5.1: return-address stacks
    illegal_cause=Cause.ILLEGAL,
    flags_slot="fflags",
    posted_slot="mip_soft",
    source="lamina.isa.riscv:RISCV64",
    packs=PACKS,
    pack_of=pack_of,
)
