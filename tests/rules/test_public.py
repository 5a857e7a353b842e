"""The public face: what `lamina` re-exports; all of it is documented, none of it is eager."""

import inspect
import subprocess
import sys

import pytest

import lamina

FACE = {
    *("Machine", "MachineConfig", "Outcome", "Exit", "ConsoleTimeout", "__version__"),
    *("LaminaError", "ConfigError", "ImageError", "HostError", "BusError", "SnapshotError"),
}
CLASSES = sorted(FACE - {"__version__"})


def test_the_face_is_this_and_no_more() -> None:
    assert set(lamina.__all__) == FACE
    assert set(dir(lamina)) >= FACE
    assert all(hasattr(lamina, name) for name in FACE)
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        lamina.nothing_of_that_name  # noqa: B018


@pytest.mark.parametrize("name", CLASSES)
def test_public_names_have_docstrings(name: str) -> None:
    thing = getattr(lamina, name)
    assert inspect.getdoc(thing)
    missing = [
        f"{name}.{attribute}"
        for attribute, value in vars(thing).items()
        if not attribute.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property))
        and not inspect.getdoc(value)
    ]
    assert not missing


@pytest.mark.parametrize("name", [n for n in CLASSES if n.endswith(("Error", "Timeout"))])
def test_errors_are_lamina_errors(name: str) -> None:
    assert issubclass(getattr(lamina, name), lamina.LaminaError)


def test_import_lamina_imports_next_to_nothing() -> None:
    code = "import sys, lamina; print(*sorted(m for m in sys.modules if m.startswith('lamina')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["lamina", "lamina.base", "lamina.base.version"]


def test_the_version_is_one() -> None:
    assert all(part.isdigit() for part in lamina.__version__.split(".")[:2])
