"""Address translation: bare, Sv39, Sv48, Sv57, with Svnapot, Svpbmt, Svade and Svadu.

Privileged Architecture 1.13, 12.3.2 (the algorithm), 12.4 to 12.6, 13 to 16; 3.1.6.3 (MPRV, SUM,
MXR). Engines call `translate` when their TLB misses, `context` and `space` to know which of their
TLB's contexts and address spaces are in force, and `bus_fault` when nothing answers at the address
found. Faults are traps with the guest-virtual address as tval.
"""

from dataclasses import dataclass
from functools import cache

from lamina.base.bits import PAGE_SHIFT, PAGE_SIZE, mask
from lamina.ir.build import Val, Var
from lamina.ir.graph import Routine
from lamina.ir.passes import simplify
from lamina.ir.verify import verify
from lamina.isa.arch import CACHE, EVERYWHERE, FETCH, READ, WRITE
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.fields import Cause
from lamina.isa.riscv.hart import Hart
from lamina.isa.riscv.pmp import allows_everything, pmp_check
from lamina.isa.riscv.status import is_set

INDEX_BITS = 9  # a table has 512 entries
PTE_SIZE = 8
NAPOT_BITS = 4  # the one contiguous size: 16 pages, 64 KiB
BARE_SPACE = 1 << f.ASID_BITS  # no ASID
CONTEXT_USER, CONTEXT_SUPERVISOR, CONTEXT_SUM, CONTEXT_MACHINE = range(4)


@cache
def translate() -> Routine:
    """translate(gva, access, size) -> (gpa, page size, cacheable)."""
    h = Hart("translate", (64, 64, 64))
    gva, access, size = h.params
    priv = h.select(access == FETCH, h.s.priv, _data_privilege(h))
    gpa = h.var(64, gva, "gpa")
    page_size = h.var(64, PAGE_SIZE, "page_size")
    scope = h.var(64, 1, "scope")
    ok, whole = h.var(64, 1, "ok"), h.var(64, 1, "whole")
    protected = ~allows_everything(h)
    with h.when((priv != f.MACHINE) & ((h.s.satp >> f.SATP_MODE_SHIFT) != f.BARE)):
        is_global = _Walk(h, gva, access, priv, protected).run(gpa, page_size)
        scope.set(h.select(is_global, EVERYWHERE, 1))
    with h.when(protected):
        read = h.select(access == CACHE, READ, access)
        checked = h.call(pmp_check(), gpa.get(), size, read, priv)
        ok.set(checked[0])
        whole.set(checked[1])
    with h.when((ok.get() == 0) | ((gpa.get() >> f.GPA_BITS) != 0)):
        h.trap(_access_fault(h, access), gva)
    cacheable = h.select(whole.get() != 0, scope.get(), 0)
    return simplify(verify(h.finish(gpa.get(), page_size.get(), cacheable)))


@cache
def context() -> Routine:
    """context() -> (data, fetch): 0 user, 1 supervisor, 2 supervisor with SUM, 3 machine."""
    h = Hart("context")
    supervisor = h.select(is_set(h.s.mstatus, f.SUM), CONTEXT_SUM, CONTEXT_SUPERVISOR)
    data = _context_of(h, _data_privilege(h), supervisor)
    fetch = _context_of(h, h.s.priv, h.const(CONTEXT_SUPERVISOR))
    return simplify(verify(h.finish(data, fetch)))


@cache
def space() -> Routine:
    """space() -> (identifier, root, keep, family): the ASID, or a number of its own for bare mode.

    satp as a whole is the root: another mode, too, makes another space, and one of another family.
    ASID 0 is what harts without ASIDs have, and there some software expects satp to flush.
    """
    h = Hart("space")
    satp = h.s.satp
    bare = (satp >> f.SATP_MODE_SHIFT) == f.BARE
    asid = (satp >> f.ASID_SHIFT) & mask(f.ASID_BITS)
    keep = (bare | (asid != 0)).zext(64)
    family = satp >> f.SATP_MODE_SHIFT
    return simplify(verify(h.finish(h.select(bare, BARE_SPACE, asid), satp, keep, family)))


@cache
def bus_fault() -> Routine:
    """bus_fault(gva, access): the access-fault exception where no RAM or device answers."""
    h = Hart("bus_fault", (64, 64))
    gva, access = h.params
    h.trap(_access_fault(h, access), gva)
    return simplify(verify(h.finish()))


@dataclass
class _Walk:
    """Looking an address up in the page tables, for a kind of access and a privilege. `protected`:
    what the PMP says must be asked for each entry (whose address has GPA_BITS at most)."""

    h: Hart
    gva: Val
    access: Val
    priv: Val
    protected: Val

    def run(self, gpa: Var, page_size: Var) -> Val:
        """The walk; sets where the address is and the size of the page. One bit: the page is
        global, by its own entry or by one on the way there."""
        h, gva, satp = self.h, self.gva, self.h.s.satp
        levels = ((satp >> f.SATP_MODE_SHIFT) & 3) + 3  # modes 8, 9, 10: Sv39, Sv48, Sv57
        unused = (64 - PAGE_SHIFT) - levels * INDEX_BITS
        self.page_fault_if(((gva << unused).sar(unused)) != gva)
        table = h.var(64, (satp & mask(f.PPN_BITS)) << PAGE_SHIFT, "table")
        shift = h.var(64, (levels - 1) * INDEX_BITS + PAGE_SHIFT, "shift")
        flags = h.var(64, 0, "flags")
        with h.loop():
            index = (gva >> shift.get()) & mask(INDEX_BITS)
            address = table.get() + index * PTE_SIZE
            pte = self.load_pte(address)
            flags.set(flags.get() | pte)
            ppn = (pte >> f.PTE_PPN_SHIFT) & mask(f.PPN_BITS)
            with h.when(is_set(pte, f.PTE_R | f.PTE_X)):
                self.check_leaf(pte, ppn, shift.get())
                with h.when(self.up_to_date(pte, address)):
                    bits = shift.get() + h.select(is_set(pte, f.PTE_N), NAPOT_BITS, 0)
                    self.found(ppn, bits, gpa, page_size)
                    h.leave_loop()
            with h.otherwise():
                pointer_reserved = f.PTE_D | f.PTE_A | f.PTE_U | f.PTE_N | f.PTE_PBMT
                bottom = shift.get() == PAGE_SHIFT
                self.page_fault_if(bottom | is_set(pte, pointer_reserved))
                table.set(ppn << PAGE_SHIFT)
                shift.set(shift.get() - INDEX_BITS)
        return is_set(flags.get(), f.PTE_G)

    def page_fault_if(self, condition: Val) -> None:
        h = self.h
        with h.when(condition):
            causes = (Cause.LOAD_PAGE, Cause.STORE_PAGE, Cause.FETCH_PAGE)
            h.trap(_cause(h, self.access, *causes), self.gva)

    def access_fault_if(self, condition: Val) -> None:
        h = self.h
        with h.when(condition):
            h.trap(_access_fault(h, self.access), self.gva)

    def check_protection(self, address: Val, access: int) -> None:
        """Page tables are read and written with the supervisor's rights."""
        h = self.h
        with h.when(self.protected):
            ok, _ = h.call(pmp_check(), address, PTE_SIZE, access, f.SUPERVISOR)
            self.access_fault_if(ok == 0)

    def load_pte(self, address: Val) -> Val:
        """The entry at a guest-physical address, and the checks that leaves and pointers share."""
        h = self.h
        self.check_protection(address, READ)
        pte, found = h.phys_load(address, PTE_SIZE)
        self.access_fault_if(~found)
        write_only = (pte & (f.PTE_R | f.PTE_W)) == f.PTE_W
        invalid = ((pte & f.PTE_V) == 0) | write_only | is_set(pte, f.PTE_RESERVED)
        self.page_fault_if(invalid)
        return pte

    def check_leaf(self, pte: Val, ppn: Val, shift: Val) -> None:
        """Permissions, memory type, alignment of superpages, the one NAPOT size."""
        h = self.h
        status = h.s.mstatus
        fetch = self.access == FETCH
        user_page = is_set(pte, f.PTE_U)
        keep_off = fetch | ~is_set(status, f.SUM)
        wrong_owner = h.select(self.priv == f.USER, ~user_page, user_page & keep_off)
        self.page_fault_if(wrong_owner)
        readable = is_set(pte, f.PTE_R) | (is_set(status, f.MXR) & is_set(pte, f.PTE_X))
        writable, executable = is_set(pte, f.PTE_W), is_set(pte, f.PTE_X)
        self.page_fault_if(~_by_access(h, self.access, readable, writable, executable))
        memory_type = pte & f.PTE_PBMT
        typed = is_set(h.s.menvcfg, f.PBMTE) & (memory_type != f.PTE_PBMT)
        self.page_fault_if((memory_type != 0) & ~typed)
        low = ppn & ((h.const(1) << (shift - PAGE_SHIFT)) - 1)
        not_64k = (shift != PAGE_SHIFT) | ((ppn & mask(NAPOT_BITS)) != 1 << (NAPOT_BITS - 1))
        self.page_fault_if((low != 0) | (is_set(pte, f.PTE_N) & not_64k))

    def up_to_date(self, pte: Val, address: Val) -> Val:
        """One bit: A (for a write also D) is set. If not: a page fault, or with ADUE they are set
        in memory; 0 if the entry changed meanwhile and is to be read again."""
        h = self.h
        due = pte | f.PTE_A | h.select(self.access == WRITE, f.PTE_D, 0)
        done = h.var(1, due == pte, "done")
        with h.when(due != pte):
            self.page_fault_if(~is_set(h.s.menvcfg, f.ADUE))
            self.check_protection(address, WRITE)
            before, stored = h.phys_cas(address, pte, due)
            self.access_fault_if(~stored)
            done.set(before == pte)
        return done.get()

    def found(self, ppn: Val, bits: Val, gpa: Var, page_size: Var) -> None:
        """The result: a page of 1 << bits bytes, whose number's low bits come from the address."""
        size = self.h.const(1) << bits
        gpa.set(((ppn << PAGE_SHIFT) & ~(size - 1)) | (self.gva & (size - 1)))
        page_size.set(size)


def _data_privilege(h: Hart) -> Val:
    """The privilege of loads and stores: MPP's while machine mode has set MPRV."""
    status = h.s.mstatus
    previous = (status & f.MPP) >> f.MPP_SHIFT
    return h.select(is_set(status, f.MPRV), previous, h.s.priv)


def _context_of(h: Hart, priv: Val, supervisor: Val) -> Val:
    user_or_machine = h.select(priv == f.MACHINE, CONTEXT_MACHINE, CONTEXT_USER)
    return h.select(priv == f.SUPERVISOR, supervisor, user_or_machine)


def _by_access(h: Hart, access: Val, read: Val | int, write: Val | int, fetch: Val | int) -> Val:
    return h.select(access == FETCH, fetch, h.select(access == WRITE, write, read))


def _access_fault(h: Hart, access: Val) -> Val:
    return _cause(h, access, Cause.LOAD_ACCESS, Cause.STORE_ACCESS, Cause.FETCH_ACCESS)


def _cause(h: Hart, access: Val, read: int, write: int, fetch: int) -> Val:
    """Cache-block management reports what a store would (Unprivileged Architecture, CMO)."""
    return h.select(access == CACHE, write, _by_access(h, access, read, write, fetch))
