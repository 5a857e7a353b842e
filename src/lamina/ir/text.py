"""The text form of routines: for golden tests, `lamina show` and people."""

from lamina.ir.graph import Block, Op, Routine


def render(routine: Routine) -> str:
    """The whole routine, one operation a line, blocks indented."""
    params = ", ".join(map(repr, routine.params))
    head = f"routine {routine.name}({params})"
    if routine.results:
        head += " -> " + ", ".join(f"%{r.number}" for r in routine.results)
    lines = [head]
    _block(routine.body, 1, lines)
    return "\n".join(lines) + "\n"


def _attr(value: object) -> str:
    name = getattr(value, "name", None)
    if name is not None:
        return str(name)
    return hex(value) if isinstance(value, int) and value > 9 else str(value)


def _line(op: Op) -> str:
    left = ", ".join(f"%{r.number}:{r.width}" for r in op.results)
    words = [op.name]
    words += [f"%{a.number}" for a in op.args]
    words += [
        _attr(v) if k in ("value", "operand", "slot", "var") else f"{k}={_attr(v)}"
        for k, v in op.attrs.items()
        if k != "cases"
    ]
    return (left + " = " if left else "") + " ".join(words)


def _block(block: Block, depth: int, lines: list[str]) -> None:
    pad = "  " * depth
    for op in block.ops:
        lines.append(pad + _line(op))
        labels = {"if": ["then", "else"], "loop": ["do"]}.get(op.name)
        if op.name == "switch":
            labels = [f"case {c:#x}" for c in op.attrs["cases"]] + ["default"]
        for label, inner in zip(labels or [], op.blocks, strict=False):
            if inner.ops:
                lines.append(f"{pad}{label}:")
                _block(inner, depth + 1, lines)
