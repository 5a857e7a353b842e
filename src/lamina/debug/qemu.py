"""QEMU as the other side of a comparison: one stopped guest, stepped through its gdb stub.

QEMU's `virt` board with our RAM: a file that both can see, so that the program is written there
byte for byte as our machine has it, and memory can be compared. Called by `debug/against_qemu.py`.
It owns the process, which it kills in `close` and which the kernel kills if we die first, the
socket and the file.
"""

import ctypes
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from lamina.base.errors import HostError
from lamina.bus.memory import RamRegion
from lamina.debug.gdb_client import PC, X_REGISTERS, GdbClient

PROGRAM = "qemu-system-riscv64"
START_SECONDS = 20.0
PIECE = 1 << 16  # bytes of RAM copied or compared at a time
PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
STEP_WITH_INTERRUPTS = 1 | 4  # QEMU's SSTEP_ENABLE and SSTEP_NOTIMER, without SSTEP_NOIRQ
QXFER = "qXfer:features:read"

# The harts of the virt board, in QEMU's words. What a version lacks is an illegal instruction
# there, and so shows as a difference.
CPU_OLD = "rv64,h=off,Zfh=on,zbc=on,zbkb=on,zbkx=on,svnapot=on,svpbmt=on,svinval=on,sstc=on"
CPU_SINCE_9_1 = (
    "rv64,v=off,h=off,zfa=on,zfh=on,zicond=on,zcb=on,zacas=on,zabha=on,zawrs=on,zbc=on,zbkb=on,"
    "zbkc=on,zbkx=on,svade=off,svadu=on,svnapot=on,svpbmt=on,svinval=on,zicboz=on,zicbom=on,"
    "sstc=on,zimop=on,zcmop=on"
)

_REGISTER = re.compile(r"<reg\s([^>]*)>")
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_libc = ctypes.CDLL(None)


class Qemu:
    """A QEMU that stands still between steps."""

    def __init__(self, program: str, ram: RamRegion) -> None:
        """Start it with a copy of `ram`, the only CPU at its boot ROM; HostError if it cannot."""
        path = shutil.which(program)
        if path is None:
            raise HostError(f"{program}: not found; install QEMU for RISC-V or give --qemu PROG")
        self._process: subprocess.Popen[bytes] | None = None
        self._client: GdbClient | None = None
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="lamina-qemu-", dir=_memory_folder())
        except OSError as error:
            raise HostError(f"QEMU's memory: {error}") from None
        try:
            self._start(path, ram)
            self._csrs = self._find_csrs()
            self._stub.ask(f"Qqemu.sstep={STEP_WITH_INTERRUPTS:x}")
        except OSError as error:
            self.close()
            raise HostError(f"{program}: {error}") from None
        except BaseException:
            self.close()
            raise

    def _start(self, path: str, ram: RamRegion) -> None:
        folder = Path(self._folder.name)
        door, self._ram, self._errors = folder / "gdb", folder / "ram", folder / "errors"
        with self._ram.open("wb") as file:
            file.truncate(ram.size)
        backend = f"memory-backend-file,id=ram,mem-path={self._ram},share=on,size={ram.size}"
        command = [path, "-M", "virt,memory-backend=ram", "-object", backend]
        command += ["-m", f"{ram.size}B", "-cpu", _cpu(path), "-bios", "none", "-S", "-no-reboot"]
        command += ["-display", "none", "-serial", "none", "-monitor", "none", "-net", "none"]
        command += ["-gdb", f"unix:{door},server=on,wait=off"]
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for us; we kill it then
                preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        self._client = self._connect(door)
        self._copy(ram)

    def _connect(self, door: Path) -> GdbClient:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return GdbClient(door)
            except HostError:
                if self.ended or time.monotonic() > deadline:
                    raise HostError(f"QEMU did not start: {self._last_words()}") from None
            time.sleep(0.01)

    def _copy(self, ram: RamRegion) -> None:
        """Fill the guest's RAM, which has no more than QEMU's device tree so far."""
        with self._ram.open("r+b") as file:
            file.truncate(0)
            file.truncate(ram.size)
            for at in range(0, ram.size, PIECE):
                piece = bytes(ram.view[at : at + PIECE])
                if any(piece):
                    file.seek(at)
                    file.write(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill it, and remove what it used."""
        if self._client is not None:
            self._client.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    # -- running ---------------------------------------------------------------------------------
    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is no more: its guest has switched the machine off, or it died."""
        return self._process is None or self._process.poll() is not None

    def step(self) -> bool:
        """Run one instruction, or take one trap; False if the guest has ended its machine."""
        try:
            self._stub.step()
        except HostError:
            assert self._process is not None
            try:
                self._process.wait(1.0)
            except subprocess.TimeoutExpired:
                raise
            return False
        return True

    # -- state -----------------------------------------------------------------------------------
    @property
    def _stub(self) -> GdbClient:
        assert self._client is not None
        return self._client

    def registers(self) -> list[int]:
        """x0 to x31 and pc."""
        return self._stub.registers()

    def set_registers(self, values: list[int]) -> None:
        """x0 to x31 and pc."""
        for number, value in enumerate(values[: X_REGISTERS + 1]):
            self._stub.set_register(number, value)

    def f(self, index: int) -> int:
        """An f register."""
        return self._stub.register(PC + 1 + index)

    def set_f(self, index: int, value: int) -> None:
        """Change an f register."""
        self._stub.set_register(PC + 1 + index, value)

    @property
    def csrs(self) -> frozenset[str]:
        """Names of the CSRs that it shows."""
        return frozenset(self._csrs)

    def csr(self, name: str) -> int:
        """A CSR, one of `csrs`."""
        return self._stub.register(self._csrs[name])

    def memory_difference(self, ram: RamRegion) -> tuple[int, int, int] | None:
        """(address, word of `ram`, word here) of the first doubleword that differs."""
        with self._ram.open("rb") as file:
            for at in range(0, ram.size, PIECE):
                ours, theirs = bytes(ram.view[at : at + PIECE]), file.read(PIECE)
                if ours != theirs:
                    break
            else:
                return None
        for word in range(0, PIECE, 8):
            left, right = (int.from_bytes(s[word : word + 8], "little") for s in (ours, theirs))
            if left != right:
                return ram.base + at + word, left, right
        raise HostError("QEMU: its memory is a file of another size")

    def write(self, gpa: int, data: bytes) -> None:
        """Change guest memory, through the stub (which makes QEMU forget its translation)."""
        self._stub.ask(f"M{gpa:x},{len(data):x}:{data.hex()}")

    # -- what the stub says of itself ------------------------------------------------------------
    def _find_csrs(self) -> dict[str, int]:
        """The stub's numbers of the CSRs, from its description of the target."""
        self._stub.ask("qSupported:xmlRegisters=riscv")
        if "riscv-csr.xml" not in self._stub.read_object(QXFER, "target.xml"):
            return {}
        found, number = {}, -1
        for text in _REGISTER.findall(self._stub.read_object(QXFER, "riscv-csr.xml")):
            attributes = dict(_ATTRIBUTE.findall(text))
            given = attributes.get("regnum", "")
            number = int(given) if given.isdecimal() else number + 1
            found[attributes.get("name", "")] = number
        return found

    def _last_words(self) -> str:
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _cpu(path: str) -> str:
    """The CPU for this version of QEMU."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{path}: {error}") from None
    version = re.search(rb"version (\d{1,4})\.(\d{1,4})", done.stdout)
    if version is None:
        raise HostError(f"{path}: is not a QEMU")
    return CPU_SINCE_9_1 if (int(version[1]), int(version[2])) >= (9, 1) else CPU_OLD


def _memory_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
