"""Benchmark "loop": instructions per CPU second on the memory loop of seven instructions.

Every engine runs the same ELF file as whole machine, once with few iterations and once with many;
the difference in CPU time is the loop alone, without start-up. Owns the patched ELF files.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from bench.process import measure
from bench.subjects import lamina, lamina_environment, qemu
from lamina.testing import programs

LOOP_INSTRUCTIONS = 7
FEW = 1000
MANY = {"reference": 20_000, "threaded": 150_000_000, "qemu": 300_000_000}


def patched(folder: Path, iterations: int) -> Path:
    """The loop's ELF file with another number of iterations."""
    source = programs.path("alu_loop")
    data = bytearray(source.read_bytes())
    with source.open("rb") as file:
        elf = ELFFile(file)
        symbols = elf.get_section_by_name(".symtab")
        assert isinstance(symbols, SymbolTableSection)
        found = symbols.get_symbol_by_name("iterations")
        assert found, "the loop's ELF file has no symbol iterations"
        address = found[0]["st_value"]
        (offset,) = (
            address - s["p_vaddr"] + s["p_offset"]
            for s in elf.iter_segments()
            if s["p_vaddr"] <= address < s["p_vaddr"] + s["p_filesz"]
        )
    data[offset : offset + 8] = iterations.to_bytes(8, "little")
    path = folder / f"loop-{iterations}.elf"
    path.write_bytes(data)
    return path


class LoopBench:
    """MIPS by CPU time of each engine, one sample a call."""

    def __init__(self, folder: Path, cache: Path, qemu_program: str | None) -> None:
        self._folder = folder
        self._environment = lamina_environment(cache)
        self._qemu = qemu_program
        engines = ["reference", "threaded"] + (["qemu"] if qemu_program else [])
        self.subjects: dict[str, Callable[[], float]] = {
            engine: partial(self._mips, engine) for engine in engines
        }

    def _mips(self, engine: str) -> float:
        few, many = self._cpu(engine, FEW), self._cpu(engine, MANY[engine])
        return LOOP_INSTRUCTIONS * (MANY[engine] - FEW) / (many - few) / 1e6

    def _cpu(self, engine: str, iterations: int) -> float:
        image = str(patched(self._folder, iterations))
        if engine == "qemu":
            assert self._qemu is not None
            return measure([*qemu(self._qemu), "-bios", image]).cpu
        command = lamina("boot", "--bios-image", image, "--engine", engine)
        return measure(command, env=self._environment).cpu
