"""The compiled runtime in this process: found in the cache or compiled, placed in the code arena.

It is made once for an architecture and holds no machine's state. Called by the engines.
"""

import ctypes
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

import lamina
from lamina.base.version import __version__
from lamina.engine.code.arena import library_address, process_arena
from lamina.engine.code.image import CodeImage
from lamina.engine.code.store import CodeStore, code_folder
from lamina.isa.arch import Arch

STORE_BYTES = 8 << 20  # each version of Lamina or of the host's CPU needs some 0.3 MB
SOURCES = ("base", "ir", "isa", "engine")  # the folders that make the runtime


@cache
def code_version(arch: Arch) -> str:
    """A key for code derived from Lamina's own sources: their contents, LLVM, the host's CPU."""
    package = Path(lamina.__file__).parent
    digest = hashlib.sha256()
    for folder in SOURCES:
        for file in sorted((package / folder).rglob("*.py")):
            digest.update(file.relative_to(package).as_posix().encode() + b"\0")
            digest.update(file.read_bytes())
    for text in (__version__, _llvm_version(), _host_cpu(), "threaded", arch.name):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def _llvm_version() -> str:
    """Tells LLVM's builds apart without loading it, which would take 45 MB and 0.1 s."""
    spec = importlib.util.find_spec("llvmlite")
    if spec is None or spec.origin is None:
        return "none"
    return (Path(spec.origin).parent / "_version.py").read_text()


def _host_cpu() -> str:
    """What Linux says of the first CPU: all that LLVM's choice of instructions depends on."""
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags")
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return "unknown"
    return "\n".join(line for line in first.splitlines() if line.partition("\t")[0] in wanted)


@cache
def _store() -> CodeStore:
    return CodeStore(code_folder() / "runtime", STORE_BYTES)


def is_compiled(arch: Arch) -> bool:
    """Whether the runtime is on disk: if not, the first engine of a process takes seconds."""
    return code_version(arch) in _store()


class Runtime:
    """The compiled runtime of an architecture: its entry points as ctypes functions."""

    def __init__(self, arch: Arch) -> None:
        image = self._image(arch)
        self._placed = process_arena().place(image, library_address)
        signed, state = ctypes.c_int64, ctypes.c_void_p
        self.run_fast = ctypes.CFUNCTYPE(signed, state, signed)(self.address("run_fast"))
        self.run_steps = ctypes.CFUNCTYPE(signed, state, signed)(self.address("run_steps"))
        self.decode_address = ctypes.CFUNCTYPE(ctypes.c_uint64)(self.address("decode_address"))
        change = ctypes.CFUNCTYPE(None, state)
        self.tlb_flush = change(self.address("tlb_flush"))
        self.tlb_begin = change(self.address("tlb_begin"))
        self.tlb_space = change(self.address("tlb_space"))

    def _image(self, arch: Arch) -> CodeImage:
        key = code_version(arch)
        kept = _store().get(key)
        self.from_cache = kept is not None
        if kept is not None:
            return kept
        from lamina.engine.llvm.compiler import compile_image
        from lamina.engine.threaded.module import runtime_text

        image = compile_image(runtime_text(arch), passes="runtime")
        _store().put(key, image)
        return image

    def address(self, name: str) -> int:
        """Where a function of the runtime lies; CodeError if there is none of that name."""
        return self._placed.address_of(name)

    def holds(self, address: int) -> bool:
        """Whether code at an address is the runtime's own."""
        return 0 <= address - self._placed.address < self._placed.size

    def resolve(self, name: str) -> int:
        """What compiled regions may call: the runtime's functions, and the library's few."""
        known = name in self._placed.symbols
        return self.address(name) if known else library_address(name)


@cache
def runtime(arch: Arch) -> Runtime:
    """The runtime of an architecture, compiled or loaded at the first call."""
    return Runtime(arch)
