"""Accesses to guest memory in compiled regions, as LLVM text.

The TLB is looked up in line; a miss calls a function of the runtime (`threaded/region_ir`) that
does the access or finds the host's address. Neighbouring accesses share a look-up (`groups`). In
small loops the page that was found last, and where it is in the host, are kept in variables for
each base register, so that an access costs one comparison as long as it stays in the page. All that
is found holds until the region is left. Base of the writer of regions.
"""

from functools import cached_property

from lamina.base.bits import PAGE_SIZE
from lamina.engine.jit.flow import Access, Decoded
from lamina.engine.jit.groups import Group
from lamina.engine.jit.guesses import guess_numbers
from lamina.engine.jit.region import Region
from lamina.engine.jit.register_writer import RAM, STATE, TLB, RegisterWriter
from lamina.ir.graph import Op

NO_PAGE = -1  # what no address is after its low bits are cleared


class AccessWriter(RegisterWriter):
    """Loads, stores and atomic operations of one region's function."""

    ram_metadata = RAM
    offset: int  # of the instruction being written
    name: str
    region: Region[Decoded]
    alone = False  # one vCPU only: atomic is what is in the right order

    def prepare_accesses(self) -> None:
        """Called once before anything is written."""
        self.groups: dict[int, Group] = {}  # of the basic block being written
        self.within: tuple[Group, dict[int, int]] | None = None  # of the instruction
        self.recent: dict[str, None] = {}  # names of the variables for pages that were found last
        self.leaves = False

    def where(self, size: int) -> str:
        """The arguments that tell the runtime which instruction this is."""
        raise NotImplementedError

    def aside(self) -> str:
        """The label of an exit at the instruction being written, of which nothing was done yet."""
        raise NotImplementedError

    # -- finding the host's address --------------------------------------------------------------
    def data_tlb(self) -> str:
        return "%tlb"

    def _tag(self, entry: str, write: bool) -> str:
        field = self.temp(f"getelementptr inbounds i8, ptr {entry}, i64 8") if write else entry
        return self.temp(f"load i64, ptr {field}{TLB}")

    def _addend(self, entry: str) -> str:
        """Host minus guest address, as a pointer."""
        field = self.temp(f"getelementptr inbounds i8, ptr {entry}, i64 16")
        return self.temp(f"load ptr, ptr {field}{TLB}")

    def _page(self, gva: str, size: int) -> str:
        """What a tag is compared with. A misaligned access compares unequal: the runtime has to
        see to it that it may lie across pages."""
        return self.temp(f"and i64 {gva}, {-PAGE_SIZE | size - 1}")

    def host(self, op: Op, write: bool, call: str) -> str:
        """A host pointer to what an operation accesses, if need be by a call of the runtime."""
        size, gva = op.attrs["size"], self.use(op.args[0])
        access = self.member.access
        group = self.groups.get(self.offset)
        if group is not None and access is not None:
            return self._host_in(group, gva, access.distance)
        if self.within is not None and id(op) in self.within[1]:
            return self._host_in(self.within[0], gva, self.within[1][id(op)])
        if access is not None and self._remembers(access):
            return self._host_in_loop(gva, size, write, call)
        entry, page = self.tlb_entry(self.data_tlb(), gva), self._page(gva, size)
        hit = self.temp(f"icmp eq i64 {self._tag(entry, write)}, {page}")
        quick = self.temp(f"getelementptr i8, ptr {self._addend(entry)}, i64 {gva}")
        here, miss, end = self.current, self.label("miss"), self.label("there")
        self.branch(hit, end, miss, (1, 0))
        slow = self._miss(miss, end, size, call)
        self.open(end)
        return self.temp(f"phi ptr [ {quick}, %{here} ], [ {slow}, %{miss} ]")

    def _miss(self, miss: str, end: str, size: int, call: str) -> str:
        """The block that calls the runtime, and goes on at `end` if the access is possible."""
        self.open(miss)
        self.flush()
        slow = self.temp(f"call preserve_mostcc ptr {call}, {self.where(size)})")
        gone = self.temp(f"icmp eq ptr {slow}, null")
        self.leaves = True
        self.branch(gone, "leave", end, (0, 1))
        return slow

    def _remembers(self, access: Access) -> bool:
        """Whether the page that was found last by its base register is remembered."""
        if self.loop is None or self.offset in self.region.scattered:
            return False
        return (access.file, access.index) in self.loop.bases

    @cached_property
    def _guess_numbers(self) -> dict[int, int]:
        return guess_numbers(self.region.members)

    def _guessed_wrong(self) -> None:
        """On the way where it is another page than that."""
        at = self.engine.guesses + 8 * self._guess_numbers[self.offset]
        count = self.temp(f"getelementptr inbounds i8, ptr %s, i64 {at}")
        more = self.temp(f"add i64 {self.temp(f'load i64, ptr {count}{STATE}')}, 1")
        self.out(f"store i64 {more}, ptr {count}{STATE}")
        self.out(f'store ptr @"{self.name}", ptr {self.engine_word("guessed_from")}{STATE}')

    def _last(self, kinds: str) -> str:
        """The name of the variables for the page that was found last by the base register of the
        instruction: for reading, writing or both."""
        access = self.member.access
        assert access is not None
        name = f"%last.{access.file}{access.index}.{kinds}"
        self.recent.setdefault(name)
        return name

    def _host_in_loop(self, gva: str, size: int, write: bool, call: str) -> str:
        """The same by way of the page that was found last."""
        name = self._last("w" if write else "r")
        page = self._page(gva, size)
        last = self.temp(f"load i64, ptr {name}.page")
        same = self.temp(f"icmp eq i64 {page}, {last}")
        addend = self.temp(f"load ptr, ptr {name}.base")
        quick = self.temp(f"getelementptr i8, ptr {addend}, i64 {gva}")
        here, look, new = self.current, self.label("look"), self.label("new")
        miss, end = self.label("miss"), self.label("there")
        self.branch(same, end, look, (1, 0))
        self.open(look)
        self._guessed_wrong()
        entry = self.tlb_entry(self.data_tlb(), gva)
        hit = self.temp(f"icmp eq i64 {self._tag(entry, write)}, {page}")
        self.branch(hit, new, miss, (1, 0))
        self.open(new)
        self.out(f"store i64 {page}, ptr {name}.page")
        addend = self._addend(entry)
        self.out(f"store ptr {addend}, ptr {name}.base")
        found = self.temp(f"getelementptr i8, ptr {addend}, i64 {gva}")
        self.close(f"br label %{end}")
        slow = self._miss(miss, end, size, call)
        self.open(end)
        ways = f"[ {quick}, %{here} ], [ {found}, %{new} ], [ {slow}, %{miss} ]"
        return self.temp(f"phi ptr {ways}")

    def _host_in(self, group: Group, gva: str, distance: int) -> str:
        """A host pointer by the check of the access's group."""
        if not group.base:
            low = self.temp(f"add i64 {gva}, {group.low - distance}")
            access = self.member.access
            if access is not None and access.size == group.span and self._remembers(access):
                addend = self._addend_in_loop(group, low)
                group.base = self.temp(f"getelementptr i8, ptr {addend}, i64 {low}")
            else:
                self._find_base(group, low)
        base, offset = group.base, distance - group.low
        if group.room and offset:
            near = self.temp(f"icmp ult i64 {offset}, {group.room}")
            base = self.temp(f"select i1 {near}, ptr {base}, ptr {group.beyond}")
        # At constant distances, so that LLVM sees what lies side by side.
        return self.temp(f"getelementptr i8, ptr {base}, i64 {offset}")

    def _find_base(self, group: Group, low: str) -> None:
        """Look up where a group begins in the host, and where it goes on in a second page."""
        last = self.temp(f"add i64 {low}, {group.span - 1}")
        page = self.temp(f"and i64 {last}, {-PAGE_SIZE}")
        entry = self.tlb_entry(self.data_tlb(), low)
        tags = [self._tag(entry, write) for write in group.kinds]
        addend = self._addend(entry)
        here, apart, go = self.current, self.label("apart"), self.label("go")
        self.branch(self._alike(tags, page), go, apart, (1, 0))
        self.open(apart)
        first = self.temp(f"and i64 {low}, {-PAGE_SIZE}")
        other = self.tlb_entry(self.data_tlb(), last)
        both = self._alike([self._tag(other, write) for write in group.kinds], page)
        both = self.temp(f"and i1 {both}, {self._alike(tags, first)}")
        second = self._addend(other)
        if not group.paired:
            same = self.temp(f"icmp eq ptr {addend}, {second}")
        else:
            of = self.temp(f"sub i64 {low}, {group.low}")
            of = self.temp(f"and i64 {of}, {group.align - 1}")
            same = self.temp(f"icmp eq i64 {of}, 0")
            used = self.temp(f"and i64 {low}, {PAGE_SIZE - 1}")
            room = self.temp(f"sub i64 {PAGE_SIZE}, {used}")
        both = self.temp(f"and i1 {both}, {same}")
        if group.paired:
            self.out(f"store i64 1, ptr {self.engine_word('apart')}{STATE}")
        self.branch(both, go, self.aside(), (1, 0))
        self.open(go)
        if group.paired:
            ways = f"[ {PAGE_SIZE}, %{here} ], [ {room}, %{apart} ]"
            group.room = self.temp(f"phi i64 {ways}")
            ways = f"[ {addend}, %{here} ], [ {second}, %{apart} ]"
            beyond = self.temp(f"phi ptr {ways}")
            group.beyond = self.temp(f"getelementptr i8, ptr {beyond}, i64 {low}")
        group.base = self.temp(f"getelementptr i8, ptr {addend}, i64 {low}")

    def _alike(self, tags: list[str], page: str) -> str:
        """Whether all tags are a page's."""
        found = [self.temp(f"icmp eq i64 {tag}, {page}") for tag in tags]
        return found[0] if len(found) == 1 else self.temp(f"and i1 {found[0]}, {found[1]}")

    def addend_of(self, group: Group, low: str, page: str, other: str) -> str:
        """What leads to the host's addresses of a group in a page, if that is in the TLB; else go
        on at a label."""
        entry = self.tlb_entry(self.data_tlb(), low)
        hit = self._alike([self._tag(entry, write) for write in group.kinds], page)
        addend = self._addend(entry)
        go = self.label("go")
        self.branch(hit, go, other, (1, 0))
        self.open(go)
        return addend

    def _addend_in_loop(self, group: Group, low: str) -> str:
        """The same for a word that is read and written, by way of the page that was found last."""
        name = self._last("r" * group.reads + "w" * group.writes)
        page = self._page(low, group.span)
        same = self.temp(f"icmp eq i64 {page}, {self.temp(f'load i64, ptr {name}.page')}")
        look, end = self.label("look"), self.label("there")
        self.branch(same, end, look, (1, 0))
        self.open(look)
        self._guessed_wrong()
        addend = self.addend_of(group, low, page, self.aside())
        self.out(f"store i64 {page}, ptr {name}.page")
        self.out(f"store ptr {addend}, ptr {name}.base")
        self.open(end)
        return self.temp(f"load ptr, ptr {name}.base")

    # -- operations ------------------------------------------------------------------------------
    def op_load(self, op: Op) -> None:
        size, gva = op.attrs["size"], self.use(op.args[0])
        pointer = self.host(op, False, f"@region_read(ptr %s, i64 {gva}")
        text = f"load i{8 * size}, ptr {pointer}, align 1{RAM}"
        self.bind(op.results[0], self.temp(text))

    def op_store(self, op: Op) -> None:
        size, gva, value = op.attrs["size"], self.use(op.args[0]), self.use(op.args[1])
        wide = value if size == 8 else self.temp(f"zext i{8 * size} {value} to i64")
        call = f"@region_write(ptr %s, i64 {gva}, i64 {wide}"
        pointer = self.host(op, True, call)
        self.out(f"store i{8 * size} {value}, ptr {pointer}, align 1{RAM}")

    def atomic_pointer(self, op: Op) -> str:
        return self.host(op, True, f"@region_pointer(ptr %s, i64 {self.use(op.args[0])}")

    def op_rmw(self, op: Op) -> None:
        if not self.alone:
            super().op_rmw(op)
            return
        kind, width, value = op.attrs["kind"], op.args[1].width, self.use(op.args[1])
        pointer = self.atomic_pointer(op)
        old = self.temp(f"load i{width}, ptr {pointer}, align 1{RAM}")
        match kind:
            case "swap":
                new = value
            case "add" | "and" | "or" | "xor":
                new = self.temp(f"{kind} i{width} {old}, {value}")
            case _:
                order = {"min": "slt", "max": "sgt", "minu": "ult", "maxu": "ugt"}[kind]
                first = self.temp(f"icmp {order} i{width} {old}, {value}")
                new = self.temp(f"select i1 {first}, i{width} {old}, i{width} {value}")
        self.out(f"store i{width} {new}, ptr {pointer}, align 1{RAM}")
        self.bind(op.results[0], old)

    def op_cas(self, op: Op) -> None:
        if not self.alone:
            super().op_cas(op)
            return
        width, due, new = op.args[1].width, self.use(op.args[1]), self.use(op.args[2])
        pointer = self.atomic_pointer(op)
        old = self.temp(f"load i{width}, ptr {pointer}, align 1{RAM}")
        same = self.temp(f"icmp eq i{width} {old}, {due}")
        value = self.temp(f"select i1 {same}, i{width} {new}, i{width} {old}")
        self.out(f"store i{width} {value}, ptr {pointer}, align 1{RAM}")
        self.bind(op.results[0], old)

    def op_fence(self, op: Op) -> None:
        if self.alone:
            self.out('fence syncscope("singlethread") seq_cst')
        else:
            super().op_fence(op)

    def op_relax(self, op: Op) -> None:
        if not self.alone:
            super().op_relax(op)

    def op_trap(self, op: Op) -> None:
        cause, tval = (self.use(a) for a in op.args)
        self.flush()
        arguments = f"ptr %s, i64 {cause}, i64 {tval}, {self.where(0)}"
        self.out(f"call preserve_mostcc void @region_trap({arguments})")
        self.go_leave()

    def leave(self) -> None:
        self.out(f"store i64 {self.budget()}, ptr {self.engine_word('left_budget')}{STATE}")
        self.go_leave()

    def go_leave(self) -> None:
        """The instruction was abandoned, and `left_budget` is set."""
        self.leaves = True
        self.close("br label %leave")

    def budget(self, more: int = 0) -> str:
        """The budget as it is at the instruction being written."""
        raise NotImplementedError
