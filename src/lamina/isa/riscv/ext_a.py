"""A, Zacas, Zabha: atomic memory operations, load-reserved and store-conditional, compare-and-swap.

Unprivileged specification, chapters "A", "Zacas" and "Zabha". Every one of them is sequentially
consistent, whatever its aq and rl bits ask for. A reservation is the virtual address and the value
that was loaded (slots `resv_addr`, all ones if there is none, and `resv_value`): the
store-conditional is a compare-and-swap with that value.
"""

from lamina.base.bits import U64
from lamina.ir.build import Val
from lamina.isa.insn import Semantics
from lamina.isa.riscv.hart import RV64, Hart

LOAD_MISALIGNED, STORE_MISALIGNED = 4, 6
NO_RESERVATION = U64
SIZES = {"b": (1, "000"), "h": (2, "001"), "w": (4, "010"), "d": (8, "011")}  # bytes, funct3
KINDS = {
    "swap": "00001",
    "add": "00000",
    "xor": "00100",
    "and": "01100",
    "or": "01000",
    "min": "10000",
    "max": "10100",
    "minu": "11000",
    "maxu": "11100",
}


def aligned(h: Hart, gva: Val, size: int, cause: int) -> Val:
    """The address, after an exception if it is not a multiple of the size."""
    if size > 1:
        with h.when((gva & (size - 1)) != 0):
            h.trap(cause, gva)
    return gva


def _load_reserved(size: int) -> Semantics:
    def lr(h: Hart, rd: Val, rs1: Val) -> None:
        """Load and make a reservation for the address."""
        gva = aligned(h, h.x[rs1], size, LOAD_MISALIGNED)
        value = h.load(gva, size).sext(64)
        h.s.resv_addr = gva
        h.s.resv_value = value
        h.x[rd] = value

    return lr


def _store_conditional(size: int) -> Semantics:
    def sc(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
        """Store if the reservation for the address holds: rd is 0, else 1. It is gone after."""
        gva = aligned(h, h.x[rs1], size, STORE_MISALIGNED)
        expected, new = h.s.resv_value.trunc(8 * size), h.x[rs2].trunc(8 * size)
        failed = h.var(64, 1, "failed")
        with h.when(h.s.resv_addr == gva):
            failed.set((h.cas(gva, expected, new) != expected).zext(64))
        with h.otherwise():
            h.touch(gva, "write")
        h.s.resv_addr = h.const(NO_RESERVATION)
        h.x[rd] = failed.get()

    return sc


def _amo(kind: str, size: int) -> Semantics:
    def amo(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
        """Atomically combine memory with rs2; rd is the old value, sign-extended."""
        gva = aligned(h, h.x[rs1], size, STORE_MISALIGNED)
        h.x[rd] = h.rmw(kind, gva, h.x[rs2].trunc(8 * size)).sext(64)

    return amo


def _amocas(size: int) -> Semantics:
    def amocas(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
        """Atomically store rs2 if memory equals rd; rd is the old value, sign-extended."""
        gva = aligned(h, h.x[rs1], size, STORE_MISALIGNED)
        h.x[rd] = h.cas(gva, h.x[rd].trunc(8 * size), h.x[rs2].trunc(8 * size)).sext(64)

    return amocas


def _declare() -> None:
    insn, zabha, zacas = (RV64.extension(e) for e in ("A", "Zabha", "Zacas"))
    for letter in "wd":
        size, funct3 = SIZES[letter]
        tail = f"rs1 {funct3} rd 0101111"
        insn(f"lr.{letter} rd, (rs1)", f"00010 aq rl 00000 {tail}")(_load_reserved(size))
        insn(f"sc.{letter} rd, rs2, (rs1)", f"00011 aq rl rs2 {tail}")(_store_conditional(size))
    for letter, (size, funct3) in SIZES.items():
        tail = f"aq rl rs2 rs1 {funct3} rd 0101111"
        for kind, funct5 in KINDS.items():
            declare = zabha if size < 4 else insn
            declare(f"amo{kind}.{letter} rd, rs2, (rs1)", f"{funct5} {tail}")(_amo(kind, size))
        declare = zabha if size < 4 else zacas
        declare(f"amocas.{letter} rd, rs2, (rs1)", f"00101 {tail}")(_amocas(size))


_declare()


def _pair(h: Hart, even: Val) -> Val:
    """The 128-bit value of a register pair; the pair of x0 is zero."""
    high = h.select(even == 0, 0, h.x[even | 1])
    return h.cat(high, h.x[even])


@RV64.extension("Zacas")(
    "amocas.q rd, rs2, (rs1)", "00101 aq rl rs2[4:1] 0 rs1 100 rd[4:1] 0 0101111"
)
def amocas_q(h: Hart, rd: Val, rs1: Val, rs2: Val) -> None:
    """Compare and swap 16 bytes; rd and rs2 name pairs of registers, odd ones are reserved."""
    gva = aligned(h, h.x[rs1], 16, STORE_MISALIGNED)
    old = h.cas(gva, _pair(h, rd), _pair(h, rs2))
    with h.when(rd != 0):
        h.x[rd] = old[63:0]
        h.x[rd | 1] = old[127:64]
