"""Random programs on other emulators: run an image on QEMU or Spike and read what it left behind.

QEMU's guest memory is a file that is read after the run; Spike writes a signature. Both run with
exactly the extensions that the instruction table has. Used by tests/lockstep and by campaigns.
"""

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from lamina.base.errors import HostError
from lamina.debug.qemu import CPU_OLD
from lamina.testing import random_layout as at
from lamina.testing.random_programs import RAM_SIZE, Image

TIMEOUT = 20  # seconds
QEMU_CPU = (
    "rv64,v=off,h=off,zfa=on,zfh=on,zicond=on,zcb=on,zacas=on,zabha=on,zawrs=on,zbc=on,svade=on,"
    "svadu=on,svnapot=on,svpbmt=on,svinval=on,zicboz=on,zicbom=on,sstc=on,zimop=on,zcmop=on,zbkb=on,zbkc=on,zbkx=on,zknd=on,zkne=on,zknh=on,zksed=on,"
    "zksh=on,ssaia=on,smaia=on,sscofpmf=off,"
    "pmu-mask=0xfffffff8"
)
QEMU_CPU_7 = CPU_OLD
# Besides, ctzw of QEMU 7.2 looks at the upper half of its operand when the lower one is zero.
NEWER_THAN_7 = frozenset(
    {
        "Zfa",
        "Zicond",
        "Zcb",
        "Zacas",
        "Zabha",
        "Zicbom",
        "Zicboz",
        "Zawrs",
        "Zimop",
        "Zcmop",
        "ctzw",
    }
)
SPIKE_ISA = (
    "rv64gc_zicntr_zihpm_zicbom_zicbop_zicboz_zicond_zcb_zba_zbb_zbc_zbs_zfa_zfh_zacas_zabha_"
    "zawrs_zimop_zcmop_zbkb_zbkc_zbkx_zkn_zks_svade_svadu_svnapot_svpbmt_svinval_sstc_zihintpause_zihintntl_zicclsm"
)
Memory = dict[int, bytes]


def compared(read: "Image", memory: bytes, base: int) -> Memory:
    """The compared ranges out of a copy of memory that begins at `base`."""
    return {gpa: memory[gpa - base : gpa - base + size] for gpa, size in at.COMPARED}


def run_qemu(image: Image, command: str = "qemu-system-riscv64", cpu: str = QEMU_CPU) -> Memory:
    """Run a program with the ending `finisher`; HostError if it does not end by itself."""
    program = shutil.which(command)
    if program is None:
        raise HostError(f"{command} is not installed")
    with tempfile.TemporaryDirectory(dir=_shared_memory()) as folder:
        ram = Path(folder) / "ram"
        with ram.open("wb") as file:
            file.truncate(RAM_SIZE)
            for gpa, data in image.pieces:
                file.seek(gpa - at.BASE)
                file.write(data)
        backend = f"memory-backend-file,id=ram,mem-path={ram},share=on,size={RAM_SIZE}"
        machine = ["-M", "virt,memory-backend=ram", "-object", backend, "-m", f"{RAM_SIZE >> 20}M"]
        quiet = ["-display", "none", "-serial", "none", "-monitor", "none", "-net", "none"]
        _run([program, *machine, "-cpu", cpu, "-bios", "none", *quiet])
        memory = ram.read_bytes()
        return {gpa: memory[gpa - at.BASE : gpa - at.BASE + size] for gpa, size in at.COMPARED}


def run_spike(image: Image, command: str) -> Memory:
    """Run a program with the ending `htif`."""
    with tempfile.TemporaryDirectory(dir=_shared_memory()) as folder:
        elf, signature = Path(folder) / "elf", Path(folder) / "signature"
        elf.write_bytes(_elf(image))
        options = [f"--isa={SPIKE_ISA}", "-m32"]
        options += [f"+signature={signature}", "+signature-granularity=8"]
        _run([command, *options, str(elf)])
        lines = signature.read_text().split()
        memory = b"".join(bytes.fromhex(line)[::-1] for line in lines)
        return {gpa: memory[gpa - at.SAVE : gpa - at.SAVE + size] for gpa, size in at.COMPARED}


def _shared_memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise HostError(f"{command[0]} did not end within {TIMEOUT} s") from None
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip().splitlines()
        raise HostError(f"{command[0]} failed ({done.returncode}): {text[-1] if text else ''}")


def _elf(image: Image) -> bytes:
    """A static executable with the symbols that Spike looks for."""
    end = at.BIG + at.BIG_SIZE
    symbols = {
        "tohost": image.symbols["tohost"],
        "fromhost": image.symbols["fromhost"],
        "begin_signature": at.SAVE,
        "end_signature": end,
    }
    names = b"\0.strtab\0.symtab\0" + b"".join(n.encode() + b"\0" for n in symbols)
    table = bytes(24)
    for name, value in symbols.items():
        where = names.index(b"\0" + name.encode() + b"\0") + 1
        table += struct.pack("<IBBHQQ", where, 0x10, 0, 0xFFF1, value, 8)
    memory = bytearray(end - at.BASE)
    for gpa, data in image.pieces:
        memory[gpa - at.BASE : gpa - at.BASE + len(data)] = data
    sections = names + bytes(-len(names) % 8) + table
    start = 0x1000
    at_names = start + len(memory)
    at_table = at_names + len(names) + -len(names) % 8
    at_sections = at_names + len(sections)
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH", 2, 243, 1, at.BASE, 64, at_sections, 5, 64, 56, 1, 64, 3, 1
    )
    head += struct.pack(
        "<IIQQQQQQ", 1, 7, start, at.BASE, at.BASE, len(memory), len(memory), 0x1000
    )
    section = struct.Struct("<IIQQQQIIQQ")
    headers = section.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    headers += section.pack(1, 3, 0, 0, at_names, len(names), 0, 0, 1, 0)
    headers += section.pack(9, 2, 0, 0, at_table, len(table), 1, 1, 8, 24)
    return head.ljust(start, b"\0") + bytes(memory) + sections + headers
