"""The platform-level interrupt controller (RISC-V PLIC specification 1.0.0).

    0x000000 + 4 * source                 priority, 0 to 7; 0 never interrupts
    0x001000 + 4 * word                   pending bits
    0x002000 + 0x80 * context + 4 * word  enable bits
    0x200000 + 0x1000 * context           threshold; at + 4 claim (read) and complete (write)

Source n has a gateway: a line that is driven high makes the source pending once; it can become
pending again only after the claim has been completed, and only if its device has driven the line
high since the claim. A level that merely stays is not forwarded again, which is QEMU's reading of
the specification, and the one that guests are tested with: xv6 never takes back the UART's
interrupt for an empty transmitter, and would serve that for ever. Source 0 does not exist. A claim
takes the pending, enabled source of the highest priority (the lowest number of equals), whatever
the threshold; a completion counts only for a source that is enabled in that context.

Sources are bits of Python ints here: `_pending`, `_claimed`, `_driven` (high, not forwarded yet),
`_enable[context]`, and `_above[t]`, the sources whose priority exceeds t. So an update is one AND a
context.
"""

from typing import Any

from lamina.base.bits import U32, field, mask
from lamina.bus.irq import IrqLine
from lamina.devices.device import Device, TreeNode
from lamina.devices.state import StateReader

PENDING = 0x1000
ENABLE = 0x2000
ENABLE_STRIDE = 0x80
CONTEXT = 0x20_0000
CONTEXT_STRIDE = 0x1000
THRESHOLD = 0
CLAIM = 4
PRIORITY_BITS = 3
LEVELS = 1 << PRIORITY_BITS


class Plic(Device):
    """Many sources to many contexts (a context is one privilege mode of one hart)."""

    name = "plic"
    size = 0x60_0000
    access_sizes = frozenset({4})

    def __init__(self, sources: int, contexts: list[IrqLine]) -> None:
        """`sources` counts source 0; `contexts` are the lines to the harts, in context order."""
        if not 1 < sources <= 1024 or not contexts:
            raise ValueError("a PLIC has 2 to 1024 sources and at least one context")
        self.sources = sources
        self._contexts = contexts
        self._words = (sources + 31) // 32
        self._valid = mask(sources) & ~1
        self._driven = 0
        self._lines = [self._line(source) for source in range(sources)]
        self._clear()

    def source(self, number: int) -> IrqLine:
        """The line into source `number` (1 and up), for a device to drive."""
        if not 0 < number < self.sources:
            raise ValueError(f"the PLIC has sources 1 to {self.sources - 1}, not {number}")
        return self._lines[number]

    def _line(self, source: int) -> IrqLine:
        def raised() -> None:
            self._driven |= 1 << source
            self._update()

        def on_change(level: bool) -> None:
            if level:
                raised()
            else:
                # What the gateway has already forwarded stays pending (specification, section 1.4).
                self._driven &= ~(1 << source)

        return IrqLine(on_change, raised)

    def _clear(self) -> None:
        self._priority = [0] * self.sources
        self._above = [0] * LEVELS
        self._pending = 0
        self._claimed = 0
        self._enable = [0] * len(self._contexts)
        self._threshold = [0] * len(self._contexts)
        # Lines that are high now may wait to be heard: once too often does no harm.
        self._driven = sum(line.level << source for source, line in enumerate(self._lines))

    def _update(self) -> None:
        """Let the gateways forward what is not in service, then drive every context."""
        self._pending |= self._driven & ~self._claimed
        self._driven &= self._claimed
        for context, line in enumerate(self._contexts):
            above = self._above[self._threshold[context]]
            line.set(self._pending & self._enable[context] & above != 0)

    # Registers

    def read(self, offset: int, size: int) -> int:
        if offset % 4:
            return 0
        if offset < PENDING:
            return self._priority[offset // 4] if offset // 4 < self.sources else 0
        if offset < ENABLE:
            return self._word(self._pending, (offset - PENDING) // 4)
        if offset < CONTEXT:
            context, at = divmod(offset - ENABLE, ENABLE_STRIDE)
            return self._word(self._enable[context], at // 4) if self._exists(context) else 0
        context, register = divmod(offset - CONTEXT, CONTEXT_STRIDE)
        if not self._exists(context):
            return 0
        if register == THRESHOLD:
            return self._threshold[context]
        return self._claim(context) if register == CLAIM else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset % 4 or PENDING <= offset < ENABLE:
            return
        if offset < PENDING:
            self._set_priority(offset // 4, value)
        elif offset < CONTEXT:
            context, at = divmod(offset - ENABLE, ENABLE_STRIDE)
            self._set_enable(context, at // 4, value & U32)
        else:
            context, register = divmod(offset - CONTEXT, CONTEXT_STRIDE)
            if not self._exists(context):
                return
            if register == THRESHOLD:
                self._threshold[context] = value & mask(PRIORITY_BITS)
            elif register == CLAIM:
                self._complete(context, value)
        self._update()

    def _exists(self, context: int) -> bool:
        return context < len(self._contexts)

    @staticmethod
    def _word(bits: int, word: int) -> int:
        return field(bits, 32 * word + 31, 32 * word)

    def _set_priority(self, source: int, value: int) -> None:
        """WARL: three bits are kept."""
        if not 0 < source < self.sources:
            return
        priority = self._priority[source] = value & mask(PRIORITY_BITS)
        for level in range(LEVELS):
            self._above[level] &= ~(1 << source)
            if priority > level:
                self._above[level] |= 1 << source

    def _set_enable(self, context: int, word: int, value: int) -> None:
        if self._exists(context) and word < self._words:
            others = self._enable[context] & ~(U32 << 32 * word)
            self._enable[context] = (others | value << 32 * word) & self._valid

    def _claim(self, context: int) -> int:
        candidates = self._pending & self._enable[context]
        for level in reversed(range(LEVELS)):
            best = candidates & self._above[level]
            if best:
                bit = best & -best
                self._pending &= ~bit
                self._claimed |= bit
                self._update()
                return bit.bit_length() - 1
        return 0

    def _complete(self, context: int, source: int) -> None:
        if source < self.sources:
            self._claimed &= ~(1 << source & self._enable[context])

    # Life cycle

    def reset(self) -> None:
        self._clear()
        self._update()

    def save(self) -> dict[str, Any]:
        """The levels of the sources are not here: the devices that drive them restore them."""
        return {
            "priority": list(self._priority),
            "pending": self._to_words(self._pending),
            "claimed": self._to_words(self._claimed),
            "enable": [self._to_words(enable) for enable in self._enable],
            "threshold": list(self._threshold),
        }

    def load(self, state: dict[str, Any]) -> None:
        keys = ("priority", "pending", "claimed", "enable", "threshold")
        reader = StateReader(self.name, state, *keys)
        contexts = len(self._contexts)
        priority = reader.integers("priority", self.sources, mask(PRIORITY_BITS))
        pending = self._from_words(reader.integers("pending", self._words, U32))
        claimed = self._from_words(reader.integers("claimed", self._words, U32))
        threshold = reader.integers("threshold", contexts, mask(PRIORITY_BITS))
        enable = []
        for words in reader.table("enable", contexts):
            row = StateReader(self.name, {"enable": words}, "enable")
            enable.append(self._from_words(row.integers("enable", self._words, U32)))
        self._clear()
        self._pending, self._claimed = pending, claimed
        self._enable, self._threshold = enable, threshold
        for source, value in enumerate(priority):
            self._set_priority(source, value)
        self._update()

    def _to_words(self, bits: int) -> list[int]:
        return [self._word(bits, word) for word in range(self._words)]

    def _from_words(self, words: list[int]) -> int:
        return sum(word << 32 * at for at, word in enumerate(words)) & self._valid

    def fdt_node(self, tree: TreeNode, base: int) -> TreeNode:
        node = tree.node(f"plic@{base:x}")
        node.text("compatible", "sifive,plic-1.0.0", "riscv,plic0")
        node.reg(base, self.size)
        node.flag("interrupt-controller")
        node.cells("#interrupt-cells", 1)
        node.cells("#address-cells", 0)
        node.cells("riscv,ndev", self.sources - 1)
        return node
