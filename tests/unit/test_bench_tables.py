"""From samples to the tables and targets of the benchmarks."""

import pytest

from bench import smp, tables
from bench.catalogue import COMPILED, GROUPS, Group, Workload, chosen
from bench.run import EVERYTHING
from bench.sampling import Sample

GROUP = Group("integer", "Integer", 3.0, True)
FIB, SORT = (Workload(name, "integer", "call", 1) for name in ("fib", "qsort"))


def _rounds(*rates: float) -> list[Sample]:
    return [Sample(1, rate, "0", 1.0, 0.5) for rate in rates]


SAMPLES = {
    "fib": {"native": _rounds(900), "qemu": _rounds(90, 100, 300), "lamina": _rounds(50, 400, 500)},
    "qsort": {"native": _rounds(800), "qemu": _rounds(100), "lamina": _rounds(25)},
}


def test_a_rate_is_the_median_of_the_rounds() -> None:
    fib, _ = tables.lines([FIB, SORT], SAMPLES)
    assert fib.rates == {"native": 900, "qemu": 100, "lamina": 400}
    assert fib.over("lamina", "qemu") == 4.0
    assert fib.over("lamina", "other") is None


def test_the_first_round_is_looked_at_alone() -> None:
    fib, _ = tables.first_round([FIB, SORT], SAMPLES)
    assert fib.rates == {"native": 900, "qemu": 90, "lamina": 50}


def test_a_sets_table_ends_in_the_geometric_mean() -> None:
    found = tables.group_section(GROUP, tables.lines([FIB, SORT], SAMPLES), {"qemu": "QEMU 9"})
    assert "QEMU 9" in found.columns
    assert found.rows[0] == [
        *("fib", "call", "900", "-", "100", "9.00", "400", "2.25", "4.00", "yes")
    ]
    assert found.rows[1][-2:] == ["0.25", "**no**"]
    assert found.rows[2][-2] == "1.00"
    assert found.values == {"fib": 4.0, "qsort": 0.25}


def test_targets_are_met_missed_or_not_measured() -> None:
    found = tables.lines([FIB, SORT], SAMPLES)
    by_name = {t.what: t for t in tables.targets(found, found)}
    assert by_name["Integer, geometric mean"].met is False
    assert by_name["Memory, geometric mean"].met is None
    assert by_name["Memory, geometric mean"].row()[-1] == "not measured"
    every = by_name["Every single workload"]
    assert every.met is False and every.figure == "1 of 2 below: qsort 0.25"
    better = {**SAMPLES, "qsort": {**SAMPLES["qsort"], "lamina": _rounds(400)}}
    found = tables.lines([FIB, SORT], better)
    by_name = {t.what: t for t in tables.targets(found, found)}
    assert by_name["Integer, geometric mean"].row()[-1] == "met"
    assert by_name["Every single workload"].met is True
    assert by_name["All compute sets, geometric mean"].met is True


@pytest.mark.parametrize(
    ("cold", "warm", "verdicts"), [(2.0, 1.0, [True, True]), (2.3, 1.1, [False] * 2)]
)
def test_a_boot_may_cost_as_much_as_qemus_and_a_warm_one_half(
    cold: float, warm: float, verdicts: list[bool]
) -> None:
    cpu = {"lamina, cold": cold, "lamina, warm": warm, "qemu": 2.1}
    found = tables.boot_targets(cpu, {"lamina, cold": 3e8, "qemu": 2e8})
    assert [target.met for target in found] == [*verdicts, False]
    assert [t.met for t in tables.boot_targets({"lamina, cold": 1.0}, {})] == [None] * 3


def test_two_vcpus_are_compared_by_wall_time_where_threads_compute() -> None:
    one, two = Sample(1, 100, "0", 1.0, 1.0), Sample(1, 100, "0", 1.0, 0.5)
    rates = smp.medians(
        {
            "thr2": {"lamina": [one], "lamina, 2 vCPUs": [two]},
            "pipe": {"lamina": [one], "lamina, 2 vCPUs": [two]},
        }
    )
    verdicts = {target.what: target for target in smp.targets(rates)}
    assert verdicts["Two vCPUs against one: thr2"].figure == "2.00"
    assert verdicts["Two vCPUs against one: thr2"].met is True
    assert verdicts["Two vCPUs against one: pipe"].figure == "1.00"
    assert verdicts["Two vCPUs against one: mprotect"].met is None
    section = smp.section(rates, ["lamina"], {})
    assert section.rows[0] == ["thr2", "wall s", "100", "200", "2.00"]


def test_sets_and_workloads_are_chosen_by_name() -> None:
    assert [w.name for w in chosen(["smc", "memory"], COMPILED)][-1] == "smc"
    assert {w.group for w in chosen(["memory"], COMPILED)} == {"memory"}
    with pytest.raises(ValueError, match="fibb: not a set or workload"):
        chosen(["fibb"], COMPILED)


def test_each_workload_has_a_name_of_its_own_and_a_set() -> None:
    names = [workload.name for workload in EVERYTHING]
    assert len(names) == len(set(names))
    assert {w.group for w in EVERYTHING} == {group.name for group in GROUPS} | {"smp"}
    assert all(w.scale >= 1 and w.scaled(quick=True) >= 1 for w in EVERYTHING)
    assert set(smp.WORKLOADS) <= set(names)
