"""Reading saved device state, which may come from anywhere: every field is checked for kind and
range.

Devices read all fields first and assign afterwards, so that a refused state changes nothing.
"""

from typing import Any

from lamina.base.bits import U64
from lamina.base.errors import SnapshotError


class StateReader:
    """Typed access to one device's saved dict; SnapshotError names the device and the field."""

    def __init__(self, device: str, state: Any, *keys: str) -> None:
        """`keys` are all the fields that there must be; more or fewer are refused."""
        if not isinstance(state, dict) or set(state) != set(keys):
            raise SnapshotError(f"{device}: saved state must have exactly {', '.join(keys)}")
        self._device = device
        self._state: dict[str, Any] = state

    def refuse(self, key: str, expected: str) -> SnapshotError:
        """The error for a field that is not as expected."""
        return SnapshotError(f"{self._device}: saved {key} is not {expected}")

    def integer(self, key: str, maximum: int = U64, minimum: int = 0) -> int:
        value = self._state[key]
        if type(value) is not int or not minimum <= value <= maximum:
            raise self.refuse(key, f"an integer from {minimum:#x} to {maximum:#x}")
        return value

    def boolean(self, key: str) -> bool:
        value = self._state[key]
        if type(value) is not bool:
            raise self.refuse(key, "true or false")
        return value

    def blob(self, key: str, maximum: int) -> bytes:
        value = self._state[key]
        if not isinstance(value, bytes) or len(value) > maximum:
            raise self.refuse(key, f"at most {maximum} bytes")
        return value

    def integers(self, key: str, count: int, maximum: int = U64) -> list[int]:
        value = self._state[key]
        good = isinstance(value, list) and len(value) == count
        if not good or any(type(item) is not int or not 0 <= item <= maximum for item in value):
            raise self.refuse(key, f"a list of {count} integers up to {maximum:#x}")
        return list(value)

    def table(self, key: str, count: int) -> list[Any]:
        """A list of `count` items, each to be read by a StateReader of its own."""
        value = self._state[key]
        if not isinstance(value, list) or len(value) != count:
            raise self.refuse(key, f"a list of {count} items")
        return value

    def mapping(self, key: str) -> Any:
        """A nested dict, to be read by a StateReader of its own."""
        return self._state[key]
