"""A plot for each row, where matplotlib is installed: medians as bars, the rounds as dots."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from benchmarks.contest import OURS, Row, median
from benchmarks.results import Result

OUR_COLOUR, THEIR_COLOUR, DOT_COLOUR = "#1f6f8b", "#b8c4c9", "#333333"


def draw(rows: dict[str, Row], results: dict[str, Result], place: Path) -> dict[str, Path]:
    """Draw them; where each is. The same results give the same bytes."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no plots: matplotlib is not installed")
        return {}
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "distfs", "font.size": 9}
    place.mkdir(parents=True, exist_ok=True)
    return {
        key: _draw_row(row, results[key], place / f"{key}.svg")
        for key, row in rows.items()
        if key in results and len(results[key].samples) > 1
    }


def _draw_row(row: Row, result: Result, path: Path) -> Path:
    from matplotlib import pyplot as plt

    figure_name = "p99_ms" if row.key == "processes" else "median_us" if row.key == "latency" else "seconds"
    names = [one.name for one in row.contestants if one.name in result.samples]
    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.3 * len(names)), layout="constrained")
    _bars(axes, names, result, figure_name)
    axes.set_title(row.title, loc="left", fontsize=10)
    axes.set_xlabel({"seconds": "seconds", "p99_ms": "99th percentile, ms", "median_us": "us"}[figure_name])
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _bars(axes: Any, names: list[str], result: Result, figure_name: str) -> None:
    middles = [median(result.samples, name, figure_name) or 0.0 for name in names]
    colours = [OUR_COLOUR if name.startswith(OURS) else THEIR_COLOUR for name in names]
    axes.barh(names, middles, color=colours, height=0.65)
    for line, name in enumerate(names):
        values = [sample[figure_name] for sample in result.samples[name]]
        axes.plot(values, [line] * len(values), ".", color=DOT_COLOUR, markersize=3)
    if max(middles) > 20 * min(middles) > 0:
        axes.set_xscale("log")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
