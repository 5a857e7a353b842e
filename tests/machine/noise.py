"""Runs random instruction words in a machine; a program of its own, so that a crash is one test's.

    python noise.py ENGINE MODE SEED WORDS

The guest is a field of noise, entered in MODE (m, s or u). Its trap handler puts protection and
delegation right again and goes on at a place in the noise that the instruction count chooses.
Prints the instructions retired and the traps taken.
"""

import sys

from lamina.testing import guests

FIELD = 8192  # words of noise a machine
ENTRIES, BETWEEN = 150, 150  # how often a field is entered from outside, for how many instructions


def source(mode: str) -> str:
    level = guests.MODES[mode] << 11
    return f"""
    {guests.vector("trap")}
    {guests.enter(mode, "noise")}
    .balign 4
    trap: csrw mscratch, t0
    la sp, traps; ld t0, 0(sp); addi t0, t0, 1; sd t0, 0(sp)
    li sp, 40503; mul t0, t0, sp; slli t0, t0, 2; li sp, {4 * FIELD - 4}; and t0, t0, sp
    la sp, noise; add t0, t0, sp; csrw mepc, t0
    li t0, 0x21800; csrc mstatus, t0; li t0, {level}; csrs mstatus, t0
    li t0, 0x6000; csrs mstatus, t0
    csrw medeleg, zero; csrw mideleg, zero; csrw mie, zero; csrw satp, zero
    li t0, 0x1f; csrw pmpcfg0, t0; li t0, -1; csrw pmpaddr0, t0
    csrr t0, mscratch; la sp, data; mret
    .balign 4096
    traps: .dword 0
    .balign 4096
    data: .zero 4096
    noise:
    """


def run(engine: str, mode: str, seed: int, count: int) -> tuple[int, int]:
    program = guests.assemble(source(mode))
    retired = taken = 0
    while retired < count:
        words = [w for w in guests.random_words(seed, FIELD, 0.95) if not guests.waits(w)]
        code = program.code + b"".join(w.to_bytes(4, "little") for w in words)
        with guests.machine(code, engine=engine) as m:
            cpu = m.cpus[0]
            for _ in range(ENTRIES):
                outcome = m.run(max_instructions=BETWEEN, timeout=20)
                assert outcome.reason in ("limit", "crash"), outcome
                cpu.set("priv", guests.MODES["m"])  # out of loops, and of vectors set to nowhere
                cpu.pc = program.symbols["trap"]
            retired += m.icount
            taken += m.memory.read_u64(program.symbols["traps"])
        seed += 1
    return retired, taken


if __name__ == "__main__":
    print(*run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
