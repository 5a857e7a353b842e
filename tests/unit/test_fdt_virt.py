"""The virt board's device tree: against a golden text, and against QEMU's own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lamina.base.clock import ManualClock
from lamina.base.errors import ConfigError
from lamina.bus.space import AddressSpace
from lamina.machine.boards.virt import build_virt
from lamina.machine.boards.virt_tree import isa_extensions
from lamina.machine.fdt import dump, parse
from lamina.testing.devices import ByteSink, FakeHartLines

GOLDEN = Path(__file__).parents[1] / "golden" / "virt.dts"
ISA = "rv64imafdc_zicbom_zicbop_zicboz_zicsr_zifencei_sstc"
NOT_IN_LAMINA = ("/pmu", "/fw-cfg", "/flash", "/platform-bus", "/soc/pci")
OURS_ALONE = {"riscv,isa-base", "riscv,isa-extensions"}  # QEMU has them since 8.2
DIFFERENT = {"model", "riscv,isa", "rng-seed", "phandle", "riscv,ndev"}
REFERENCES = {"interrupt-parent", "interrupts-extended", "regmap", "cpu"}


@pytest.fixture
def build():
    spaces = []

    def make(harts=2, isa=ISA, mmu="sv48", ram_size=256 << 20):
        spaces.append(AddressSpace())
        lines, clock, sink = FakeHartLines(), ManualClock(), ByteSink()
        return build_virt(
            spaces[-1], harts, ram_size, lines, clock, sink, lambda request: None, isa, mmu
        )

    yield make
    for space in spaces:
        space.close()


def test_tree_is_the_golden_one(build):
    blob = build().device_tree(
        "console=ttyS0 root=/dev/vda", (0x8400_0000, 0x8500_0000), bytes(range(32))
    )
    assert dump(parse(blob)) == GOLDEN.read_text()


@pytest.mark.skipif(not shutil.which("dtc"), reason="needs the device tree compiler dtc")
def test_dtc_has_no_more_to_say_of_it_than_of_qemus(build):
    """QEMU's tree gets this one warning, too, for each hart."""
    blob = build().device_tree("x", (0, 1), bytes(32))
    run = ["dtc", "-I", "dtb", "-O", "dts", "-o", "/dev/null"]
    said = subprocess.run(run, input=blob, capture_output=True, check=True).stderr.decode()
    assert all("interrupt-controller: Missing #address-cells" in line for line in said.splitlines())
    assert len(said.splitlines()) == 2


def resolve(tree):
    """Path and property to value, with phandles replaced by the paths that they name."""
    paths = {
        node.get_cells("phandle")[0]: p for p, node in tree.walk() if "phandle" in node.properties
    }
    found = {}
    for path, node in tree.walk():
        for name, value in node.properties.items():
            if name in REFERENCES:
                cells = node.get_cells(name)
                every = 2 if name == "interrupts-extended" else 1
                value = [paths[c] if at % every == 0 else c for at, c in enumerate(cells)]
            found[path, name] = value
    return found


@pytest.mark.skipif(not shutil.which("qemu-system-riscv64"), reason="needs qemu-system-riscv64")
@pytest.mark.parametrize("harts", [1, 2, 5])
def test_tree_agrees_with_qemus(build, tmp_path, harts):
    file = tmp_path / "qemu.dtb"
    run = ["qemu-system-riscv64", "-M", f"virt,dumpdtb={file}", "-smp", str(harts), "-m", "256M"]
    subprocess.run(run, check=True, capture_output=True)
    theirs = resolve(parse(file.read_bytes()))
    ours = resolve(parse(build(harts).device_tree()))
    wanted = {
        key: value
        for key, value in theirs.items()
        if not key[0].startswith(NOT_IN_LAMINA) and key[1] not in DIFFERENT
    }
    extra = {
        key
        for key in ours.keys() - wanted.keys()
        if key[1] not in DIFFERENT | OURS_ALONE and not key[1].endswith("-block-size")
    }
    assert {key: ours.get(key) for key in wanted} == wanted
    assert extra == set()


def test_paravirtual_tree_has_nothing_of_machine_mode(build):
    tree = parse(build().device_tree(paravirtual=True, stdout="/soc/virtio_mmio@10001000"))
    assert not [path for path, _ in tree.walk() if "clint" in path]
    plic = tree.find("/soc/plic@c000000").get_cells("interrupts-extended")
    assert plic[1::2] == [0xFFFF_FFFF, 9] * 2
    assert tree.find("/chosen").get_text("stdout-path") == ["/soc/virtio_mmio@10001000"]


def test_the_initrds_place_does_not_change_the_trees_size(build):
    board = build()
    sizes = {len(board.device_tree("x", (at, at + 1), bytes(32))) for at in (0, 0x80000000, 2**40)}
    assert len(sizes) == 1


def test_memory_and_harts_are_as_configured(build):
    tree = parse(build(16, ram_size=64 << 30).device_tree())
    assert tree.find("/memory@80000000").get_cells("reg") == [0, 0x8000_0000, 16, 0]
    assert len([name for name in tree.find("/cpus").children if name.startswith("cpu@")]) == 16
    assert tree.find("/cpus/cpu@f").get_cells("reg") == [15]
    phandles = [n.get_cells("phandle")[0] for _, n in tree.walk() if "phandle" in n.properties]
    assert len(phandles) == len(set(phandles)) == 34


@pytest.mark.parametrize(
    "isa", ["", "rv32imac", "rv64", "rv64imac zicsr", "rv64imac__x", "rv64I\n"]
)
def test_an_isa_that_is_none_is_refused(build, isa):
    with pytest.raises(ConfigError, match="isa"):
        build(isa=isa)


@pytest.mark.parametrize("mmu", ["", "sv32", "riscv,sv48"])
def test_an_mmu_that_is_none_is_refused(build, mmu):
    with pytest.raises(ConfigError, match="mmu"):
        build(mmu=mmu)


def test_isa_extensions_spell_g_out():
    expected = ["i", "m", "a", "f", "d", "c", "zicsr", "zifencei", "zba"]
    assert isa_extensions("rv64gc_zba_zicsr") == expected


@pytest.mark.parametrize("bootargs", ["a\nb", "a\0b", "\x1b[2J", "x" * 4097])
def test_a_command_line_must_be_one_line(build, bootargs):
    with pytest.raises(ConfigError, match="command line"):
        build().device_tree(bootargs)
