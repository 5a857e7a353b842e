"""The test finisher of SiFive's boards: the guest's way to power off, fail or reboot.

One 32-bit register: 0x5555 passes (power off), 0x3333 fails with the exit code in the upper half,
0x7777 resets. Also a `syscon`, so that Linux' poweroff and reboot drivers use it by the nodes
`syscon-poweroff` and `syscon-reboot`, which the board adds. It only reports; the Machine acts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lamina.base.bits import field
from lamina.devices.device import Device, TreeNode
from lamina.devices.state import StateReader

PASS = 0x5555
FAIL = 0x3333
RESET = 0x7777


class ShutdownKind(Enum):
    """What the guest asks for."""

    POWEROFF = "poweroff"
    FAIL = "fail"
    REBOOT = "reboot"


@dataclass(frozen=True)
class ShutdownRequest:
    """A guest's wish to stop; `code` is the exit code of FAIL (0 to 65535), otherwise 0."""

    kind: ShutdownKind
    code: int = 0


class TestFinisher(Device):
    """Turns magic values into ShutdownRequests for `on_exit`."""

    __test__ = False  # not a test case, whatever pytest makes of the name
    name = "finisher"
    size = 0x1000
    access_sizes = frozenset({2, 4})

    def __init__(self, on_exit: Callable[[ShutdownRequest], None]) -> None:
        self._on_exit = on_exit

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset != 0:
            return
        command = field(value, 15, 0)
        if command == PASS:
            self._on_exit(ShutdownRequest(ShutdownKind.POWEROFF))
        elif command == FAIL:
            self._on_exit(ShutdownRequest(ShutdownKind.FAIL, field(value, 31, 16)))
        elif command == RESET:
            self._on_exit(ShutdownRequest(ShutdownKind.REBOOT))

    def reset(self) -> None:
        pass

    def save(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any]) -> None:
        StateReader(self.name, state)

    def fdt_node(self, tree: TreeNode, base: int) -> TreeNode:
        node = tree.node(f"test@{base:x}")
        node.text("compatible", "sifive,test1", "sifive,test0", "syscon")
        node.reg(base, self.size)
        return node
