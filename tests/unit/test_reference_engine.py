"""The reference engine's rules of memory, boundaries and traps, on small hand-made programs."""

from collections.abc import Iterator

import pytest

from lamina.base.bits import U64
from lamina.base.exits import Exit
from lamina.bus.space import AddressSpace
from lamina.engine.reference.engine import ReferenceEngine
from lamina.engine.vcpu import REQUEST_STOP
from lamina.isa.asm import Assembler
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv import fields as f
from lamina.isa.riscv.dialect import dialect
from lamina.isa.riscv.fields import Cause

RAM, SIZE, DEVICE, HANDLER = 0x8000_0000, 0x4000, 0x1000_0000, 0x8000_3000


class Register:
    """A device of one 8-byte register that takes words and double words."""

    name, size, access_sizes = "register", 8, frozenset({4, 8})

    def __init__(self) -> None:
        self.value = 0

    def read(self, offset: int, size: int) -> int:
        return self.value >> 8 * offset

    def write(self, offset: int, size: int, value: int) -> None:
        self.value = value


class Rig:
    """An engine in machine mode at the start of some RAM, and a device."""

    def __init__(self) -> None:
        self.space = AddressSpace()
        self.space.add_ram(RAM, SIZE, "ram")
        self.device = Register()
        self.space.add_device(DEVICE, self.device)
        self.engine = ReferenceEngine(RISCV64, 0, self.space)
        self.vcpu = self.engine.vcpu
        self.vcpu.reset(pc=RAM)
        self.vcpu.set("mtvec", HANDLER)

    def load(self, source: str, at: int = RAM) -> None:
        self.space.write(at, Assembler(RISCV64.table, dialect()).program(source, at).code)
        self.engine.state_changed()

    def trap(self) -> tuple[int, int]:
        """Cause and tval of the trap that was taken by the last step."""
        assert self.vcpu.pc == HANDLER, f"no trap: pc is {self.vcpu.pc:#x}"
        return self.vcpu.get("mcause"), self.vcpu.get("mtval")


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.engine.close()
    made.space.close()


def test_a_misaligned_load_over_the_end_of_a_page_reads_both(rig: Rig) -> None:
    rig.load("ld x1, 0(x2)")
    rig.space.write(RAM + 0xFFD, bytes(range(1, 9)))
    rig.vcpu.set_reg("x", 2, RAM + 0xFFD)
    rig.engine.step()
    assert rig.vcpu.reg("x", 1) == 0x0807_0605_0403_0201


def test_a_store_that_faults_on_its_second_page_stores_nothing(rig: Rig) -> None:
    rig.load("sd x1, 0(x2)")
    end = RAM + SIZE
    rig.vcpu.set_reg("x", 1, U64)
    rig.vcpu.set_reg("x", 2, end - 3)
    rig.engine.step()
    assert rig.trap() == (Cause.STORE_ACCESS, end)
    assert rig.space.read(end - 3, 3) == bytes(3)


def test_a_misaligned_access_to_a_device_is_an_access_fault(rig: Rig) -> None:
    rig.load("lw x1, 0(x2)")
    rig.vcpu.set_reg("x", 2, DEVICE + 2)
    rig.engine.step()
    assert rig.trap() == (Cause.LOAD_ACCESS, DEVICE + 2)


def test_an_atomic_on_a_device_is_an_access_fault(rig: Rig) -> None:
    rig.load("amoadd.w x1, x3, (x2)")
    rig.vcpu.set_reg("x", 2, DEVICE)
    rig.engine.step()
    assert rig.trap() == (Cause.STORE_ACCESS, DEVICE)
    assert rig.device.value == 0


def test_a_device_is_read_and_written(rig: Rig) -> None:
    rig.load("sw x3, 0(x2)\nlw x1, 0(x2)")
    rig.vcpu.set_reg("x", 2, DEVICE)
    rig.vcpu.set_reg("x", 3, 0x8000_0001)
    assert rig.engine.run(2) == Exit.LIMIT
    assert rig.vcpu.reg("x", 1) == 0xFFFF_FFFF_8000_0001


@pytest.mark.parametrize("name", ["cbo.inval", "cbo.clean", "cbo.flush", "cbo.zero"])
def test_cache_block_management_faults_as_a_store_does(rig: Rig, name: str) -> None:
    """CMO chapter: also when it is only the permission to load that is looked at."""
    rig.load(f"{name} (x2)")
    rig.vcpu.set("mstatus", f.MPRV)  # MPP is user mode, which no PMP entry lets in
    rig.vcpu.set_reg("x", 2, RAM + 0x104)
    rig.engine.state_changed()
    rig.engine.step()
    assert rig.trap() == (Cause.STORE_ACCESS, RAM + 0x104)


def test_an_instruction_over_the_end_of_memory_faults_at_its_second_half(rig: Rig) -> None:
    end = RAM + SIZE
    rig.space.write(end - 2, b"\x13\x00")
    rig.vcpu.pc = end - 2
    rig.engine.state_changed()
    rig.engine.step()
    assert rig.trap() == (Cause.FETCH_ACCESS, end)
    assert rig.vcpu.get("mepc") == end - 2


def test_code_that_was_just_stored_is_run(rig: Rig) -> None:
    rig.load("sw x3, 4(x2)\nnop")
    word = Assembler(RISCV64.table, dialect()).line("addi x1, x0, 5")
    rig.vcpu.set_reg("x", 2, RAM)
    rig.vcpu.set_reg("x", 3, int.from_bytes(word, "little"))
    rig.engine.run(2)
    assert rig.vcpu.reg("x", 1) == 5


def test_a_vector_that_cannot_be_run_is_stuck(rig: Rig) -> None:
    rig.load(".word 0")
    assert rig.engine.run(10) == Exit.STUCK
    assert rig.vcpu.icount == 0


def test_a_request_comes_before_the_budget_and_is_taken_once(rig: Rig) -> None:
    rig.load("1: j 1b")
    rig.vcpu.request(REQUEST_STOP)
    assert rig.engine.run(100) == Exit.REQUEST
    assert rig.vcpu.icount == 0
    assert rig.engine.run(100) == Exit.LIMIT
    assert rig.vcpu.icount == 100


def test_an_interrupt_is_taken_at_a_boundary_and_told_if_watched(rig: Rig) -> None:
    rig.load("1: j 1b")
    rig.load("1: j 1b", HANDLER)
    rig.vcpu.set("mie", f.MTIP)
    rig.vcpu.set("mstatus", f.MIE)
    rig.vcpu.set_irq(f.MTI, True)
    rig.engine.watch_traps(True)
    assert rig.engine.run(10) == Exit.TRAP
    assert rig.vcpu.pc == HANDLER
    assert rig.vcpu.get("mcause") == f.INTERRUPT | f.MTI


def test_a_watched_trap_ends_a_step_without_retiring(rig: Rig) -> None:
    rig.load("ecall")
    rig.engine.watch_traps(True)
    assert rig.engine.step() == Exit.TRAP
    assert rig.vcpu.icount == 0
    assert rig.trap() == (Cause.ECALL_M, 0)


def test_deterministic_time_follows_the_instruction_count(rig: Rig) -> None:
    rig.load("nop\nnop\nnop\nnop\ncsrr x1, time")
    rig.engine.set_time(offset=7, divisor=2, deterministic=True)
    rig.engine.run(5)
    assert rig.vcpu.reg("x", 1) == 7 + 4 // 2
