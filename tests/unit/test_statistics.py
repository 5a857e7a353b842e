"""What engines count: summed over vCPUs, and told by the command line."""

import pytest

from lamina.cli.statistics import Row, print_statistics, rows
from lamina.engine.statistics import EngineStatistics, RegionStatistics, total

FIRST = EngineStatistics(
    instructions=3_000_000,
    cpu_seconds=0.5,
    compiled_samples=3,
    threaded_samples=1,
    code_pages=2,
    boundaries=9,
    exits={"REQUEST": 1, "IDLE": 2},
    regions=RegionStatistics(compiled=4, instructions=60, code_bytes=2048),
)
SECOND = EngineStatistics(instructions=1, exits={"IDLE": 5}, regions=FIRST.regions)


def named(lines: list[Row], name: str) -> Row:
    return next(line for line in lines if line.name == name)


def test_vcpus_add_up_and_the_regions_that_they_share_count_once() -> None:
    both = total([FIRST, SECOND])
    assert both.instructions == 3_000_001
    assert both.cpu_seconds == 0.5
    assert both.exits == {"IDLE": 7, "REQUEST": 1}
    assert both.regions == FIRST.regions
    assert total([]) == EngineStatistics()


def test_speed_is_of_the_vcpus_time_and_nothing_without_any() -> None:
    assert FIRST.instructions_per_second == 6_000_000
    assert EngineStatistics(instructions=5).instructions_per_second == 0


def test_table_has_shares_of_time_and_the_commonest_exit_first() -> None:
    lines = rows(FIRST)
    assert named(lines, "compiled regions").value == "75.0 %"
    assert named(lines, "threaded").value == "25.0 %"
    assert named(lines, "speed").value == "6 MIPS"
    assert named(lines, "host code").value == "2.0 KiB"
    names = [line.name for line in lines]
    assert names.index("idle") < names.index("request")
    assert [line.title for line in lines].count("TLB") == 1


def test_what_an_engine_does_not_count_is_left_out() -> None:
    assert [line.name for line in rows(EngineStatistics(instructions=7))] == [
        "instructions retired"
    ]


def test_table_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    print_statistics(FIRST)
    out, err = capfd.readouterr()
    assert out == ""
    assert "3,000,000" in err
