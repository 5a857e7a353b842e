"""What the VM's process and its compiler process say to each other, over a pair of pipes.

A message is its length in four bytes, then the body. Requests and answers begin with the request's
number; answers come in any order. Both sides check lengths: a process that answers garbage is not
listened to any more.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from lamina.base.bits import U32
from lamina.base.errors import CodeError

MAX_MESSAGE = 128 << 20

_LENGTH = struct.Struct("<I")
_REQUEST = struct.Struct("<QBHH")  # number, kind, bytes of the architecture's and the pack's name
_ANSWER = struct.Struct("<QBI")  # number, outcome, microseconds


class Kind(IntEnum):
    """What is wanted; the lower, the more urgent: a guest waits for its runtime."""

    RUNTIME = 0
    REGION = 1


class Outcome(IntEnum):
    """What came of it."""

    IMAGE = 0
    NOTHING = 1  # there is nothing to compile
    ERROR = 2  # the text says why


@dataclass(frozen=True, slots=True)
class Request:
    """Compile for an architecture (`Arch.source`): a pack of its runtime, or a region as
    `lamina.engine.jit.request` describes it."""

    kind: Kind
    arch: str
    pack: str = ""
    region: bytes = b""

    def encode(self, number: int) -> bytes:
        arch, pack = self.arch.encode(), self.pack.encode()
        head = _REQUEST.pack(number, self.kind, len(arch), len(pack))
        return head + arch + pack + self.region

    @staticmethod
    def decode(body: bytes) -> tuple[int, "Request"]:
        """(number, request); CodeError if it is none."""
        try:
            number, kind, arch_size, pack_size = _REQUEST.unpack_from(body)
            at = _REQUEST.size
            arch = body[at : at + arch_size].decode()
            at += arch_size
            pack = body[at : at + pack_size].decode()
            return number, Request(Kind(kind), arch, pack, body[at + pack_size :])
        except (struct.error, ValueError) as error:
            raise CodeError(f"compiler: not a request ({error})") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: an encoded image, nothing, or why not."""

    number: int
    outcome: Outcome
    content: bytes = b""
    seconds: float = 0.0  # of CPU time that it took

    def encode(self) -> bytes:
        microseconds = min(int(self.seconds * 1e6), U32)
        return _ANSWER.pack(self.number, self.outcome, microseconds) + self.content

    @staticmethod
    def decode(body: bytes) -> "Answer":
        """CodeError if it is no answer."""
        try:
            number, outcome, microseconds = _ANSWER.unpack_from(body)
            return Answer(number, Outcome(outcome), body[_ANSWER.size :], microseconds / 1e6)
        except (struct.error, ValueError) as error:
            raise CodeError(f"compiler: not an answer ({error})") from None


def send(pipe: BinaryIO, body: bytes) -> None:
    """One message; OSError if nobody listens."""
    pipe.write(_LENGTH.pack(len(body)) + body)
    pipe.flush()


def receive(pipe: BinaryIO) -> bytes | None:
    """The next message's body; None at the end; CodeError for what is no message."""
    head = pipe.read(_LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise CodeError("compiler: a message is cut short")
    (size,) = _LENGTH.unpack(head)
    if size > MAX_MESSAGE:
        raise CodeError(f"compiler: a message of {size} bytes")
    body = pipe.read(size)
    if len(body) < size:
        raise CodeError("compiler: a message is cut short")
    return body
