"""Imports go down only: the layer table of the design, held against every file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lamina

PACKAGE = Path(lamina.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# What each folder may import of the others: all that is below it.
BASE = {"base"}
IR = {"ir"} | BASE
ISA = {"isa"} | IR
BUS = {"bus"} | BASE
ENGINE = {"engine"} | ISA | BUS
DEVICES = {"devices"} | BUS
MACHINE = {"machine"} | DEVICES | ENGINE
LEAVES = {"images", "host"}
DEBUG = {"debug"} | MACHINE
HYPERVISOR = {"hypervisor"} | MACHINE | LEAVES
FRONT = HYPERVISOR | DEBUG
LAYERS = {
    **{"base": BASE, "ir": IR, "isa": ISA, "bus": BUS, "engine": ENGINE, "devices": DEVICES},
    **{"machine": MACHINE, "hypervisor": HYPERVISOR, "debug": DEBUG},
    **{"images": {"images"} | BASE, "host": {"host"} | BASE},
    **{name: FRONT | {name} for name in ("cli", "web", "cluster")},
    "testing": {"testing"} | FRONT,
}

# Arrows that the code has and the table lacks: each one file, to be settled in the design.
BESIDE_THE_TABLE = {("machine/storage.py", "host")}  # opens the disks of a MachineConfig


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that a file imports, inside functions too."""
    package = ["lamina", *file.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{name.name}") for name in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


def _beside(file: Path) -> set[str]:
    name = file.relative_to(PACKAGE).as_posix()
    return {folder for known, folder in BESIDE_THE_TABLE if known == name}


def folder_of(module: str) -> str | None:
    """The folder of the package that a module is in; "" for the package itself."""
    parts = module.split(".")
    if parts[0] != "lamina":
        return None
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


@pytest.mark.parametrize("folder", sorted(p.name for p in PACKAGE.iterdir() if p.is_dir()))
def test_every_folder_is_in_the_table(folder: str) -> None:
    assert folder in LAYERS or folder == "__pycache__"


def test_imports_go_down_only() -> None:
    wrong = []
    for file in FILES:
        own = file.relative_to(PACKAGE).parts
        if len(own) == 1:
            continue  # the public face
        for line, module in imports(file):
            target = folder_of(module)
            if target and target not in LAYERS[own[0]] | _beside(file):
                wrong.append(f"{'/'.join(own)}:{line} imports {module}")
    assert not wrong


def test_machine_code_as_data_is_below_the_engines() -> None:
    """`engine/code` knows neither what compiles nor what runs."""
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line} imports {module}"
        for file in FILES
        for line, module in imports(file)
        if file.relative_to(PACKAGE).parts[:2] == ("engine", "code")
        and not module.startswith(("lamina.engine.code", "lamina.base"))
        and folder_of(module) is not None
    ]
    assert not wrong


def test_only_engine_llvm_imports_llvmlite() -> None:
    """`lamina doctor` may ask it for its version."""
    users = {
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        for _, module in imports(file)
        if module.split(".")[0] == "llvmlite"
    }
    assert {u for u in users if not u.startswith("engine/llvm/")} <= {"cli/cmd_doctor.py"}


def test_nothing_imports_testing() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line}"
        for file in FILES
        for line, module in imports(file)
        if folder_of(module) == "testing" and file.relative_to(PACKAGE).parts[0] != "testing"
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["riscv", "toy"])
def test_only_the_machine_and_the_front_name_an_instruction_set(name: str) -> None:
    """Below the machine nothing outside of isa/NAME knows one; testing and debug may."""
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line}"
        for file in FILES
        for line, module in imports(file)
        if module.startswith(f"lamina.isa.{name}")
        and file.relative_to(PACKAGE).parts[0] in ("base", "ir", "bus", "engine", "devices")
    ]
    assert not wrong


def test_a_face_imports_nothing_at_its_top() -> None:
    """`import lamina` stays quick: only the version is imported before a name is asked for."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    names = {
        node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lamina")
    }
    assert names == {"lamina.base.version"}
