"""Each file is one part: a docstring, and at most 500 lines (tables of instructions 900)."""

import ast
from pathlib import Path

import pytest

import lamina

PACKAGE = Path(lamina.__file__).parent
TREE = PACKAGE.parents[1]
FILES = [
    *sorted(PACKAGE.rglob("*.py")),
    *sorted((TREE / "tests").rglob("*.py")),
    *sorted((TREE / "guests").rglob("*.py")),
]
LIMIT, TABLE_LIMIT = 500, 900  # ruff holds the columns


def name_of(file: Path) -> str:
    return file.relative_to(TREE).as_posix().removeprefix("src/lamina/")


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_the_shape_of(file: Path) -> None:
    text = file.read_text()
    table = name_of(file).startswith("isa/")
    assert text.count("\n") <= (TABLE_LIMIT if table else LIMIT)
    if text.strip():
        assert ast.get_docstring(ast.parse(text))
