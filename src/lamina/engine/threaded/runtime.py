"""The compiled runtime in this process: found in the cache or compiled, placed in the code arena.

It is made once for an architecture and holds no machine's state; its packs come when an instruction
of theirs is first met. Called by the engines. The compiler process makes what the cache lacks.
"""

import ctypes
import hashlib
import importlib.util
import os
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import lamina
from lamina.base.errors import CodeError
from lamina.base.version import __version__
from lamina.engine.code.arena import LIBRARY, Placed, library_address, process_arena
from lamina.engine.code.image import CodeImage
from lamina.engine.code.perf_map import perf_map
from lamina.engine.code.store import code_folder, code_store, write_whole
from lamina.engine.compiler.client import compiler_process
from lamina.engine.compiler.protocol import Kind, Request
from lamina.engine.threaded.baseline import STENCILS
from lamina.engine.threaded.templates import Templates
from lamina.isa.arch import CORE_PACK, Arch

SOURCES = ("base", "ir", "isa", "engine")  # the folders that make the runtime


@cache
def code_version(arch: Arch) -> str:
    """A key for code derived from Lamina's own sources: their contents, LLVM, the host's CPU."""
    digest = hashlib.sha256(_sources().encode())
    for text in (__version__, _llvm_version(), _host_cpu(), "threaded", arch.name):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def _sources() -> str:
    """A digest of the sources' contents. It is kept in the cache beside their names, sizes and
    times, as long as these are the same: reading 200 files takes longer than all else here."""
    package = Path(lamina.__file__).parent
    files = [file for folder in SOURCES for file in sorted((package / folder).rglob("*.py"))]
    names = [file.relative_to(package).as_posix() for file in files]
    facts = [
        (name, s.st_size, s.st_mtime_ns) for name, s in zip(names, map(os.stat, files), strict=True)
    ]
    signature = hashlib.sha256(f"{package} {facts}".encode()).hexdigest()
    kept = code_folder() / "sources"
    with suppress(OSError, ValueError):
        known, _, contents = kept.read_text("ascii").partition(" ")
        if known == signature and len(contents) == len(signature):
            return contents
    digest = hashlib.sha256()
    for name, file in zip(names, files, strict=True):
        digest.update(name.encode() + b"\0")
        digest.update(file.read_bytes())
    with suppress(OSError):
        write_whole(kept, f"{signature} {digest.hexdigest()}".encode())
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


def _pack_key(arch: Arch, pack: str) -> str:
    return hashlib.sha256(f"{code_version(arch)} {pack}".encode()).hexdigest()


def is_compiled(arch: Arch) -> bool:
    """Whether the runtime is on disk: if not, the first engine of a process waits for it."""
    return _pack_key(arch, CORE_PACK) in code_store("runtime")


class Runtime:
    """The compiled runtime of an architecture: its entry points as ctypes functions."""

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        self._packs: dict[str, Placed] = {}
        self._tables = (ctypes.c_uint64 * len(arch.packs))()
        self._lock = threading.Lock()  # guards the three above
        self.from_cache = True
        self._templates: Templates | None = None
        self._load(CORE_PACK)
        signed, state = ctypes.c_int64, ctypes.c_void_p
        self.run_fast = ctypes.CFUNCTYPE(signed, state, signed)(self.address("run_fast"))
        self.run_steps = ctypes.CFUNCTYPE(signed, state, signed)(self.address("run_steps"))
        self.decode_address = ctypes.CFUNCTYPE(ctypes.c_uint64)(self.address("decode_address"))
        change = ctypes.CFUNCTYPE(None, state)
        self.tlb_flush = change(self.address("tlb_flush"))
        self.tlb_begin = change(self.address("tlb_begin"))
        leave = ctypes.CFUNCTYPE(None, state, ctypes.c_void_p)
        self.baseline_leave = leave(self.address("baseline_leave"))
        self.tlb_space = change(self.address("tlb_space"))
        self.turn = change(self.address("turn"))
        self.timer_loop = ctypes.CFUNCTYPE(signed, state)(self.address("timer_loop"))

    @property
    def templates(self) -> Templates:
        """What the baseline compiler copies."""
        assert self._templates is not None, "the core pack is loaded"
        return self._templates

    @property
    def tables(self) -> int:
        """The address of the packs' tables, which the decoder reads."""
        return ctypes.addressof(self._tables)

    def load_pack(self, number: int) -> None:
        """Make a pack's handlers known to the decoders of all vCPUs."""
        self._load(self._arch.packs[number])

    def address(self, name: str) -> int:
        """Where a function of the runtime lies; CodeError if there is none of that name."""
        for placed in list(self._packs.values()):
            if name in placed.symbols:
                return placed.address_of(name)
        return self._address_in_missing_pack(name)

    def holds(self, address: int) -> bool:
        """Whether code at an address is the runtime's own."""
        return any(0 <= address - p.address < p.size for p in list(self._packs.values()))

    def resolve(self, name: str) -> int:
        """What compiled code may call: the runtime's functions, and the library's few."""
        return library_address(name) if name in LIBRARY else self.address(name)

    def _address_in_missing_pack(self, name: str) -> int:
        """Code from the cache may call a routine of a pack that is not there yet."""
        for pack in self._arch.packs if name.startswith("r.") else ():
            placed = self._load(pack)  # or what another thread has loaded meanwhile
            if name in placed.symbols:
                return placed.address_of(name)
        raise CodeError(f"the compiled runtime has no {name}")

    def _load(self, pack: str) -> Placed:
        known = self._packs.get(pack)
        if known is not None:
            return known
        # Not under the lock: the compiler's answers come on a thread that may want a pack itself.
        placed = process_arena().place(self._image(pack), self.resolve)
        stencils = self._image(STENCILS + pack)
        with self._lock:
            known = self._packs.setdefault(pack, placed)
            if known is placed:
                perf_map().add_functions(placed, "lamina ")
                if self._templates is None:
                    decode = placed.address_of("h.decode")
                    self._templates = Templates(decode, self.resolve)
                self._templates.add(stencils)
                table = placed.address_of(f"forms.{pack}")
                self._tables[self._arch.packs.index(pack)] = table
        if known is not placed:  # another thread was first
            process_arena().free(placed)
        return known

    def _image(self, pack: str) -> CodeImage:
        key = _pack_key(self._arch, pack)
        image = code_store("runtime").get(key)
        if image is None:
            self.from_cache = False
            image = _compiled(self._arch, pack)
            code_store("runtime").put(key, image)
        return image


def _compiled(arch: Arch, pack: str) -> CodeImage:
    """From the compiler process; without one this process has to load LLVM."""
    if arch.source:
        answer = compiler_process().compile(Request(Kind.RUNTIME, arch.source, pack))
        if answer is not None:
            return CodeImage.decode(answer)
    from lamina.engine.threaded.packs import compile_pack

    return compile_pack(arch, pack)


@cache
def runtime(arch: Arch) -> Runtime:
    """The runtime of an architecture, compiled or loaded at the first call."""
    return Runtime(arch)
