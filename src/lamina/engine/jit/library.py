"""The compiled regions of a process, by the contents of the guest pages that they begin in.

Regions are found by a cryptographic digest of a page's bytes, so that equal code is compiled once,
whichever machine, process or run of Lamina it is in: what is compiled goes to the store on disk,
and what is not in memory is looked for there. In memory a digest has a number, which compiled code
compares where control moves into another page: no guest can make two different pages equal.

An image that is kept has a description behind its code: the digests of its pages, its entries.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE
from lamina.base.errors import CodeError
from lamina.engine.code.arena import CodeArenaFull, Placed, process_arena
from lamina.engine.code.image import CodeImage
from lamina.engine.code.perf_map import perf_map
from lamina.engine.code.store import CodeStore
from lamina.engine.jit.outline import Step
from lamina.engine.jit.region import MAX_DISTANCE, MAX_ENTRIES, MAX_PAGES, Region
from lamina.engine.jit.request import ENTRY
from lamina.engine.threaded.layout import MAX_REGION

log = logging.getLogger(__name__)
ABOUT = "about"  # the symbol of its description
CONTENT = "content."  # with a page's distance: the symbol for the number of its contents
MAX_BYTES = 128 << 20  # of regions in memory
MAX_NUMBERS = 1 << 20  # of different pages; beyond, what is new is not compiled
HALF = 32  # hex digits: a key is half of a page's digest, and half of the region's


@dataclass(frozen=True, slots=True)
class Compiled:
    """A region in memory: `contents` are the numbers of its pages by distance. It is given up when
    the library is of another generation."""

    about: "About"
    generation: int
    address: int
    contents: dict[int, int]
    code_bytes: int

    @property
    def entries(self) -> tuple[int, ...]:
        """As `Region.entries`."""
        return self.about.entries

    @property
    def grouped(self) -> bool:
        """As `Region.grouped`."""
        return self.about.grouped

    def entries_in(self, content: int) -> Iterator[tuple[int, int]]:
        """(number, offset in the page) of each entry in pages with these contents."""
        for i, entry in enumerate(self.entries):
            if self.contents[entry >> PAGE_SHIFT] == content:
                yield i, entry & (1 << PAGE_SHIFT) - 1


@dataclass(frozen=True, slots=True)
class About:
    """A region's description: pages' digests by distance; as offsets its entries, where control
    comes back to in its middle, its instructions, where its computed jumps go and which accesses
    are scattered; whether accesses are grouped, and whether it keeps registers."""

    pages: dict[int, str]
    entries: tuple[int, ...]
    returns: tuple[int, ...]
    members: tuple[int, ...]
    jumps: tuple[int, ...]
    scattered: tuple[int, ...]
    grouped: bool
    stays: bool

    def encode(self) -> bytes:
        """As it is kept behind the code."""
        pages = {str(n): digest for n, digest in sorted(self.pages.items())}
        places = [self.entries, self.returns, self.members, self.jumps, self.scattered]
        return json.dumps([pages, *places, self.grouped, self.stays]).encode()

    @classmethod
    def decode(cls, raw: bytes) -> "About":
        """What was kept; CodeError if that is none."""
        try:
            pages, *lists, grouped, stays = json.loads(raw)
            digests = {int(n): str(digest) for n, digest in pages.items()}
            entries, returns, members, jumps, scattered = map(tuple, lists)
            kinds = bool(grouped), bool(stays)
            about = cls(digests, entries, returns, members, jumps, scattered, *kinds)
            places = [*entries, *returns, *members, *jumps, *scattered]
            whole = all(isinstance(o, int) and o >> PAGE_SHIFT in about.pages for o in places)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CodeError(f"a region without a description: {error}") from None
        limits = len(returns) <= MAX_REGION >= len(members) and len(about.pages) <= MAX_PAGES + 1
        limits = limits and all(abs(n) < MAX_DISTANCE for n in about.pages)
        if not (whole and limits and 0 < len(entries) <= MAX_ENTRIES):
            raise CodeError("a region's description is not of a region")
        return about


class RegionLibrary:
    """All regions of one architecture that are known. Any thread may call it."""

    def __init__(self, version: str, resolve: Callable[[str], int], store: CodeStore) -> None:
        self._version = version  # what else the code depends on: Lamina, LLVM, the CPU
        self._resolve = resolve
        self._store = store
        self._lock = threading.RLock()  # guards all below
        self._numbers: dict[str, int] = {}
        self._digests: list[str] = [""]
        self._at: dict[int, list[Compiled]] = {}
        self._returns: dict[int, set[int]] = {}  # by contents: `Region.returns`
        self._inside: dict[int, int] = {}  # by contents: instructions of regions, as bits
        self._staying: dict[int, int] = {}  # the same of regions that control stays in
        self.by_address: dict[int, Compiled] = {}
        self.from_disk = self.code_bytes = 0  # regions that were loaded, bytes of all
        self._known: set[str] = set()
        self._compiled: dict[str, Compiled] = {}  # by key
        self._kept: dict[str, list[str]] = {}  # keys in the store by their first half
        self._placed: list[Placed] = []
        self._old: list[tuple[int, list[Placed]]] = []  # given up, with the generation after them
        self._bytes = 0  # of what is placed and not given up
        self.generation = 0  # counts how often all regions were given up
        for kept in store.scan():
            self._kept.setdefault(kept.key[:HALF], []).append(kept.key)

    def number(self, source: bytes) -> int:
        """The number of the contents of a page with these bytes, 0 if there are too many; its
        regions on disk, if there are any, are loaded."""
        digest = hashlib.blake2b(source, digest_size=32, person=b"page").hexdigest()
        with self._lock:
            number = self._numbers.get(digest)
            if number is None:
                if len(self._digests) >= MAX_NUMBERS:
                    return 0
                number = self._number(digest)
            if self._kept:
                self._load(digest)
        return number

    def digest(self, number: int) -> str:
        """The digest of a page's contents by their number; "" for 0."""
        return self._digests[number]

    def at(self, number: int) -> list[Compiled]:
        """The regions with entries in pages of these contents, in the order of their making."""
        return self._at.get(number, [])

    def comes_back(self, number: int, offset: int) -> bool:
        """Whether a region has a place at an offset of a page where it may be left for a sample,
        and no entry there: `Region.returns`."""
        return offset in self._returns.get(number, ())

    def inside(self, number: int, stays: bool = False) -> int:
        """Which half-words of a page begin an instruction of a region, as bits; `stays`: of one
        that control stays in."""
        return (self._staying if stays else self._inside).get(number, 0)

    def key(self, region: Region[Step], contents: dict[int, int]) -> str:
        """What tells this very region from all others."""
        with self._lock:
            return self._key(self._about(region, contents))

    def compiled(self, key: str) -> Compiled | None:
        """The region of a key, if it is in memory."""
        return self._compiled.get(key)

    def twin(self, compiled: Compiled) -> Compiled | None:
        """The same region with accesses grouped the other way, if it is in memory."""
        about = replace(compiled.about, grouped=not compiled.grouped)
        return self._compiled.get(self._key(about))

    def knows(self, region: Region[Step], contents: dict[int, int]) -> bool:
        """Whether this very region was compiled, or is being compiled; from now on it is."""
        with self._lock:
            key = self._key(self._about(region, contents))
            known = key in self._known
            self._known.add(key)
        return known

    def forget(self, region: Region[Step], contents: dict[int, int]) -> None:
        """A region that `knows` was told of will not come."""
        with self._lock:
            self._known.discard(self._key(self._about(region, contents)))

    def add(
        self, region: Region[Step], contents: dict[int, int], image: CodeImage
    ) -> Compiled | None:
        """Take in what was compiled, and keep it on disk; None if there is no room."""
        about = self._about(region, contents)
        text = image.text + about.encode()
        symbols = {**image.symbols, ABOUT: len(image.text)}
        image = CodeImage(text, symbols, image.relocations)
        with self._lock:
            compiled = self._place(about, image)
        self._store.put(self._key(about), image)
        return compiled

    def free(self, generation: int) -> None:
        """Every vCPU that runs has left the regions that were given up before a generation."""
        with self._lock:
            for number, placed in self._old:
                if number <= generation:
                    for one in placed:
                        process_arena().free(one)
            self._old = [old for old in self._old if old[0] > generation]

    # -- with the lock ---------------------------------------------------------------------------
    def _number(self, digest: str) -> int:
        number = self._numbers.setdefault(digest, len(self._digests))
        if number == len(self._digests):
            self._digests.append(digest)
        return number

    def _about(self, region: Region[Step], contents: dict[int, int]) -> About:
        pages = {n: self._digests[number] for n, number in contents.items()}
        places = region.entries, region.returns, tuple(region.members), region.jumps
        return About(pages, *places, region.scattered, region.grouped, region.stays)

    def _prefix(self, digest: str) -> str:
        """The first half of the keys of regions that start in a page."""
        return self._hash(f"{self._version} {digest}")

    def _key(self, about: About) -> str:
        start = about.pages[about.entries[0] >> PAGE_SHIFT]
        return self._prefix(start) + self._hash(about.encode().decode())

    def _hash(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), digest_size=HALF // 2).hexdigest()

    def _load(self, digest: str) -> None:
        """Take in the regions on disk that start in a page."""
        for key in self._kept.pop(self._prefix(digest), ()):
            image = self._store.get(key)
            if image is None or key in self._known:
                continue
            try:
                about = About.decode(image.text[image.symbols.get(ABOUT, len(image.text)) :])
                if self._key(about) != key:
                    raise CodeError("a region is not the one that its key names")
                self.from_disk += self._place(about, image) is not None
            except CodeError as error:
                log.warning("code cache: %s; ignored", error)
                continue
            self._known.add(key)

    def _give_up(self) -> None:
        """Begin anew: what is hot will be compiled again, or come from the store. The code lies
        where it is until no vCPU can be in it."""
        log.info("compiled regions: %d bytes are given up", self._bytes)
        self.generation += 1
        self._old.append((self.generation, self._placed))
        self._placed, self._bytes = [], 0
        self._at.clear()
        self._returns.clear()
        self._inside.clear()
        self._staying.clear()
        self.by_address.clear()
        self._known.clear()
        self._compiled.clear()
        for kept in self._store.scan():
            self._kept.setdefault(kept.key[:HALF], []).append(kept.key)

    def _place(self, about: About, image: CodeImage) -> Compiled | None:
        contents = {n: self._number(digest) for n, digest in about.pages.items()}
        pages = {f"{CONTENT}{n}": number for n, number in contents.items()}

        def resolve(name: str) -> int:
            return pages[name] if name in pages else self._resolve(name)

        if any(r.kind != "abs64" for r in image.relocations if r.symbol in pages):
            raise CodeError("a region takes the number of a page to be a place in reach")
        if ENTRY not in image.symbols:
            raise CodeError(f"a region without a function {ENTRY}")
        if self._bytes + len(image.text) > MAX_BYTES:
            self._give_up()
        try:
            placed = process_arena().place(image, resolve)
        except CodeArenaFull:
            return None
        self._placed.append(placed)
        self._bytes += placed.size
        where, start = placed.address_of(ENTRY), about.entries[0]
        compiled = Compiled(about, self.generation, where, contents, placed.size)
        self.by_address[where] = compiled
        name = f"guest {about.pages[start >> PAGE_SHIFT][:12]}+{start % PAGE_SIZE:#x}"
        perf_map().add(placed.address, placed.size, name)
        self.code_bytes += compiled.code_bytes
        self._compiled[self._key(about)] = compiled
        for number in {contents[e >> PAGE_SHIFT] for e in about.entries}:
            # The last one is entered: what has pairs only where the other was left for it.
            self._at.setdefault(number, []).append(compiled)
            self._at[number].sort(key=lambda c: (c.grouped, len(c.about.scattered)))
        for member in about.members:
            number = contents[member >> PAGE_SHIFT]
            bit = 1 << member % PAGE_SIZE // 2
            self._inside[number] = self._inside.get(number, 0) | bit
            if about.stays:
                self._staying[number] = self._staying.get(number, 0) | bit
        for behind in about.returns:
            number = contents[behind >> PAGE_SHIFT]
            self._returns.setdefault(number, set()).add(behind % PAGE_SIZE)
        return compiled
