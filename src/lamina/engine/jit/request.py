"""A region as the compiler process is asked for it: the bytes of a guest page and a place in it.

`encode` is called in the VM's process, `handle` in the compiler's, which forms the region from the
bytes by itself: what a VM asks for decides nothing but which of its own code is compiled.
"""

import struct
from functools import cache

from lamina.base.bits import PAGE_SIZE
from lamina.base.errors import CodeError
from lamina.engine.jit.region import Lowerable, form_region
from lamina.engine.jit.writer import region_module
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.arch import Arch

ENTRY = "region"  # the function of the image

_HEAD = struct.Struct("<HB")  # offset in the page, loops only


def encode(source: bytes, offset: int, loops_only: bool) -> bytes:
    """The request for the region at `offset` of a page with these bytes."""
    return _HEAD.pack(offset, loops_only) + source


def handle(arch: Arch, request: bytes) -> str | None:
    """The LLVM module of a request, with one function `ENTRY`; None if nothing is to be compiled.
    CodeError for what is no request."""
    if len(request) != _HEAD.size + PAGE_SIZE:
        raise CodeError(f"region: a request of {len(request)} bytes")
    offset, loops_only = _HEAD.unpack_from(request)
    if offset >= PAGE_SIZE or offset % 2:
        raise CodeError(f"region: there is no code at offset {offset}")
    region = form_region(arch, _lowerable(arch), request[_HEAD.size :], offset)
    if region is None or (loops_only and not region.loops):
        return None
    return region_module([ENTRY], [region], arch, ThreadedLayout(arch))


@cache
def _lowerable(arch: Arch) -> Lowerable:
    return Lowerable(arch)
