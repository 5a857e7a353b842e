"""Choosing what to compile together: a region of code that runs, over several guest pages.

From a hot address the region grows along static control flow, into calls and behind them, but only
over instructions that the threaded engine has already run (their records are decoded): code that
never ran is left out. Offsets are bytes from the start of the page in which the region starts, so
that a region holds wherever these pages lie in the guest's address space.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.engine.jit.outline import OutlineDecoder, Step

MAX_INSTRUCTIONS = 1000
MAX_PAGES = 12
MAX_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class PageView:
    """A guest page as the threaded engine knows it: its bytes, and which of them began an
    instruction that was run."""

    source: bytes
    ran: Callable[[int], bool]


T = TypeVar("T", bound=Step)
PageFinder = Callable[[int], PageView | None]  # by the page's distance from the start page


@dataclass(slots=True)
class Region(Generic[T]):
    """Instructions by offset; control comes in at `entries`, of which the first is the start.
    `grouped`: neighbouring accesses share a check, which pays unless they lie across pages.
    `alone`: the machine has one vCPU, so that nobody sees its accesses in between."""

    members: dict[int, T]
    entries: tuple[int, ...]
    pages: dict[int, bytes] = field(default_factory=dict)  # by distance: the bytes compiled
    grouped: bool = True
    alone: bool = False

    @property
    def loops(self) -> bool:
        """Whether control can come back inside."""
        return any(
            m.target is not None and m.target <= 0 and o + m.target in self.members
            for o, m in self.members.items()
        )


def form_region(decoder: OutlineDecoder, find: PageFinder, start: int) -> Region[Step] | None:
    """The region that begins at byte `start` of page 0; None if there is nothing to compile."""
    return _Former(decoder, find).form(start)


class _Former:
    """One growing region."""

    def __init__(self, decoder: OutlineDecoder, find: PageFinder) -> None:
        self._decoder = decoder
        self._find = find
        self._pages: dict[int, PageView | None] = {}
        self._members: dict[int, Step] = {}
        self._entries: dict[int, None] = {}
        self._work: deque[int] = deque()

    def form(self, start: int) -> Region[Step] | None:
        self._entries[start] = None
        self._work.append(start)
        while self._work and len(self._members) < MAX_INSTRUCTIONS:
            self._grow(self._work.popleft())
        members = self._members
        if start not in members or self._crosses(start):
            return None
        for offset, m in members.items():
            if m.target is not None and m.target <= 0:
                self._entries.setdefault(offset + m.target)
            outside = m.target is None or offset + m.target not in members
            if (m.links and outside) or m.ends or _only_comes_back(m):
                # What comes back from elsewhere comes in here.
                self._entries.setdefault(offset + m.length)
        entries = [e for e in self._entries if e in members and not self._crosses(e)]
        touched = {o >> PAGE_SHIFT for o in members}
        touched |= {(o + m.length - 1) >> PAGE_SHIFT for o, m in members.items()}
        pages = {p: view.source for p in touched if (view := self._page(p)) is not None}
        return Region(members, tuple(entries[:MAX_ENTRIES]), pages)

    def _crosses(self, offset: int) -> bool:
        """Whether a member lies in two pages: no record leads to such a one."""
        return offset % PAGE_SIZE + self._members[offset].length > PAGE_SIZE

    def _page(self, number: int) -> PageView | None:
        if number not in self._pages:
            if sum(view is not None for view in self._pages.values()) >= MAX_PAGES:
                return None
            self._pages[number] = self._find(number)
        return self._pages[number]

    def _grow(self, offset: int) -> None:
        """Follow straight code from `offset`, noting where else control may go."""
        while len(self._members) < MAX_INSTRUCTIONS and offset not in self._members:
            m = self._decode(offset)
            if m is None:
                return
            self._members[offset] = m
            following = offset + m.length
            if m.target is not None:
                self._work.append(offset + m.target)
            if m.links or _only_comes_back(m):
                self._work.append(following)
            if not m.falls:
                return
            offset = following

    def _decode(self, offset: int) -> Step | None:
        page = self._page(offset >> PAGE_SHIFT)
        if page is None or not page.ran(offset & (PAGE_SIZE - 1)):
            return None
        decoder = self._decoder
        return instruction_at(decoder.decode, decoder.arch.insn_length, self._source, offset)

    def _source(self, number: int) -> bytes | None:
        page = self._page(number)
        return None if page is None else page.source


def instruction_at(
    decode: Callable[[int, int], T | None],
    insn_length: Callable[[int], int],
    source: Callable[[int], bytes | None],
    offset: int,
) -> T | None:
    """The instruction at an offset in pages by number, as `decode(bits, length)` has it; None if
    there is none, or a page lacks."""
    page, at = source(offset >> PAGE_SHIFT), offset & (PAGE_SIZE - 1)
    if page is None or offset % 2:
        return None
    length = insn_length(int.from_bytes(page[at : at + 2], "little"))
    raw = page[at : at + length]
    if len(raw) < length:
        after = source((offset >> PAGE_SHIFT) + 1)
        if after is None:
            return None
        raw += after[: length - len(raw)]
    return decode(int.from_bytes(raw, "little"), length)


def _only_comes_back(m: Step) -> bool:
    """Whether what follows an instruction runs after an exception: an environment call."""
    return not m.falls and m.target is None and not m.indirect
