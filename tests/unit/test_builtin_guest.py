"""The prebuilt guests: the ELF files in the package are what the sources make, and fit a board."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from lamina.base.errors import ImageError
from lamina.images import builtin
from lamina.testing import programs

TREE = Path(__file__).resolve().parents[2]
RAM = 0x8000_0000
PREBUILT = {
    "monitor": builtin.path("monitor"),
    "hello": programs.path("hello"),
    "exit7": programs.path("exit7"),
    "alu_loop": programs.path("alu_loop"),
}


def build(script: Path, out: Path) -> None:
    subprocess.run([sys.executable, str(script), "--out", str(out)], check=True)


def symbols(file: Path) -> dict[str, int]:
    with file.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {s.name: s["st_value"] for s in table.iter_symbols() if s.name}


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rebuilt")
    build(TREE / "guests" / "build.py", out)
    return out


@pytest.mark.parametrize("name", PREBUILT)
def test_prebuilt_elf_is_what_the_sources_make(name: str, rebuilt: Path) -> None:
    assert (rebuilt / f"{name}.elf").read_bytes() == PREBUILT[name].read_bytes()


def test_build_does_not_depend_on_where_the_tree_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "another place"
    shutil.copytree(TREE / "guests", elsewhere, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("ZIG_LOCAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "cache"))
    build(elsewhere / "build.py", tmp_path / "out")
    for name, prebuilt in PREBUILT.items():
        assert (tmp_path / "out" / f"{name}.elf").read_bytes() == prebuilt.read_bytes()


@pytest.mark.parametrize(("name", "entry"), [(n, RAM) for n in ("hello", "exit7", "alu_loop")])
def test_programs_start_where_a_reset_jumps_to(name: str, entry: int) -> None:
    check_layout(PREBUILT[name], entry)


def test_monitor_starts_behind_the_firmware() -> None:
    check_layout(PREBUILT["monitor"], RAM + 0x20_0000)


def check_layout(file: Path, entry: int) -> None:
    with file.open("rb") as stream:
        elf = ELFFile(stream)
        assert (elf["e_machine"], elf["e_type"], elf.elfclass) == ("EM_RISCV", "ET_EXEC", 64)
        assert elf["e_entry"] == entry
        loads = [s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"]
        assert min(s["p_paddr"] for s in loads) == entry
        assert max(s["p_paddr"] + s["p_memsz"] for s in loads) < entry + 0x20_0000
        assert all(s["p_paddr"] == s["p_vaddr"] for s in loads)
        assert not [s.name for s in elf.iter_sections() if s.name.startswith((".debug", ".note"))]


def test_monitor_is_small_and_names_no_host_path() -> None:
    elf = PREBUILT["monitor"].read_bytes()
    assert len(elf) < 64 * 1024
    assert not re.search(rb"/(root|home|tmp|usr|work|Users)/|\.cache|clang|\.[cS]\0", elf)


def test_symbols_of_functions_stay_and_labels_of_the_assembler_go() -> None:
    found = symbols(PREBUILT["monitor"])
    assert found["_start"] == RAM + 0x20_0000
    assert {"main", "trap_entry", "shell", "map", "harts"} <= found.keys()
    assert not [name for name in found if name[0] in ".$"]


def test_alu_loop_is_seven_uncompressed_instructions() -> None:
    found = symbols(PREBUILT["alu_loop"])
    assert found["loop_end"] - found["loop"] == 7 * 4
    assert {"iterations", "total", "addend"} <= found.keys()


def test_an_unknown_builtin_guest_is_an_image_error_in_one_line() -> None:
    with pytest.raises(ImageError, match=r"^no built-in guest '\.\./x': there is monitor$"):
        builtin.path("../x")
