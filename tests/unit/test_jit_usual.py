"""What is usually so of the state, and is looked at where a region is entered."""

from dataclasses import replace

import pytest
from regions import region, text

from lamina.engine.jit.usual import rare_conditions
from lamina.ir.graph import Block, Op

FLOATS = "1: fld fa0, 0(a0)\n fadd.d fa1, fa1, fa0\n addi a0, a0, 8\n bnez a0, 1b\n ret"


def slots(source: str) -> set[str]:
    """The slots that the conditions read directly or by a mask."""
    found = set()
    for condition in rare_conditions(region(source)):
        work = [condition]
        while work:
            op = work.pop().op
            work += op.args
            if op.name == "get":
                found.add(op.attrs["slot"])
    return found


def test_floats_want_the_fpu_on_and_used_and_rounding_to_nearest() -> None:
    assert slots(FLOATS) == {"mstatus", "frm"}
    assert "@step_one" in text(region(FLOATS)).partition("define")[2]


def test_that_is_not_looked_at_again() -> None:
    entry, _, rest = text(region(FLOATS)).partition("\ne0:")
    assert entry.count("label %rarely") == len(rare_conditions(region(FLOATS)))
    # Of the branch: in the loop with checks, and in that without.
    assert rest.count("label %then") == 2


@pytest.mark.parametrize("change", ["csrw mstatus, a1", "csrw frm, a1", "csrrw a1, fcsr, a2"])
def test_what_changes_the_state_is_in_no_region(change: str) -> None:
    assert set(region(FLOATS.replace("addi", f"{change}\n addi")).members) == {0, 4}


def test_a_region_that_changes_the_state_is_entered_as_it_is() -> None:
    r = region(FLOATS)
    usual = len(rare_conditions(r))
    for slot, left in (("frm", usual - 1), ("mstatus", usual - 1), ("fflags", usual)):
        set_it = Op("set", (r.members[8].routine.body.ops[0].results[0],), {"slot": slot})
        body = Block([*r.members[8].routine.body.ops, set_it])
        changing = replace(r.members[8], routine=replace(r.members[8].routine, body=body))
        assert len(rare_conditions(replace(r, members={**r.members, 8: changing}))) == left


def test_a_few_floats_are_not_worth_it() -> None:
    assert not slots(FLOATS.replace("addi a0, a0, 8\n", "addi a0, a0, 8\n" * 20))
    assert not slots("1: addi a0, a0, 8\n bnez a0, 1b\n ret")
