"""Single steps of QEMU by its gdb stub, beside the reference engine. Needs qemu-system-riscv64."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import side

from lamina.base.errors import HostError
from lamina.debug.gdb_client import GdbClient, _expanded
from lamina.engine.reference.engine import ReferenceEngine
from lamina.testing import random_layout as at
from lamina.testing.random_programs import Options, build, generate

PROGRAM = build(generate(4, Options(snippets=10, external=True, tame=True)))


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[GdbClient]:
    """QEMU, stopped before its first instruction, with the program at the start of RAM."""
    qemu = shutil.which("qemu-system-riscv64")
    assert qemu is not None, "qemu-system-riscv64 is not installed"
    image, door = tmp_path / "image", tmp_path / "gdb"
    memory = bytearray(at.IMAGE_END - at.BASE)
    for gpa, data in PROGRAM.pieces:
        if gpa < at.IMAGE_END:
            memory[gpa - at.BASE : gpa - at.BASE + len(data)] = data
    image.write_bytes(memory)
    options = ["-M", "virt", "-bios", "none", "-display", "none", "-serial", "none", "-S"]
    options += ["-device", f"loader,file={image},addr={at.BASE:#x},force-raw=on"]
    process = subprocess.Popen([qemu, *options, "-gdb", f"unix:{door},server=on,wait=off"])
    try:
        deadline = time.monotonic() + 20
        while not door.exists() and time.monotonic() < deadline:
            assert process.poll() is None, "QEMU ended"
        with GdbClient(door) as client:
            yield client
    finally:
        process.kill()
        process.wait()


def test_qemu_steps_as_the_reference_does(stub: GdbClient) -> None:
    while stub.registers()[-1] != at.BASE:
        stub.step()
    s = side(ReferenceEngine, PROGRAM)
    try:
        for i in range(32):
            s.engine.vcpu.set_reg("x", i, stub.registers()[i])
        for _ in range(60):
            s.engine.step()
            stub.step()
            vcpu = s.engine.vcpu
            assert stub.registers() == [*(vcpu.reg("x", i) for i in range(32)), vcpu.pc]
        assert stub.memory(at.BASE, 64) == s.space.read(at.BASE, 64)
    finally:
        s.close()


def test_nobody_listening_is_a_host_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="gdb stub"):
        GdbClient(tmp_path / "nothing")


def test_run_length_encoding_is_undone() -> None:
    assert _expanded(b"0* 1") == b"00001"
