"""Tables in plain text."""

from lamina.cli.columns import aligned


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "1", "x"), ("long", "12345", "")], right={1}) == [
        "a         1  x",
        "long  12345",
    ]
    assert aligned([]) == []
