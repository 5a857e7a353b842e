"""The plot of the tables: each workload's speed against QEMU's. Called by `whole.py`."""

from collections.abc import Sequence
from pathlib import Path

from bench.report import Section

AHEAD, BEHIND = "#4477aa", "#cc6677"


def ratios(sections: Sequence[Section], path: Path) -> bool:
    """Bars on a logarithmic axis, one panel a set; False if matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lamina"
    from matplotlib import pyplot

    shown = [s for s in sections if s.values]
    if not shown:
        return False
    heights = [len(s.values) + 2.5 for s in shown]
    figure, axes = pyplot.subplots(
        *(len(shown), 1),
        figsize=(7, 0.2 * sum(heights)),
        height_ratios=heights,
        squeeze=False,
    )
    for axis, section in zip(axes[:, 0], shown, strict=True):
        values = list(section.values.values())
        colours = [AHEAD if value >= 1 else BEHIND for value in values]
        bars = axis.barh(list(section.values), [v - 1 for v in values], left=1, color=colours)
        axis.bar_label(bars, [f"{value:.2f}" for value in values], padding=3, fontsize=7)
        axis.set_xscale("log")
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(f"{section.title}: {section.unit}", loc="left", fontsize=9)
        axis.tick_params(labelsize=7)
        axis.margins(x=0.15)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return True
