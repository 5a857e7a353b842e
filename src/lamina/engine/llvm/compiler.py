"""LLVM: text to machine code, kept on disk. The only part of Lamina that imports llvmlite."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import llvmlite
from llvmlite import binding as llvm

from lamina.base.version import __version__

CODE_GENERATION = 1  # LLVM's level for machine code: at 2 it takes longer for the same speed
KEPT_OBJECTS = 8
_MAGIC = b"lamina-object-1\n"


def target_machine(level: int, codemodel: str = "small") -> llvm.TargetMachine:
    """The host's, as the compiled runtime uses it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()  # for the assembly in engine.threaded.hostfloat
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=level,
        reloc="pic",
        codemodel=codemodel,
    )


def cache_folder() -> Path:
    """Where compiled code is kept: $XDG_CACHE_HOME/lamina/code, or ~/.cache/lamina/code."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "lamina" / "code"


def source_key(folders: list[Path], *more: str) -> str:
    """A key for code derived from Lamina's own sources: their contents, LLVM, the host's CPU."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(file.read_bytes())
    host = (llvmlite.__version__, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    for text in (__version__, *host, *more):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def optimise(text: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """A module from LLVM assembly, through the few passes that matter for what is written here:
    the text is in SSA form and wants no inlining but where it says so. LLVM's own -O2 takes ten
    times as long, for code that boots a guest no faster."""
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    return module


def compile_object(text: str) -> bytes:
    """Machine code (an object file) for a module's LLVM assembly."""
    machine = target_machine(CODE_GENERATION)
    return bytes(machine.emit_object(optimise(text, machine)))


def object_path(key: str) -> Path:
    """Where the object file of a key is kept."""
    return cache_folder() / f"{key[:32]}.o"


def cached_object(key: str, make: Callable[[], bytes]) -> tuple[bytes, bool]:
    """The object file for a key and whether it came from the disk. A file that is damaged is
    made anew; a disk that cannot be written costs only the next start its speed."""
    path = object_path(key)
    try:
        blob = path.read_bytes()
        code = blob[len(_MAGIC) + 32 :]
        if blob.startswith(_MAGIC) and hashlib.sha256(code).digest() == blob[len(_MAGIC) :][:32]:
            return code, True
    except OSError:
        pass
    code = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(code).digest() + code)
        os.replace(name, path)
        _prune(path.parent)
    except OSError:
        pass
    return code, False


def _prune(folder: Path) -> None:
    """Keep only the newest objects: each version of Lamina or of the host's CPU makes one."""
    objects = sorted(folder.glob("*.o"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in objects[KEPT_OBJECTS:]:
        old.unlink(missing_ok=True)


class LoadedCode:
    """Machine code in this process; `address(name)` of its external functions."""

    def __init__(self, code: bytes, codemodel: str = "small") -> None:
        machine = target_machine(CODE_GENERATION, codemodel)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        address = int(self._engine.get_function_address(name))
        if address == 0:
            raise KeyError(f"the compiled runtime has no {name}")
        return address


class RegionCompiler:
    """Compiles small modules that call the runtime, and keeps them in this process."""

    def __init__(self, symbols: dict[str, int]) -> None:
        self._machine = target_machine(2)
        tuning = llvm.create_pipeline_tuning_options(speed_level=1)
        self._builder = llvm.create_pass_builder(self._machine, tuning)
        # A short list: each pass was kept because it paid on guest loops.
        self._passes = llvm.create_new_function_pass_manager()
        self._passes.add_sroa_pass()
        self._passes.add_new_gvn_pass()
        self._passes.add_instruction_combine_pass()
        self._passes.add_simplify_cfg_pass()
        self._passes.add_dead_store_elimination_pass()
        # Large: the runtime may be anywhere in the address space.
        self._emitter = target_machine(1, "large")
        self._loaded: list[LoadedCode] = []
        self._defined: dict[str, int] = {}
        for name, address in symbols.items():
            self.define(name, address)

    def define(self, name: str, address: int) -> None:
        """Make a function of the runtime known by name."""
        if self._defined.get(name) != address:
            self._defined[name] = address
            llvm.add_symbol(name, address)

    def compile(self, text: str, name: str) -> int:
        """The address of function `name` of a module."""
        module = llvm.parse_assembly(text)
        module.triple = self._machine.triple
        module.data_layout = str(self._machine.target_data)
        module.verify()
        for function in module.functions:
            if not function.is_declaration:
                self._passes.run(function, self._builder)
        # Only the object is kept: a module costs ten times its code. Each has an engine of its own,
        # as LLVM's memory manager may touch the pages of code that runs when it adds to them.
        loaded = LoadedCode(self._emitter.emit_object(module), "large")
        self._loaded.append(loaded)
        return loaded.address(name)
