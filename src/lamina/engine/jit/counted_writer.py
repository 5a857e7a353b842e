"""Loops whose passes are counted before they begin, as functions of their own, as LLVM text.

Such a loop (`counted`) has no exit but its end: its function is in a module of its own, to which
LLVM's vectoriser and unroller are given, which would take too long for whole regions. It takes
registers from the state and leaves them there; the region calls it with the number of passes and
what leads to the host's addresses of each stride. Base of the writer of regions.
"""

from lamina.engine.jit.flow import Decoded
from lamina.engine.jit.loop_writer import LoopWriter
from lamina.engine.jit.shape import Part
from lamina.engine.jit.strides import Cycle

LEAST = 32  # passes that are worth a call


class CountedWriter(LoopWriter):
    """Loops of one region that are counted."""

    parts: dict[int, Part]

    def prepare_counted(self) -> None:
        """Called once before anything is written."""
        self.counted: list[str] = []  # the functions

    def begin(self, offset: int) -> Decoded:
        """What is written now is an instruction's."""
        raise NotImplementedError

    def run_counted(self, cycle: Cycle, passes: str) -> None:
        """From the top of a loop: do so many passes, if they are worth a call."""
        ahead = self.temp(f"sub i64 {self.temp('load i64, ptr %bud')}, {self.pending()}")
        ahead = self.temp(f"call i64 @llvm.smax.i64(i64 {ahead}, i64 0)")
        room = self.temp(f"udiv i64 {ahead}, {cycle.length}")
        passes = self.least(passes, room)
        enough = self.temp(f"icmp uge i64 {passes}, {LEAST}")
        go, few = self.label("counted"), self.label("few")
        self.branch(enough, go, few)
        self.open(go)
        self.flush()
        names = [self.variable_of(cycle, stride) for stride in cycle.strides]
        bases = "".join(f", ptr {self.temp(f'load ptr, ptr {n}')}" for n in names)
        name = f'@"counted.{cycle.head}"'
        self.out(f"call void {name}(ptr %s, i64 {passes}{bases})")
        self.declares.add(f"declare dso_local void {name}(ptr, i64{', ptr' * len(names)})")
        for file, index in self.named(self.parts[cycle.head].changes):
            self.load_register(file, index)
        now = self.temp("load i64, ptr %bud")
        spent = self.temp(f"mul i64 {passes}, {cycle.length}")
        self.out(f"store i64 {self.temp(f'sub i64 {now}, {spent}')}, ptr %bud")
        self.close(f"br label %checked.{cycle.head}")
        self._write(name, cycle, names)
        self.open(few)

    def _write(self, name: str, cycle: Cycle, bases: list[str]) -> None:
        """The function of a loop, by the names of the variables for its strides."""
        part = self.parts[cycle.head]
        outer = self.lines, self.registers, self.dirty
        self.lines, self.registers, self.cycle = [], set(), cycle
        self.open("pass")
        for offset in part.offsets[:-1]:
            member = self.begin(offset)
            self.escape, self.within = "", None
            self.block(member.routine.body)
        left = self.temp(f"sub i64 {self.temp('load i64, ptr %left')}, 1")
        self.out(f"store i64 {left}, ptr %left")
        self.branch(self.temp(f"icmp eq i64 {left}, 0"), "done", "pass")
        self.open("done")
        for file, index in self.named(part.changes):
            self.store_register(file, index)
        self.close("ret void")
        body, used = self.lines, sorted(self.registers)
        self.lines, self.closed = [], False
        for base in bases:
            self.out(f"{base} = alloca ptr")
            self.out(f"store ptr {base}.p, ptr {base}")
        self.out("%left = alloca i64")
        self.out("store i64 %passes, ptr %left")
        for file, index in used:
            self.out(f"{self.local(file, index)} = alloca {self.local_type(file)}")
            self.load_register(file, index)
        self.close("br label %pass")
        arguments = "".join(f", ptr {base}.p" for base in bases)
        head = f"define void {name}(ptr %s, i64 %passes{arguments}) nounwind"
        attributes = '"no-builtins" "prefer-vector-width"="256"'
        lines = [f"{head} {attributes} {{", "entry:", *self.lines, *body, "}"]
        self.counted.append("\n".join(lines))
        for stride in cycle.strides:
            stride.group.base = ""  # in the region it is another one
        (self.lines, self.registers, self.dirty), self.cycle = outer, None
        self.closed = True
