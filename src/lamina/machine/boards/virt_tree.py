"""The device tree of the virt board: nodes and properties as QEMU's, so that guests find all they
know.

`virt.py` wires the machine and holds one VirtTree; devices write their own nodes, and this file
adds what only the wiring knows: interrupt numbers, parents, phandles, CPUs, memory and /chosen.
"""

import re
from collections.abc import Iterator

from lamina.base.bits import U32
from lamina.base.errors import ConfigError
from lamina.devices.finisher import PASS, RESET
from lamina.machine.boards.board import Board, TreeOptions
from lamina.machine.fdt import FdtNode, flatten

PLIC_PHANDLE = 1
FINISHER_PHANDLE = 2
CPU_PHANDLE = 0x10  # and two for each hart: the cpu, its interrupt controller

MSI, MTI, SEI, MEI = 3, 7, 9, 11  # bits of mip, which name a hart's interrupt pins
NOT_FOR_SUPERVISOR = 0xFFFF_FFFF  # how OpenSBI, too, marks the PLIC's machine-mode contexts
CACHE_BLOCKS = {"zicbom": "cbom", "zicbop": "cbop", "zicboz": "cboz"}
CACHE_BLOCK_SIZE = 64
MMU_TYPES = ("sv39", "sv48", "sv57")


def check_isa(isa: str) -> str:
    """The string itself, in lower case; ConfigError unless it is like rv64imac_zicsr_zifencei."""
    if not re.fullmatch(r"rv64[a-z]+(_[a-z][a-z0-9]+)*", isa.lower()) or len(isa) > 1000:
        raise ConfigError(f"isa: {isa[:60]!r} is not like rv64imafdc_zicsr_zifencei")
    return isa.lower()


def isa_extensions(isa: str) -> list[str]:
    """The names for `riscv,isa-extensions`: single letters first, `g` spelled out."""
    letters, *names = isa.removeprefix("rv64").split("_")
    general = ["zicsr", "zifencei"] if "g" in letters else []
    singles = letters.replace("g", "imafd")
    return list(dict.fromkeys([*singles, *general, *names]))


class VirtTree:
    """Writes the tree of a virt board; what the board itself does not know is kept here."""

    def __init__(self, isa: str, mmu: str, timebase: int) -> None:
        """ConfigError unless `isa` is like rv64imac_zicsr, `mmu` like sv48, `timebase` in Hz."""
        if mmu not in MMU_TYPES:
            raise ConfigError(f"mmu: {mmu!r} is not one of {', '.join(MMU_TYPES)}")
        if not 0 < timebase <= U32:
            raise ConfigError(f"timebase: {timebase} Hz is not from 1 to {U32}")
        self._isa = check_isa(isa)
        self._mmu = mmu
        self._timebase = timebase

    def build(self, board: Board, options: TreeOptions) -> bytes:
        """The flattened tree for one boot."""
        root = FdtNode()
        root.cells("#address-cells", 2)
        root.cells("#size-cells", 2)
        root.text("compatible", "riscv-virtio")
        root.text("model", "riscv-virtio,lamina")
        _chosen(root.node("chosen"), options)
        memory = root.node(f"memory@{board.ram.base:x}")
        memory.text("device_type", "memory")
        memory.reg(board.ram.base, board.ram.size)
        self._cpus(root.node("cpus"), board.harts)
        _soc(root.node("soc"), board, options.paravirtual)
        _syscon(root.node("poweroff"), "syscon-poweroff", PASS)
        _syscon(root.node("reboot"), "syscon-reboot", RESET)
        return flatten(root)

    def _cpus(self, cpus: FdtNode, harts: int) -> None:
        cpus.cells("#address-cells", 1)
        cpus.cells("#size-cells", 0)
        cpus.cells("timebase-frequency", self._timebase)
        for hart in range(harts):
            self._cpu(cpus.node(f"cpu@{hart:x}"), hart)
        cluster = cpus.node("cpu-map").node("cluster0")
        for hart in range(harts):
            cluster.node(f"core{hart}").cells("cpu", cpu_phandle(hart))

    def _cpu(self, cpu: FdtNode, hart: int) -> None:
        extensions = isa_extensions(self._isa)
        cpu.text("device_type", "cpu")
        cpu.cells("reg", hart)
        cpu.text("status", "okay")
        cpu.text("compatible", "riscv")
        cpu.text("riscv,isa", self._isa)
        cpu.text("riscv,isa-base", "rv64i")
        cpu.text("riscv,isa-extensions", *extensions)
        cpu.text("mmu-type", f"riscv,{self._mmu}")
        for extension, block in CACHE_BLOCKS.items():
            if extension in extensions:
                cpu.cells(f"riscv,{block}-block-size", CACHE_BLOCK_SIZE)
        cpu.cells("phandle", cpu_phandle(hart))
        intc = cpu.node("interrupt-controller")
        intc.cells("#interrupt-cells", 1)
        intc.flag("interrupt-controller")
        intc.text("compatible", "riscv,cpu-intc")
        intc.cells("phandle", intc_phandle(hart))


def _chosen(chosen: FdtNode, options: TreeOptions) -> None:
    if options.bootargs:
        chosen.text("bootargs", options.bootargs)
    chosen.text("stdout-path", options.stdout or "/soc/serial@10000000")
    if options.rng_seed:
        chosen.data("rng-seed", options.rng_seed)
    if options.initrd is not None:
        chosen.wide("linux,initrd-start", options.initrd[0])
        chosen.wide("linux,initrd-end", options.initrd[1])


def _soc(soc: FdtNode, board: Board, paravirtual: bool) -> None:
    """Without machine mode there is no CLINT: the SBI has timers and IPIs."""
    soc.cells("#address-cells", 2)
    soc.cells("#size-cells", 2)
    soc.text("compatible", "simple-bus")
    soc.flag("ranges")
    bases = {id(device): base for base, device in board.space.devices}
    for name, device in board.devices.items():
        if name == "clint" and paravirtual:
            continue
        before = set(soc.children)
        device.fdt_node(soc, bases[id(device)])
        (added,) = set(soc.children) - before
        _wire(soc.children[added], name, board, paravirtual)


def _wire(node: FdtNode, name: str, board: Board, paravirtual: bool) -> None:
    if name == "plic":
        machine = NOT_FOR_SUPERVISOR if paravirtual else MEI
        node.cells("interrupts-extended", *_to_harts(board.harts, machine, SEI))
        node.cells("phandle", PLIC_PHANDLE)
    elif name == "clint":
        node.cells("interrupts-extended", *_to_harts(board.harts, MSI, MTI))
    elif name == "finisher":
        node.cells("phandle", FINISHER_PHANDLE)
    elif name in board.irq:
        node.cells("interrupts", board.irq[name])
        node.cells("interrupt-parent", PLIC_PHANDLE)


def _to_harts(harts: int, *pins: int) -> Iterator[int]:
    for hart in range(harts):
        for pin in pins:
            yield from (intc_phandle(hart), pin)


def cpu_phandle(hart: int) -> int:
    """The phandle of a hart's cpu node."""
    return CPU_PHANDLE + 2 * hart


def intc_phandle(hart: int) -> int:
    """The phandle of a hart's own interrupt controller."""
    return CPU_PHANDLE + 2 * hart + 1


def _syscon(node: FdtNode, compatible: str, value: int) -> None:
    node.text("compatible", compatible)
    node.cells("regmap", FINISHER_PHANDLE)
    node.cells("offset", 0)
    node.cells("value", value)
