"""Address translation: every rule of the page walk, on tables in a small RAM."""

from dataclasses import dataclass, replace

import pytest
from priv_hart import MACHINE, OPEN_PMP, RAM, SUPERVISOR, USER, SmallHart, Trapped, run_routine

from lamina.isa.arch import EVERYWHERE, FETCH, READ, WRITE
from lamina.isa.riscv import RISCV64

V, R, W, X, U, G, A, D = (1 << n for n in range(8))
N, PBMT_NC, PBMT_IO, PBMT_RESERVED = 1 << 63, 1 << 61, 2 << 61, 3 << 61
RWX, AD = R | W | X, A | D
MPRV, SUM, MXR = 1 << 17, 1 << 18, 1 << 19
ADUE, PBMTE = 1 << 61, 1 << 62
PAGE_FAULT = {READ: 13, WRITE: 15, FETCH: 12}
ACCESS_FAULT = {READ: 5, WRITE: 7, FETCH: 1}

TABLES = RAM + 0x1000  # one table a page, the root first
FRAME = RAM + 0x8_0000  # where leaves point
GVA = 0x0000_0012_3456_7ABC
MODES = {3: 8, 4: 9, 5: 10}


@dataclass
class Space:
    """A hart whose tables lead `gva` through every level down to one leaf at `level`."""

    levels: int = 3
    level: int = 0
    gva: int = GVA
    flags: int = V | RWX | AD
    ppn: int = FRAME >> 12
    pointer: int = V  # flags of the entries above
    priv: int = SUPERVISOR
    mstatus: int = 0
    menvcfg: int = 0

    def build(self) -> SmallHart:
        hart = SmallHart(priv=self.priv, mstatus=self.mstatus, menvcfg=self.menvcfg, **OPEN_PMP)
        hart["satp"] = MODES[self.levels] << 60 | 0x55 << 44 | TABLES >> 12
        for depth in range(self.levels - 1 - self.level):
            hart.poke(self.pte(depth), self.table(depth + 1) >> 12 << 10 | self.pointer)
        hart.poke(self.leaf, self.ppn << 10 | self.flags)
        return hart

    @staticmethod
    def table(depth: int) -> int:
        return TABLES + depth * 0x1000

    def pte(self, depth: int) -> int:
        """Address of the entry used in the table of that depth (the root's is 0)."""
        shift = 12 + 9 * (self.levels - 1 - depth)
        return self.table(depth) + 8 * (self.gva >> shift & 0x1FF)

    @property
    def leaf(self) -> int:
        return self.pte(self.levels - 1 - self.level)


def outcome(space: Space, access: int = READ) -> int | tuple[int, ...]:
    """The translation, or the cause of the fault (whose tval must be the address)."""
    try:
        return space.build().translate(space.gva, access)
    except Trapped as trapped:
        assert trapped.tval == space.gva
        return trapped.cause


@pytest.mark.parametrize("levels", [3, 4, 5])
@pytest.mark.parametrize("access", [READ, WRITE, FETCH])
def test_a_page_is_found_at_every_depth_of_tables(levels: int, access: int) -> None:
    assert outcome(Space(levels), access) == (FRAME | GVA & 0xFFF, 0x1000, 1)


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_superpages_of_every_level(levels: int) -> None:
    for level in range(1, levels):
        size = 1 << (12 + 9 * level)
        base = RAM & ~(size - 1)
        gpa, page_size, cacheable = outcome(Space(levels, level, ppn=base >> 12))
        assert (gpa, page_size, cacheable) == (base | GVA & (size - 1), size, 1)


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_a_superpage_must_be_aligned(levels: int) -> None:
    for level in range(1, levels):
        for bit in (0, 9 * level - 1):
            assert outcome(Space(levels, level, ppn=1 << bit)) == 13


@pytest.mark.parametrize("levels, top", [(3, 38), (4, 47), (5, 56)])
def test_an_address_must_be_canonical(levels: int, top: int) -> None:
    high = (1 << 64) - (1 << top)
    assert outcome(Space(levels, gva=high | 0x1234_5ABC)) == (FRAME | 0xABC, 0x1000, 1)
    for gva in (1 << top, 1 << 63, high ^ 1 << 63, high ^ 1 << top):
        for access, cause in PAGE_FAULT.items():
            assert outcome(Space(levels, gva=gva), access) == cause


# -- permissions -----------------------------------------------------------------------------
ALL = {READ, WRITE, FETCH}
PERMISSIONS = [
    (V | R, {READ}),
    (V | X, {FETCH}),
    (V | R | W, {READ, WRITE}),
    (V | R | X, {READ, FETCH}),
    (V | RWX, ALL),
    (V | W, set()),  # reserved
    (V | W | X, set()),  # reserved
    (RWX, set()),  # not valid
    (0, set()),
]


@pytest.mark.parametrize("flags, allowed", PERMISSIONS)
def test_permission_bits(flags: int, allowed: set[int]) -> None:
    for access, cause in PAGE_FAULT.items():
        result = outcome(Space(flags=flags | AD), access)
        assert (result != cause) is (access in allowed)


def test_mxr_makes_executable_pages_readable() -> None:
    space = Space(flags=V | X | AD, mstatus=MXR)
    assert outcome(space, READ) != 13
    assert outcome(space, WRITE) == 15
    assert outcome(replace(space, mstatus=0), READ) == 13


OWNERS = [
    (USER, 0, 0, set()),
    (USER, U, 0, ALL),
    (SUPERVISOR, 0, 0, ALL),
    (SUPERVISOR, 0, SUM, ALL),
    (SUPERVISOR, U, 0, set()),
    (SUPERVISOR, U, SUM, {READ, WRITE}),
]


@pytest.mark.parametrize("priv, user, status, allowed", OWNERS)
def test_user_pages_and_sum(priv: int, user: int, status: int, allowed: set[int]) -> None:
    space = Space(flags=V | RWX | AD | user, priv=priv, mstatus=status)
    for access, cause in PAGE_FAULT.items():
        assert (outcome(space, access) != cause) is (access in allowed)


def test_machine_mode_is_not_translated() -> None:
    assert outcome(Space(priv=MACHINE, flags=0)) == (GVA, 0x1000, 1)


def test_bare_mode_is_not_translated() -> None:
    hart = SmallHart(priv=SUPERVISOR, **OPEN_PMP)
    assert hart.translate(RAM + 5) == (RAM + 5, 0x1000, 1)


def test_bare_addresses_past_the_physical_space_are_access_faults() -> None:
    for access, cause in ACCESS_FAULT.items():
        with pytest.raises(Trapped) as caught:
            SmallHart().translate(1 << 56, access)
        assert (caught.value.cause, caught.value.tval) == (cause, 1 << 56)


def test_mprv_gives_loads_and_stores_the_privilege_of_mpp() -> None:
    user = Space(priv=MACHINE, mstatus=MPRV, flags=V | RWX | AD | U)
    assert outcome(user, READ) == (FRAME | GVA & 0xFFF, 0x1000, 1)
    assert outcome(user, FETCH) == (GVA, 0x1000, 1)
    assert outcome(replace(user, flags=V | RWX | AD), WRITE) == 15
    supervisor = replace(user, mstatus=MPRV | 1 << 11)
    assert outcome(supervisor, READ) == 13
    assert outcome(replace(supervisor, mstatus=MPRV | 3 << 11)) == (GVA, 0x1000, 1)


# -- reserved encodings ----------------------------------------------------------------------
@pytest.mark.parametrize("bit", range(54, 61))
def test_reserved_bits_fault_in_leaves_and_pointers(bit: int) -> None:
    assert outcome(Space(flags=V | RWX | AD | 1 << bit)) == 13
    assert outcome(Space(pointer=V | 1 << bit)) == 13


@pytest.mark.parametrize("bits", [U, A, D, N, PBMT_NC, PBMT_IO, PBMT_RESERVED])
def test_bits_that_only_leaves_have_fault_in_pointers(bits: int) -> None:
    assert outcome(Space(pointer=V | bits, menvcfg=PBMTE)) == 13


def test_software_and_global_bits_are_free() -> None:
    assert outcome(Space(flags=V | RWX | AD | G | 3 << 8, pointer=V | G | 3 << 8)) != 13


def test_a_pointer_at_the_last_level_faults() -> None:
    """Even if it points to a page full of leaves."""
    space = Space(flags=V)
    hart = space.build()
    for at in range(FRAME, FRAME + 0x1000, 8):
        hart.poke(at, V | RWX | AD)
    with pytest.raises(Trapped) as caught:
        hart.translate(GVA)
    assert caught.value.cause == 13


def test_memory_types_need_pbmte() -> None:
    for bits in (PBMT_NC, PBMT_IO):
        assert outcome(Space(flags=V | RWX | AD | bits)) == 13
        expected = (FRAME | GVA & 0xFFF, 0x1000, 1)
        assert outcome(Space(flags=V | RWX | AD | bits, menvcfg=PBMTE)) == expected
    assert outcome(Space(flags=V | RWX | AD | PBMT_RESERVED, menvcfg=PBMTE)) == 13


def test_a_napot_page_has_64_kib_and_takes_its_low_bits_from_the_address() -> None:
    space = Space(flags=V | RWX | AD | N, ppn=FRAME >> 12 | 8)
    assert outcome(space) == (FRAME | GVA & 0xFFFF, 0x1_0000, 1)


@pytest.mark.parametrize("low", [v for v in range(16) if v != 8])
def test_other_napot_sizes_are_reserved(low: int) -> None:
    assert outcome(Space(flags=V | RWX | AD | N, ppn=FRAME >> 12 | low)) == 13


def test_napot_superpages_are_reserved() -> None:
    for low in (0, 8):
        assert outcome(Space(level=1, flags=V | RWX | AD | N, ppn=low)) == 13


# -- accessed and dirty ----------------------------------------------------------------------
ACCESSED = [
    (0, READ, A),
    (0, FETCH, A),
    (0, WRITE, A | D),
    (A, WRITE, A | D),
    (D, READ, A | D),
    (A, READ, A),
    (A, FETCH, A),
    (AD, WRITE, AD),
]


@pytest.mark.parametrize("before, access, after", ACCESSED)
def test_svade_faults_where_svadu_updates(before: int, access: int, after: int) -> None:
    space = Space(flags=V | RWX | before)
    faults = before != after
    assert (outcome(space, access) == PAGE_FAULT[access]) is faults
    hart = replace(space, menvcfg=ADUE).build()
    assert hart.translate(GVA, access) == (FRAME | GVA & 0xFFF, 0x1000, 1)
    assert hart.peek(space.leaf) == space.ppn << 10 | V | RWX | after


def test_a_fault_leaves_the_entry_alone() -> None:
    space = Space(flags=V | R, menvcfg=ADUE)
    hart = space.build()
    with pytest.raises(Trapped):
        hart.translate(GVA, WRITE)
    assert hart.peek(space.leaf) == space.ppn << 10 | V | R


def test_an_update_that_loses_a_race_looks_again() -> None:
    """Another hart makes the page read-only between the walk's load and its update."""
    space = Space(flags=V | RWX, menvcfg=ADUE)
    hart = space.build()
    real = hart.phys_cas

    def raced(gpa: int, expected: int, new: int, size: int) -> tuple[int, int]:
        hart.poke(space.leaf, space.ppn << 10 | V | R)
        return real(gpa, expected, new, size)

    hart.phys_cas = raced  # type: ignore[method-assign]
    with pytest.raises(Trapped) as caught:
        hart.translate(GVA, WRITE)
    assert caught.value.cause == 15
    assert hart.peek(space.leaf) == space.ppn << 10 | V | R


# -- tables where they should not be ---------------------------------------------------------
@pytest.mark.parametrize("access", [READ, WRITE, FETCH])
def test_tables_outside_of_ram_are_access_faults(access: int) -> None:
    hart = Space().build()
    hart["satp"] = 8 << 60 | (1 << 44) - 1
    with pytest.raises(Trapped) as caught:
        hart.translate(GVA, access)
    assert (caught.value.cause, caught.value.tval) == (ACCESS_FAULT[access], GVA)


def test_pmp_guards_the_tables_and_the_page() -> None:
    hart = Space().build()
    hart["pmpaddr1"], hart["pmpaddr0"] = (1 << 54) - 1, TABLES >> 2 | 0x1FF
    hart["pmpcfg0"] = 0x1F << 8 | 0x18  # the root table: no access; all else: free
    with pytest.raises(Trapped) as caught:
        hart.translate(GVA, WRITE)
    assert caught.value.cause == 7
    hart["pmpcfg0"] = 0x1F << 8 | 0x19  # readable is enough for the walk
    assert hart.translate(GVA, WRITE)[0] == FRAME | GVA & 0xFFF
    hart["pmpaddr0"] = FRAME >> 2 | 0x1FF  # now the page itself is read-only
    assert hart.translate(GVA, READ)[0] == FRAME | GVA & 0xFFF
    with pytest.raises(Trapped) as caught:
        hart.translate(GVA, WRITE)
    assert (caught.value.cause, caught.value.tval) == (7, GVA)


def test_updating_an_entry_needs_pmp_write_permission() -> None:
    hart = Space(flags=V | RWX, menvcfg=ADUE).build()
    hart["pmpaddr1"], hart["pmpaddr0"] = (1 << 54) - 1, TABLES >> 2 | 0x7FF
    hart["pmpcfg0"] = 0x1F << 8 | 0x19
    with pytest.raises(Trapped) as caught:
        hart.translate(GVA, READ)
    assert caught.value.cause == 5


def test_a_loaded_state_with_an_odd_mode_still_ends_the_walk() -> None:
    """Such a mode cannot be written, but a snapshot is not to be trusted."""
    for mode in range(1, 16):
        hart = Space(flags=V).build()
        hart["satp"] = mode << 60 | TABLES >> 12
        with pytest.raises(Trapped):
            hart.translate(GVA)


def test_a_bus_fault_is_an_access_fault_at_the_address() -> None:
    for access, cause in ACCESS_FAULT.items():
        with pytest.raises(Trapped) as caught:
            run_routine(RISCV64.routines["bus_fault"], SmallHart(), 0x1234, access)
        assert (caught.value.cause, caught.value.tval) == (cause, 0x1234)


# -- contexts --------------------------------------------------------------------------------
CONTEXTS = [
    (USER, 0, (0, 0)),
    (USER, SUM, (0, 0)),
    (SUPERVISOR, 0, (1, 1)),
    (SUPERVISOR, SUM, (2, 1)),
    (MACHINE, SUM, (3, 3)),
    (MACHINE, MPRV, (0, 3)),
    (MACHINE, MPRV | 1 << 11, (1, 3)),
    (MACHINE, MPRV | 1 << 11 | SUM, (2, 3)),
    (MACHINE, MPRV | 3 << 11, (3, 3)),
]


@pytest.mark.parametrize("priv, status, expected", CONTEXTS)
def test_contexts_tell_apart_what_translates_differently(
    priv: int, status: int, expected: tuple[int, int]
) -> None:
    assert SmallHart(priv=priv, mstatus=status).context() == expected


def test_contexts_stay_in_range_whatever_was_loaded() -> None:
    for priv in (2, 4, (1 << 64) - 1):
        assert all(c < 4 for c in SmallHart(priv=priv, mstatus=SUM).context())


# -- address spaces --------------------------------------------------------------------------
def test_a_global_page_is_the_same_everywhere() -> None:
    """By its own entry, or by any on the way to it."""
    assert outcome(Space(flags=V | RWX | AD | G)) == (FRAME | GVA & 0xFFF, 0x1000, EVERYWHERE)
    assert outcome(Space(pointer=V | G)) == (FRAME | GVA & 0xFFF, 0x1000, EVERYWHERE)
    assert outcome(Space(level=1, ppn=0x80000, flags=V | RWX | AD | G))[2] == EVERYWHERE


def test_the_asid_names_the_address_space_and_bare_mode_is_one_of_its_own() -> None:
    def space(satp: int) -> tuple[int, ...]:
        hart = SmallHart()
        hart["satp"] = satp
        return run_routine(RISCV64.routines["space"], hart)

    for mode in (8, 9, 10):
        satp = mode << 60 | 0xFFFF << 44 | 0x123
        assert space(satp) == (0xFFFF, satp, 1, mode)
        assert space(mode << 60 | 0x123) == (0, mode << 60 | 0x123, 0, mode)  # nothing is kept
    assert space(0) == (1 << 16, 0, 1, 0)
