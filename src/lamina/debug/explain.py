"""One step of a machine, in words: the instruction and everything that it changed.

For people at a Python prompt, and for tests that print why they fail:

    print(explain(machine))
    0x0000000080000050  00000093  li ra, 0
        x1: 0x7 -> 0x0
"""

from lamina.base.exits import Exit
from lamina.machine.machine import Machine

QUIET = {"pc"}  # changes that the next line tells anyway


def explain(machine: Machine, cpu: int = 0) -> str:
    """Step a vCPU once; the instruction, then a line for each register and slot that changed."""
    vcpu = machine.cpus[cpu]
    lines = machine.disassemble(cpu=cpu) or [f"{vcpu.pc:#018x}  cannot be fetched"]
    before, pc, retired = dict(vcpu.items()), vcpu.pc, vcpu.icount
    code = machine.step(cpu)
    changes = {
        name: (before[name], value)
        for name, value in vcpu.items()
        if value != before[name] and name not in QUIET
    }
    lines += [f"    {name}: {old:#x} -> {new:#x}" for name, (old, new) in changes.items()]
    if vcpu.icount == retired:
        lines.append(f"    trapped: pc {pc:#x} -> {vcpu.pc:#x}")
    if code is not Exit.LIMIT:
        lines.append(f"    came out: {code.name}")
    return "\n".join(lines)
