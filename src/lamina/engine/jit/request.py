"""A region as the compiler process is asked for it: bytes of guest pages, and places in them.

`encode` is called in the VM's process, `handle` in the compiler's, which decodes the instructions
by itself: what a VM asks for decides nothing but which of its own code is compiled.
"""

import struct
from functools import cache

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.base.errors import CodeError
from lamina.engine.jit.flow import Decoded, Decoder
from lamina.engine.jit.outline import Step
from lamina.engine.jit.region import (
    MAX_ENTRIES,
    MAX_JUMPS,
    MAX_PAGES,
    MAX_STRAIGHT,
    Region,
    instructions_at,
)
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.arch import Arch

ENTRY = "region"  # the function of the image

# Numbers of pages, entries, members, jumps, scattered accesses; `grouped`, `stays`, `alone`.
_HEAD = struct.Struct("<HHHHHBBB")
_OFFSET = struct.Struct("<i")


def encode(region: Region[Step], alone: bool = False) -> bytes:
    """The request for a region, for machines of one vCPU or for all."""
    pages, entries, members = region.pages, region.entries, region.members
    places = (*entries, *members, *region.jumps, *region.scattered)
    counts = len(pages), len(entries), len(members), len(region.jumps), len(region.scattered)
    parts = [_HEAD.pack(*counts, region.grouped, region.stays, alone)]
    for number, source in pages.items():
        parts += [_OFFSET.pack(number), source]
    parts += [_OFFSET.pack(offset) for offset in places]
    return b"".join(parts)


def handle(arch: Arch, request: bytes) -> str:
    """The LLVM module of a request, with one function `ENTRY`. CodeError for what is no request."""
    from lamina.engine.jit.writer import region_module  # which the VM's process does not need

    return region_module(ENTRY, decode(_decoder(arch), request), arch, ThreadedLayout(arch))


def decode(decoder: Decoder, request: bytes) -> Region[Decoded]:
    """The region that a request asks for."""
    if len(request) < _HEAD.size:
        raise CodeError(f"region: a request of {len(request)} bytes")
    head = _HEAD.unpack_from(request)
    page_count, entry_count, member_count, jump_count, scattered_count = head[:5]
    grouped, stays, alone = map(bool, head[5:])
    page_bytes = page_count * (_OFFSET.size + PAGE_SIZE)
    size = _HEAD.size + page_bytes + sum(head[1:5]) * _OFFSET.size
    few = page_count <= MAX_PAGES + 1 and 0 < entry_count <= MAX_ENTRIES
    few = few and jump_count <= MAX_JUMPS
    if not few or member_count > MAX_STRAIGHT or len(request) != size:
        raise CodeError(f"region: a request of {len(request)} bytes, where {size} are due")
    pages = {}
    for i in range(page_count):
        at = _HEAD.size + i * (_OFFSET.size + PAGE_SIZE)
        (number,) = _OFFSET.unpack_from(request, at)
        pages[number] = request[at + _OFFSET.size : at + _OFFSET.size + PAGE_SIZE]
    offsets = [o for (o,) in _OFFSET.iter_unpack(request[_HEAD.size + page_bytes :])]
    due = offsets[entry_count : entry_count + member_count]
    members = instructions_at(decoder.decode, decoder.arch.insn_length, pages.get, due)
    for offset in due:
        if offset not in members:
            raise CodeError(f"region: there is no instruction at {offset}")
    entries = tuple(offsets[:entry_count])
    if any(e not in members or e % PAGE_SIZE + members[e].length > PAGE_SIZE for e in entries):
        raise CodeError("region: an entry is at no instruction")
    if any(o >> PAGE_SHIFT not in pages for o in members):
        raise CodeError("region: an instruction is in no page")
    jumps = tuple(offsets[entry_count + member_count :][:jump_count])
    if any(o not in members for o in jumps):
        raise CodeError("region: a jump goes to no instruction")
    scattered = tuple(offsets[entry_count + member_count + jump_count :])
    if scattered_count > member_count or any(o not in members for o in scattered):
        raise CodeError("region: a scattered access is no instruction")
    return Region(members, entries, pages, grouped, stays, alone, jumps, scattered=scattered)


@cache
def _decoder(arch: Arch) -> Decoder:
    return Decoder(arch)
