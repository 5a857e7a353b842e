"""A region as the compiler process is asked for it.

`encode` is called in the VM's process, `handle` in the compiler's. Today the request is LLVM
assembly: a compiler process belongs to one VM, which it can harm no more than the VM itself.
"""

from lamina.base.errors import CodeError
from lamina.isa.arch import Arch


def encode(text: str) -> bytes:
    """The request for a module."""
    return text.encode()


def handle(arch: Arch, request: bytes) -> str | None:
    """The LLVM module of a request, None if that is empty; CodeError if it is none."""
    try:
        text = request.decode()
    except UnicodeDecodeError as error:
        raise CodeError(f"region: not a module ({error})") from None
    return text or None
