"""Test finisher: which values stop the machine, and how."""

import pytest

from lamina.devices.finisher import ShutdownKind, ShutdownRequest, TestFinisher


@pytest.fixture
def asked():
    return []


@pytest.fixture
def finisher(asked):
    return TestFinisher(asked.append)


@pytest.mark.parametrize(
    ("value", "request_"),
    [
        (0x5555, ShutdownRequest(ShutdownKind.POWEROFF)),
        (0xABCD_5555, ShutdownRequest(ShutdownKind.POWEROFF)),
        (0x7777, ShutdownRequest(ShutdownKind.REBOOT)),
        (0x3333, ShutdownRequest(ShutdownKind.FAIL, 0)),
        (0xFFFF_3333, ShutdownRequest(ShutdownKind.FAIL, 0xFFFF)),
        (0x002A_3333, ShutdownRequest(ShutdownKind.FAIL, 42)),
    ],
)
def test_magic_values_ask_for_shutdown(finisher, asked, value, request_):
    finisher.write(0, 4, value)
    assert asked == [request_]


def test_other_values_and_offsets_are_inert(finisher, asked):
    magic = {0x5555, 0x3333, 0x7777}
    for value in set(range(0x1_0000)) - magic:
        finisher.write(0, 4, value)
    for offset in range(1, 0x1000):
        finisher.write(offset, 2, 0x5555)
    assert asked == []
    assert finisher.read(0, 4) == 0
