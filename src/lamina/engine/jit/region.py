"""Choosing what to compile together: a region of code that runs, over several guest pages.

From a hot address the region grows along static control flow, into calls and behind them, but only
over instructions that the threaded engine has already run (their records are decoded): code that
never ran is left out. Calls by a pointer go to where samples were seen behind them; other computed
jumps are guessed to go to code nearby that ran, though no instruction leads there (the cases of a
`switch`). Offsets are bytes from the start of the page in
which the region starts, so that a region holds wherever these pages lie in the guest's address
space.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.engine.jit.outline import OutlineDecoder, Step
from lamina.engine.threaded.layout import MAX_REGION

MAX_INSTRUCTIONS = 400
MAX_OWN = 340  # of the function that it begins in: the rest is for small ones that it calls
MAX_STRAIGHT = MAX_REGION - 24  # of unrolled code; runs end after exactly their budget
STRAIGHT = 20  # instructions for each that may jump, in such code
MAX_PAGES = 12
MAX_DISTANCE = 1 << 18  # pages from the first one: 1 GiB, so that distances fit 32 bits
MAX_ENTRIES = 64
MAX_JUMPS = 64
MAX_CALLS = 24  # functions that are tried
NEARBY = 1024  # bytes from a computed jump to where it may go
MAX_LENGTH = 8  # of an instruction


@dataclass(frozen=True, slots=True)
class PageView:
    """A guest page as the threaded engine knows it: its bytes, and which of them began an
    instruction that was run. `steps`: the instructions that were decoded from these bytes."""

    source: bytes
    ran: Callable[[int], bool]
    steps: dict[int, Step | None] = field(default_factory=dict)


T = TypeVar("T", bound=Step)
PageFinder = Callable[[int], PageView | None]  # by the page's distance from the start page
Called = Callable[[int], list[int]]  # by a call's offset: where it went, as offsets


@dataclass(slots=True)
class Region(Generic[T]):
    """Instructions by offset; control comes in at `entries`, of which the first is the start.
    `grouped`: neighbouring accesses share a check that they are in one page; else in one of two.
    `stays`: control stays in it for so long that coming in may cost something.
    `alone`: the machine has one vCPU, so that nobody sees its accesses in between. `jumps`: where
    its computed jumps probably go. `cut`: where straight code goes on that had no room.
    `scattered`: accesses whose page is another one than the last most of the time."""

    members: dict[int, T]
    entries: tuple[int, ...]
    pages: dict[int, bytes] = field(default_factory=dict)  # by distance: the bytes compiled
    grouped: bool = True
    stays: bool = False
    alone: bool = False
    jumps: tuple[int, ...] = ()
    cut: int | None = None
    scattered: tuple[int, ...] = ()

    @property
    def loops(self) -> bool:
        """Whether control can come back inside."""
        return bool(self.jumps_back)

    @property
    def jumps_back(self) -> set[int]:
        """The instructions inside that it jumps back to."""
        jumps = ((o, m.target) for o, m in self.members.items() if m.target is not None)
        return {o + target for o, target in jumps if target <= 0 and o + target in self.members}

    @property
    def behind_calls(self) -> list[int]:
        """Where its returns are likely to go."""
        members = self.members
        return sorted(
            o + m.length
            for o, m in members.items()
            if m.links and (m.target is not None or m.computed) and o + m.length in members
        )

    @property
    def returns(self) -> tuple[int, ...]:
        """Where it may be left to in its middle for a sample, without an entry there: behind calls,
        and where it jumps back."""
        places = dict.fromkeys((*self.behind_calls, *sorted(self.jumps_back)))
        return tuple(o for o in places if o not in self.entries)

    def head(self) -> int | None:
        """The loop's head, if the region begins in the middle of a loop that lies in two pages: at
        an instruction that only the last one of the page before leads to."""
        start, members = self.entries[0], self.members
        before = ((o, m) for o, m in members.items() if o >> PAGE_SHIFT < start >> PAGE_SHIFT)
        falls = any(m.falls and o + m.length == start for o, m in before)
        back = self.jumps_back
        if not falls or start in back or start in self.jumps:
            return None
        return max((o for o in back if o < start), default=None)


def _nowhere(call: int) -> list[int]:
    return []


def form_region(
    decoder: OutlineDecoder, find: PageFinder, start: int, called: Called = _nowhere
) -> Region[Step] | None:
    """The region that begins at byte `start` of page 0; None if there is nothing to compile."""
    return _Former(decoder, find, called).form(start)


class _Former:
    """One growing region."""

    def __init__(self, decoder: OutlineDecoder, find: PageFinder, called: Called) -> None:
        self._decoder = decoder
        self._find = find
        self._called = called
        self._pages: dict[int, PageView | None] = {}
        self._members: dict[int, Step] = {}
        self._entries: dict[int, None] = {}
        self._work: deque[int] = deque()
        self._calls: deque[int] = deque()  # functions that are called
        self._computed: list[int] = []  # jumps, not calls, that were not looked at yet
        self._jumps: dict[int, None] = {}  # where computed jumps and calls may go
        self._guessed: set[int] = set()  # of these: without a sample
        self._forks = 0  # members that may jump, about
        self._cut: int | None = None  # where straight code goes on that had no room

    def form(self, start: int) -> Region[Step] | None:
        self._entries[start] = None
        if not self._follow(start, MAX_OWN) and not self._calls:
            self._go_on(MAX_INSTRUCTIONS)
        tried: set[int] = set()
        while self._calls and len(tried) < MAX_CALLS:
            function = self._calls.popleft()
            if function not in self._members and function not in tried:
                tried.add(function)
                self._take_in(function)
        members = self._members
        if start not in members or self._crosses(start):
            return None
        heads = self._heads(start)
        for offset, m in members.items():
            if m.target is not None and (m.links or offset + m.target in heads):
                self._entries.setdefault(offset + m.target)
            outside = m.target is None or offset + m.target not in members
            if (m.links and outside) or m.ends or _only_comes_back(m):
                # What comes back from elsewhere comes in here.
                self._entries.setdefault(offset + m.length)
        entries = [e for e in self._entries if e in members and not self._crosses(e)]
        touched = {o >> PAGE_SHIFT for o in members}
        touched |= {(o + m.length - 1) >> PAGE_SHIFT for o, m in members.items()}
        pages = {p: view.source for p in touched if (view := self._page(p)) is not None}
        entries = entries[:MAX_ENTRIES]
        cut = None if self._cut in members else self._cut
        return Region(members, tuple(entries), pages, jumps=self._probable(start), cut=cut)

    def _heads(self, start: int) -> set[int]:
        """Where loops begin, as control comes to them from the start: each cycle has one of these.
        An entry in its middle would make it a loop that LLVM does not take for one."""
        heads, done, path, work = set[int](), set[int](), set[int](), [(start, False)]
        while work:
            offset, over = work.pop()
            if over:
                path.discard(offset)
                continue
            if offset in done or offset not in self._members:
                continue
            done.add(offset)
            path.add(offset)
            work.append((offset, True))
            for after in ways_on(offset, self._members[offset]):
                if after in path:
                    heads.add(after)
                else:
                    work.append((after, False))
        return heads

    def _probable(self, start: int) -> tuple[int, ...]:
        """Where the region's computed jumps and calls probably go."""
        members = self._members
        jumps = [o for o in self._jumps if o in members]
        # What was seen behind a call may have been seen when it was over.
        inside = {w for o, m in members.items() for w in ways_on(o, m) if w != _called_by(o, m)}
        jumps = [o for o in jumps if o in self._guessed or o not in inside]
        if self._guessed:
            jumps.append(start)  # which a sample saw
        return tuple(sorted(set(jumps[:MAX_JUMPS])))

    def _follow(self, start: int, most: int) -> bool:
        """Take all that belongs to a function, but what it calls; False if that is too much."""
        self._work = deque((start,))
        return self._go_on(most)

    def _go_on(self, most: int) -> bool:
        while self._work or self._guess():
            offset = self._work.popleft()
            if offset in self._members:
                continue
            if self._is_full(most):
                return False
            self._grow(offset, most)
        return True

    def _take_in(self, function: int) -> None:
        """Take a function that is called, as a whole or not at all: control that leaves a region in
        the middle of a function would go on where no region begins."""
        before = (
            *(self._members.copy(), self._entries.copy(), self._jumps.copy()),
            *(self._calls.copy(), self._pages.copy(), self._cut, self._forks),
        )
        if not self._follow(function, MAX_INSTRUCTIONS):
            self._members, self._entries, self._jumps, self._calls, self._pages = before[:5]
            self._cut, self._forks = before[5:]
            self._computed.clear()

    def _crosses(self, offset: int) -> bool:
        """Whether a member lies in two pages: no record leads to such a one."""
        return offset % PAGE_SIZE + self._members[offset].length > PAGE_SIZE

    def _page(self, number: int) -> PageView | None:
        if abs(number) >= MAX_DISTANCE:
            return None
        if number not in self._pages:
            if sum(view is not None for view in self._pages.values()) >= MAX_PAGES:
                return None
            self._pages[number] = self._find(number)
        return self._pages[number]

    def _is_full(self, most: int) -> bool:
        """Whether there is no room; LLVM takes more than its share for large regions with jumps."""
        size = len(self._members)
        return size >= most and (size >= MAX_STRAIGHT or self._forks * STRAIGHT > size)

    def _grow(self, offset: int, most: int) -> None:
        """Follow straight code from `offset`, noting where else control may go."""
        while offset not in self._members:
            if self._is_full(most):
                self._work.append(offset)
                self._cut = offset
                return
            m = self._decode(offset)
            if m is None:
                return
            m = settled(offset, m, self._members.get)
            self._members[offset] = m
            self._forks += m.target is not None or m.computed
            if m.computed and m.links:
                targets = self._called(offset)
                self._jumps.update(dict.fromkeys(targets))
                self._calls.extend(targets)
            elif m.computed:
                self._computed.append(offset)
            following = offset + m.length
            if m.target is not None:
                called = _called_by(offset, m) is not None
                (self._calls if called else self._work).append(offset + m.target)
            if m.links or _only_comes_back(m):
                self._work.append(following)
            if not m.falls:
                return
            offset = following

    def _guess(self) -> bool:
        """Go on where computed jumps may lead, the nearest first; False if there is nothing."""
        found: dict[int, int] = {}
        while self._computed:
            jump = self._computed.pop()
            for offset in self._orphans(jump):
                distance = abs(offset - jump)
                found[offset] = min(found.get(offset, distance), distance)
        self._jumps.update(dict.fromkeys(found))
        self._guessed.update(found)
        found = {o: distance for o, distance in found.items() if o not in self._members}
        self._entries.update(dict.fromkeys(found))
        self._work.extend(sorted(found, key=found.__getitem__))
        return bool(found)

    def _orphans(self, jump: int) -> list[int]:
        """What ran near a jump, in its page, where no instruction that ran leads to."""
        begin = jump & -PAGE_SIZE
        first, end = max(begin, jump - NEARBY), min(begin + PAGE_SIZE, jump + NEARBY)
        ran = {o: m for o in range(first, end, 2) if (m := self._decode(o)) is not None}
        ran = {o: settled(o, m, ran.get) for o, m in ran.items()}
        led = {after for o, m in ran.items() for after in ways_on(o, m)}
        # What is only an entry of another region did not run here, nor did what comes behind it.
        return [
            o
            for o, m in ran.items()
            if o not in led
            and (o >= first + MAX_LENGTH or first == begin)
            and any(after in ran or not first <= after < end for after in ways_on(o, m))
        ]

    def _decode(self, offset: int) -> Step | None:
        page, at = self._page(offset >> PAGE_SHIFT), offset & (PAGE_SIZE - 1)
        if page is None or not page.ran(at):
            return None
        if at in page.steps:
            return page.steps[at]
        decoder = self._decoder
        step = instruction_at(decoder.decode, decoder.arch.insn_length, self._source, offset)
        if at + MAX_LENGTH <= PAGE_SIZE:  # else it may depend on the page behind
            page.steps[at] = step
        return step

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


def instructions_at(
    decode: Callable[[int, int], T | None],
    insn_length: Callable[[int], int],
    source: Callable[[int], bytes | None],
    offsets: Iterable[int],
) -> dict[int, T]:
    """Those at several offsets, as `instruction_at` has them and far calls are `settled`; where
    there is none, none."""
    found = ((o, instruction_at(decode, insn_length, source, o)) for o in offsets)
    members = {o: m for o, m in found if m is not None}
    return {o: settled(o, m, members.get) for o, m in members.items()}


def settled(offset: int, m: T, at: Callable[[int], T | None]) -> T:
    """An instruction of which the jump probably goes to an address that the one before it, by
    `at(offset)`, has made: far calls are such pairs."""
    if m.by is None:
        return m
    for length in range(2, MAX_LENGTH + 1, 2):
        made = at(offset - length)
        if made is not None and made.length == length and made.makes is not None:
            if made.makes[:2] == m.by[:2]:
                return m.to((made.makes[2] + m.by[2] & -2) - length)
            return m
    return m


def ways_on(offset: int, m: Step) -> list[int]:
    """Where control goes from an instruction, or comes back to behind it."""
    ways = [] if m.target is None else [offset + m.target]
    if m.falls or m.links or _only_comes_back(m):
        ways.append(offset + m.length)
    return ways


def _called_by(offset: int, m: Step) -> int | None:
    """The function that an instruction calls, or goes on in as its last deed."""
    calls = m.target is not None and (m.links or m.by is not None)
    return offset + m.target if calls and m.target is not None else None


def _only_comes_back(m: Step) -> bool:
    """Whether what follows an instruction runs after an exception: an environment call."""
    return not m.falls and m.target is None and not m.indirect
