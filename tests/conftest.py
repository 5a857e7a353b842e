"""Shared by all tests: the markers, and the choice of engines."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "boot: boots a real operating system; fetches its packages")
