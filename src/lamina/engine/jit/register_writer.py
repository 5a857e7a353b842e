"""Guest registers in compiled regions, as LLVM text.

A register lives in a local variable of the region's function, which LLVM turns into values. In
regions that write `late`, and in small loops (`shape.Loop`), the state gets what was written only
where control leaves or a slow path begins; elsewhere every write is also stored as it is made.
Registers of floats are variables of the host's type. Base of the writer of regions.
"""

from lamina.engine.jit.flow import Decoded
from lamina.engine.jit.shape import Loop
from lamina.engine.threaded.functions import MemoryWriter
from lamina.ir.graph import Op, Value

# Accesses to the state, the TLB and guest RAM never touch each other's memory.
STATE = ", !alias.scope !4, !noalias !5"
TLB = ", !alias.scope !6, !noalias !7"
RAM = ", !alias.scope !8, !noalias !9"
METADATA = """
!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
!2 = distinct !{!2, !"guest"}
!10 = distinct !{!10, !2, !"state"}
!11 = distinct !{!11, !2, !"tlb"}
!12 = distinct !{!12, !2, !"ram"}
!4 = !{!10}
!5 = !{!11, !12}
!6 = !{!11}
!7 = !{!10, !12}
!8 = !{!12}
!9 = !{!10, !11}
"""


class RegisterWriter(MemoryWriter):
    """Registers and slots of one region's function."""

    member: Decoded  # the instruction being written
    loop: Loop | None = None  # the small loop that it is in

    def prepare_registers(self) -> None:
        """Called once before anything is written."""
        self.registers: set[tuple[str, int]] = set()
        self.keeps = False  # all variables hold throughout
        self.late = False  # nothing is stored before control leaves
        self.dirty = 0  # registers, as bits, that the state may lack
        self.at_hand = 0  # registers, as bits, of which that is so in this block
        self._files = list(self.layout.files)
        self._halves: dict[str, str] = {}  # the double whose lower half an integer is
        self._doubles: dict[str, str] = {}  # the same bits as double, by 64-bit integer

    def local(self, file: str, index: int) -> str:
        """The variable of a register."""
        self.registers.add((file, index))
        return f"%{file}{index}"

    def local_type(self, file: str) -> str:
        return "double" if self.layout.files[file].floating else "i64"

    def named(self, bits: int) -> list[tuple[str, int]]:
        """The registers of a set as bits, as `Decoded` has it."""
        return [
            (file, index)
            for i, file in enumerate(self._files)
            for index in range(self.layout.files[file].count)
            if bits >> 64 * i + index & 1
        ]

    def bring(self, bits: int) -> None:
        """Have registers in their variables: outside of loops, they may only be in the state."""
        if self.loop is None and not self.keeps:
            for file, index in self.named(bits & ~self.at_hand):
                if index or not self.layout.files[file].zero:
                    self.load_register(file, index)
            self.at_hand |= bits

    def load_register(self, file: str, index: int) -> None:
        """From the state to the variable."""
        kind = self.local_type(file)
        pointer = self.word_pointer(self.layout.file_base[file] + index)
        value = self.temp(f"load {kind}, ptr {pointer}{STATE}")
        self.out(f"store {kind} {value}, ptr {self.local(file, index)}")

    def flush(self) -> None:
        """Make the registers in the state exact: those that were kept back."""
        for file, index in self.named(self.dirty):
            self.store_register(file, index)

    def store_register(self, file: str, index: int) -> None:
        """From the variable to the state."""
        kind = self.local_type(file)
        value = self.temp(f"load {kind}, ptr {self.local(file, index)}")
        pointer = self.word_pointer(self.layout.file_base[file] + index)
        self.out(f"store {kind} {value}, ptr {pointer}{STATE}")

    def op_reg_get(self, op: Op) -> None:
        file, index = op.attrs["file"], int(self.use(op.args[0]))
        if index == 0 and self.layout.files[file].zero:
            self.bind(op.results[0], "0")
            return
        kind = self.local_type(file)
        name = self.temp(f"load {kind}, ptr {self.local(file, index)}")
        if kind == "double":
            bits = self.temp(f"bitcast double {name} to i64")
            self.floats[bits] = self._doubles[bits] = name
            name = bits
        self.bind(op.results[0], name)

    def op_reg_set(self, op: Op) -> None:
        file, index = op.attrs["file"], int(self.use(op.args[0]))
        if index == 0 and self.layout.files[file].zero:
            return
        kind, value = self.local_type(file), self.typed(op.args[1])
        if value.split(" ")[0] != kind:
            value = f"{kind} {self.temp(f'bitcast {value} to {kind}')}"
        self.out(f"store {value}, ptr {self.local(file, index)}")
        if self.late:
            self.dirty |= 1 << 64 * self._files.index(file) + index
        elif self.loop is None:
            pointer = self.word_pointer(self.layout.file_base[file] + index)
            self.out(f"store {value}, ptr {pointer}{STATE}")

    def op_trunc(self, op: Op) -> None:
        super().op_trunc(op)
        double = self._doubles.get(self.use(op.args[0]))
        if double is not None and op.results[0].width == 32:
            self._halves[self.use(op.results[0])] = double

    def as_float(self, value: Value) -> str:
        double = self._halves.get(self.use(value))
        if double is None or self.use(value) in self.floats:
            return super().as_float(value)
        pair = self.temp(f"bitcast double {double} to <2 x float>")
        return self.temp(f"extractelement <2 x float> {pair}, i32 0")

    def op_get(self, op: Op) -> None:
        if op.attrs["slot"] == "irq":
            return super().op_get(op)
        pointer = self.slot_pointer(op.attrs["slot"])
        self.bind(op.results[0], self.temp(f"load i64, ptr {pointer}{STATE}"))

    def op_set(self, op: Op) -> None:
        pointer = self.slot_pointer(op.attrs["slot"])
        self.out(f"store i64 {self.use(op.args[0])}, ptr {pointer}{STATE}")
