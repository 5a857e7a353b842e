"""A client of the gdb remote serial protocol, for single-stepping another emulator.

"Debugging with GDB", appendix "Remote Protocol": packets `$data#checksum`, acknowledged by `+`.
Campaigns of random programs use it to find the instruction at which QEMU goes another way; it
speaks to QEMU's stub over a Unix socket. It owns its socket and nothing else.
"""

import socket
from pathlib import Path
from types import TracebackType

from lamina.base.errors import HostError

MAX_PACKET = 1 << 16
MAX_OBJECT, PIECE = 1 << 20, 0x800  # of read_object; what fits into every stub's packets
X_REGISTERS, PC = 32, 32  # numbers of RISC-V's registers: x0..x31, then pc


class GdbClient:
    """One connection to a stub."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        """Connect to the Unix socket at `path`; HostError if nobody listens."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._buffer = b""
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise HostError(f"gdb stub at {path}: {error}") from None

    def __enter__(self) -> "GdbClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # -- what one asks ---------------------------------------------------------------------------
    def registers(self) -> list[int]:
        """x0 to x31 and pc."""
        data = self._hex(self.ask("g"))
        if len(data) < 8 * (PC + 1):
            raise HostError("gdb stub: too few registers")
        return [int.from_bytes(data[8 * i : 8 * i + 8], "little") for i in range(PC + 1)]

    def register(self, number: int) -> int:
        """One register by the stub's number."""
        return int.from_bytes(self._hex(self.ask(f"p{number:x}")), "little")

    def set_register(self, number: int, value: int) -> None:
        """Change a 64-bit register."""
        self.ask(f"P{number:x}={value.to_bytes(8, 'little').hex()}")

    def read_object(self, kind: str, name: str) -> str:
        """A document that the stub has, such as `target.xml`, in as many pieces as it takes."""
        text = ""
        while len(text) < MAX_OBJECT:
            piece = self.ask(f"{kind}:{name}:{len(text):x},{PIECE:x}")
            text += piece[1:]
            if not piece.startswith("m") or len(piece) == 1:
                break
        return text

    def memory(self, address: int, length: int) -> bytes:
        """Guest memory at a virtual address."""
        return self._hex(self.ask(f"m{address:x},{length:x}"))

    def step(self) -> None:
        """Run one instruction."""
        reply = self.ask("vCont;s:1")
        if not reply.startswith(("S", "T")):
            raise HostError(f"gdb stub: no stop after a step: {reply[:40]!r}")

    # -- packets ---------------------------------------------------------------------------------
    def ask(self, command: str) -> str:
        """Send a packet and return the answer's data; HostError for an error reply."""
        body = command.encode()
        try:
            self._socket.sendall(b"$" + body + b"#%02x" % (sum(body) & 0xFF))
            reply = self._packet()
            self._socket.sendall(b"+")
        except OSError as error:
            raise HostError(f"gdb stub: {error}") from None
        if reply.startswith("E") and len(reply) == 3:
            raise HostError(f"gdb stub: {command[:20]!r} failed with {reply}")
        return reply

    def _packet(self) -> str:
        while (
            (start := self._buffer.find(b"$")) < 0
            or (end := self._buffer.find(b"#", start)) < 0
            or len(self._buffer) < end + 3
        ):
            self._receive()
        body, self._buffer = self._buffer[start + 1 : end], self._buffer[end + 3 :]
        return _expanded(body).decode("latin-1")

    def _receive(self) -> None:
        data = self._socket.recv(4096)
        if not data or len(self._buffer) > MAX_PACKET:
            raise HostError("gdb stub: the connection ended inside a packet")
        self._buffer += data

    @staticmethod
    def _hex(text: str) -> bytes:
        try:
            return bytes.fromhex(text.replace("x", "0"))  # x: a value that is not known
        except ValueError:
            raise HostError(f"gdb stub: not a number: {text[:40]!r}") from None


def _expanded(body: bytes) -> bytes:
    """Undo run-length encoding: `c*n` is c and n - 29 more of it."""
    out = bytearray()
    i = 0
    while i < len(body):
        if body[i] == ord("*") and out and i + 1 < len(body):
            out += out[-1:] * max(body[i + 1] - 29, 0)
            i += 2
        else:
            out.append(body[i])
            i += 1
    return bytes(out)
