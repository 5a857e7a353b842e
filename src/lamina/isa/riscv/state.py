"""The state of a hart: register files, slots, and their values at reset.

Privileged Architecture 1.13, 3.4 (reset). The slots back the CSRs of `csr_*.py`; a slot holds only
what can change (constant fields are added when the CSR is read). Engines place the words as
`LAYOUT` says; the machine starts a hart from `reset_values`.
"""

from lamina.base.bits import U32, U64, mask
from lamina.isa.arch import StateLayout
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.hart import FILES

SLOTS = [
    "priv",  # 0 user, 1 supervisor, 3 machine
    "paravirtual",  # 1: an ecall from supervisor mode is a call to the hypervisor
    "mhartid",
    # Machine trap set-up and handling
    *("mstatus", "medeleg", "mideleg", "mie", "mip_soft", "mtvec"),
    *("mscratch", "mepc", "mcause", "mtval", "menvcfg"),
    # Supervisor trap set-up and handling, translation
    *("stvec", "sscratch", "sepc", "scause", "stval", "senvcfg", "satp", "stimecmp"),
    # Counters: a counter that runs is `icount` plus its offset, a stopped one is the offset.
    *("mcounteren", "scounteren", "mcountinhibit", "mcycle_offset", "minstret_offset"),
    # Physical memory protection: entries 0..7 and 8..15, a byte each (addresses: file pmpaddr)
    *("pmpcfg0", "pmpcfg2"),
    # Floating point
    *("fflags", "frm"),
    # The reservation of LR/SC: guest-physical address (all ones: none) and the value loaded
    *("resv_addr", "resv_value"),
]


def _layout() -> StateLayout:
    """The layout; single registers have names too: `x10`, `f3`, `pmpaddr0`."""
    layout = StateLayout(FILES, SLOTS)
    for file in FILES:
        for i in range(file.count):
            layout.index[f"{file.prefix or file.name}{i}"] = layout.file_base[file.name] + i
    return layout


LAYOUT = _layout()


def reset_values(
    hart_id: int = 0, pc: int = 0x1000, paravirtual: bool = False, svadu: bool = False
) -> dict[str, int]:
    """Values by name in `LAYOUT.index` at reset; names left out are zero.

    A hart starts in machine mode at `pc`. A paravirtual one starts in supervisor mode as firmware
    would have left it: traps delegated, counters open, all of memory open in PMP entry 0. With
    `svadu` the hart sets A and D bits of page tables by itself before anybody asked for it.
    """
    values = {
        "pc": pc,
        "priv": f.MACHINE,
        "mhartid": hart_id,
        "resv_addr": U64,
        "stimecmp": U64,
        "menvcfg": f.ADUE if svadu else 0,
    }
    if paravirtual:
        values |= {
            "priv": f.SUPERVISOR,
            "paravirtual": 1,
            "medeleg": f.DELEGABLE,
            "mideleg": f.S_INTERRUPTS,
            "mcounteren": U32,
            "scounteren": 0b111,  # as OpenSBI leaves it; Linux relies on time in user mode
            "menvcfg": f.STCE | f.PBMTE | f.ADUE | f.CBCFE | f.CBZE | 1 << f.CBIE_SHIFT,
            "pmpcfg0": f.PMP_NAPOT << f.PMP_A_SHIFT | f.PMP_R | f.PMP_W | f.PMP_X,
            "pmpaddr0": mask(f.PMP_ADDRESS_BITS),
        }
    return values
