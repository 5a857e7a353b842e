"""What the tests of specialisation share: hosts with a random state, and random routines."""

import random
from collections.abc import Mapping
from functools import cache

from lamina.base.bits import U64, mask
from lamina.ir.build import Builder, Val, Var
from lamina.ir.evaluate import Evaluator, Leave
from lamina.ir.graph import Routine
from lamina.isa.insn import Form
from lamina.isa.riscv import RISCV64
from lamina.isa.riscv.hart import FILES
from lamina.isa.riscv.state import LAYOUT
from lamina.testing.evalhost import EvalHost

BASE = 0x8000_0000
EDGES = (0, 1, 2, 3, 7, 31, 63, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, U64 - 1, U64)
SLOTS = ("s0", "s1", "s2")


def word(rng: random.Random) -> int:
    choice = rng.randrange(3)
    if choice == 0:
        return rng.choice(EDGES)
    return rng.getrandbits(64) & (rng.getrandbits(64) if choice == 1 else U64)


def random_word(form: Form, rng: random.Random) -> int:
    e = form.encoding
    while True:
        insn = e.match | rng.getrandbits(8 * e.length) & ~e.mask & mask(8 * e.length)
        if e.matches(insn) and RISCV64.table.decode(insn, e.length) is form:
            return insn


@cache
def _words() -> list[int]:
    """What registers and slots may hold: addresses, boxed floats, anything."""
    rng = random.Random(0)
    some = [word(rng) for _ in range(2000)]
    some += [BASE + rng.randrange(0x1000) for _ in range(1000)]
    return some + [mask(64) ^ mask(32) | rng.getrandbits(32) for _ in range(1000)]


class RandomHost(EvalHost):
    """A hart in a random state, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(FILES, base=BASE)
        rng = random.Random(seed)
        for name, values in self.regs.items():
            values[:] = rng.choices(_words(), k=len(values))
            if name in self.zero:
                values[0] = 0
        names = (*LAYOUT.slots, "irq", *SLOTS)
        self.slots.update(zip(names, rng.choices(_words(), k=len(names)), strict=True))
        self.slots |= {"priv": rng.choice((0, 1, 3)), "pc": BASE + 2 * rng.randrange(99)}
        self.slots |= {"fflags": rng.randrange(32), "frm": rng.randrange(6)}
        self.memory[:] = rng.randbytes(self.memory_size)
        self.retired, self.clock = rng.getrandbits(20), rng.getrandbits(64)

    def evaluate(
        self, ready: Evaluator, operands: Mapping[str, int], length: int, *args: int
    ) -> tuple[object, ...]:
        """Everything that a routine did; first what it returned, or "left"."""
        self._operands, self._length = dict(operands), length
        try:
            answer: object = ready(self, *args)
        except Leave:
            answer = "left"
        self.events += [self.trapped, self.exited, self._target]
        return answer, self.regs, self.slots, bytes(self.memory), self.events


class RandomRoutine:
    """Makes a routine of every kind of operation. It ends: loops count to three at most."""

    def __init__(self, rng: random.Random, callees: list[Routine], params: int = 0) -> None:
        self.rng = rng
        self.callees = callees
        self.b = Builder(f"r{len(callees)}", (64,) * params)
        self.values: list[Val] = list(self.b.params)
        self.room = 40
        self.jumped = False
        names = ("insn",) if params else ("p", "q", "insn")
        self.values += [self.b.operand(name) for name in names]
        self.vars: list[Var] = [self.b.var(64), self.b.var(64, rng.choice(EDGES))]

    def routine(self) -> Routine:
        self.block(0, False)
        return self.b.finish(self.value(), self.value())

    def value(self) -> Val:
        return self.rng.choice(self.values)

    def condition(self) -> Val:
        a, b = self.value(), self.rng.choice((self.value(), self.rng.choice(EDGES[:5])))
        return self.rng.choice((a == b, a != b, a.ult(b), a.sle(b), self.b.val(a[0], 1)))

    def block(self, depth: int, in_loop: bool) -> None:
        """Statements; values made here are forgotten behind."""
        outer = list(self.values)
        for _ in range(self.rng.randrange(1, 8)):
            if self.room <= 0:
                break
            self.room -= 1
            self.statement(depth, in_loop)
        if depth:
            self.values = outer

    def statement(self, depth: int, in_loop: bool) -> None:
        b, rng = self.b, self.rng
        simple = (self.arithmetic, self.variable, self.slot, self.register, self.memory, self.call)
        kind = rng.randrange(14)
        if kind == 13:
            self.last(depth, in_loop)
        elif kind < 10 or depth > 3:
            rng.choice(simple)()
        elif kind == 10:
            with b.when(self.condition()):
                self.block(depth + 1, in_loop)
            if rng.random() < 0.5:
                with b.otherwise():
                    self.block(depth + 1, in_loop)
        elif kind == 11:
            cases = {n: lambda: self.block(depth + 1, in_loop) for n in rng.sample(range(8), 3)}
            b.switch(self.value() & 7, cases, lambda: self.block(depth + 1, in_loop))
        else:
            self.loop(depth)

    def last(self, depth: int, in_loop: bool) -> None:
        """Something that ends a path."""
        choice = self.rng.randrange(4)
        with self.b.when(self.condition()):
            if choice == 0 and in_loop:
                self.b.leave_loop()
            elif choice == 1:
                self.b.trap(self.value(), self.value())
            elif choice == 2:
                self.b.leave()
            else:
                self.b.do("pending")

    def loop(self, depth: int) -> None:
        count, limit = self.b.var(64, 0), self.rng.randrange(4)
        with self.b.loop():
            with self.b.when(count.get() == limit):
                self.b.leave_loop()
            count.set(count.get() + 1)
            self.block(depth + 1, True)

    def arithmetic(self) -> None:
        a, b = self.value(), self.rng.choice((self.value(), self.rng.choice(EDGES)))
        choice = self.rng.randrange(14)
        if choice == 0:
            self.values.append(self.b.select(self.condition(), a, b))
        elif choice == 1:
            self.values.append(a.trunc(self.rng.choice((8, 32))).sext(64))
        elif choice == 2:
            self.values.append(a[15:8].zext(64))
        elif choice == 3:
            self.values.append(self.rng.choice((a.clz(), a.ctz(), a.bswap(), a.popcount())))
        elif choice == 4:
            self.values.append(self.rng.choice((a.sdiv(b), a.srem(b), a.udiv(b), a.urem(b), a * b)))
        else:
            plain = (a + b, a - b, a & b, a | b, a ^ b, a << b, a >> b, a.sar(b), b - a, ~a)
            self.values.append(self.rng.choice(plain))

    def variable(self) -> None:
        var = self.rng.choice(self.vars)
        if self.rng.random() < 0.5:
            var.set(self.rng.choice((self.value(), self.rng.choice(EDGES))))
        else:
            self.values.append(var.get())

    def slot(self) -> None:
        name = self.rng.choice(SLOTS)
        if self.rng.random() < 0.5:
            self.b.set(name, self.value())
        else:
            self.values.append(self.b.get(name))

    def register(self) -> None:
        index = self.rng.choice((self.rng.randrange(3), self.value() & 3))
        if self.rng.random() < 0.5:
            self.b.set_reg(self.rng.choice("xf"), index, self.value())
        else:
            self.values.append(self.b.reg(self.rng.choice("xf"), index))

    def memory(self) -> None:
        at = (self.value() & 0xFF) + BASE
        if self.rng.random() < 0.5:
            self.b.store(at, self.value().trunc(32))
        else:
            self.values.append(self.b.load(at, 2).zext(64))

    def call(self) -> None:
        if self.callees:
            callee = self.rng.choice(self.callees)
            args = [self.rng.choice((self.value(), self.rng.choice(EDGES))) for _ in callee.params]
            self.values += self.b.call(callee, *args)
