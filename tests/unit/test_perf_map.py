"""The map that names compiled code for Linux perf."""

import os
from pathlib import Path

import pytest

from lamina.base.errors import HostError
from lamina.engine.code.arena import CodeArena
from lamina.engine.code.image import CodeImage
from lamina.engine.code.perf_map import PerfMap

RET = b"\xc3"


def test_functions_go_to_where_the_next_begins(tmp_path: Path) -> None:
    names, arena = PerfMap(), CodeArena(1 << 20)
    path = names.open(tmp_path)
    placed = arena.place(CodeImage(RET * 48, {"b": 16, "a": 0, "also.b": 16}), lambda name: 0)
    names.add_functions(placed, "lamina ")
    names.add(0x7000, 0x20, "guest 12+0x4")
    start = placed.address
    assert path.read_text().splitlines() == [
        f"{start:x} 10 lamina a",
        f"{start + 16:x} 20 lamina b",
        "7000 20 guest 12+0x4",
    ]
    arena.close()
    names.close()
    assert path.exists(), "perf reads it after the process has ended"


def test_nothing_is_written_before_it_is_opened(tmp_path: Path) -> None:
    names = PerfMap()
    names.add(1, 2, "lost")
    assert names.open(tmp_path).read_text() == ""


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"perf-{os.getpid()}.map").symlink_to(victim)
    names = PerfMap()
    names.open(tmp_path)
    names.add(1, 2, "f")
    names.close()
    assert victim.read_text() == "precious"


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"perf-.*cannot be written"):
        PerfMap().open(tmp_path / "nowhere")
