"""Results as text: a table of goals, and one of contestants for each row; into docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contest import OURS, Goal, Row, Samples, median
from benchmarks.results import Result

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
PLACE = PAGE.with_suffix("")
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"

Rows = dict[str, Row]
Results = dict[str, Result]


def write(rows: Rows, results: Results, plots: dict[str, Path], page: Path = PAGE) -> None:
    """Put all of it between the marks of the page."""
    parts = [goals_text(rows, results), *_systems(results), ""]
    for key, row in rows.items():
        if key in results:
            parts.append(row_text(row, results[key], plots.get(key)))
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}{chr(10).join(parts)}{END}{after}", "utf-8")


def _systems(results: Results) -> list[str]:
    """What ran where; one line if all rows were measured on one day and machine."""
    lines = (", ".join(f"{name} {told}" for name, told in one.system.items()) for one in results.values())
    return [f"{line[0].upper()}{line[1:]}." for line in dict.fromkeys(lines)]


def goals_text(rows: Rows, results: Results) -> str:
    """What was to be reached, and what was."""
    lines = ["| work | goal | reached | | load |", "|---|---|---|---|---|"]
    for key, row in rows.items():
        for goal in row.goals:
            is_there = key in results
            lines.append(_goal_line(row, goal, results[key]) if is_there else _unmeasured(row, goal))
    return "\n".join([*lines, ""])


def _unmeasured(row: Row, goal: Goal) -> str:
    return f"| {row.title} | {goal.text} | not measured | | |"


def _goal_line(row: Row, goal: Goal, result: Result) -> str:
    ratio = goal.ratio(result.samples)
    shown = "not measured" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
    verdict = "" if ratio is None else "yes" if goal.is_reached(ratio) else "**no**"
    return f"| {row.title} | {goal.text} | {shown} | {verdict} | {result.load[0]:.1f} |"


def row_text(row: Row, result: Result, plot: Path | None = None) -> str:
    """One table. The ratio: the time of the store to that of the contestant; below 1 it is ahead."""
    lines = [f"### {row.title[0].upper()}{row.title[1:]}", ""]
    lines += [f"![{row.title}]({PLACE.name}/{plot.name})", ""] if plot is not None else []
    lines += [
        "| contestant | settings | median | least to most | store to it | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_contestant_line(one.name, one.settings, result) for one in row.contestants]
    return "\n".join([*lines, "", _footnote(row, result), ""])


def _contestant_line(name: str, settings: str, result: Result) -> str:
    if name not in result.samples:
        return f"| {name} | {settings} | not installed | | | |"
    times = [sample["seconds"] for sample in result.samples[name]]
    middle, ours = median(result.samples, name, "seconds"), median(result.samples, OURS, "seconds")
    assert middle is not None
    ratio = f"{ours / middle:.2f}" if ours is not None else ""
    spread = f"{shown(min(times))} to {shown(max(times))}"
    return f"| {name} | {settings} | {shown(middle)} | {spread} | {ratio} | {_others(result.samples, name)} |"


def _others(samples: Samples, name: str) -> str:
    """The further figures of a contestant."""
    keys = [key for key in samples[name][0] if key != "seconds"]
    values = {key: median(samples, name, key) or 0.0 for key in keys}
    return ", ".join(f"{key.replace('_', ' ')} {_number(value)}" for key, value in values.items())


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _footnote(row: Row, result: Result) -> str:
    scale = result.scale
    amount = f"; {row.each.replace('_', ' ')}: {scale[row.each]:,.0f}" if row.each else ""
    load = f"load {result.load[0]:.1f} before, {result.load[1]:.1f} after"
    return f"{result.rounds} rounds{amount}; {load}."


def shown(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms"
