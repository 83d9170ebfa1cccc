"""What the tour says, in lines for a terminal of 80 columns."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import singledispatch

import click

from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.output import counted, listed, printable, shown_path, shown_size
from agent_world_distfs.faces.tour import COPY, PREFIX, STEPS, WORLD, Step, StepReport, TourReport
from agent_world_distfs.faces.tour.facts import (
    Audited,
    Broken,
    Compared,
    Deduplicated,
    Exported,
    Facts,
    Pruned,
    Pulled,
    Raced,
    Refusal,
    Stored,
)

LABEL_WIDTH = 15
MAX_PATHS = 5


def heading(step: Step) -> Iterator[str]:
    """What is promised."""
    yield ""
    yield _styled(f"{STEPS.index(step) + 1}/{len(STEPS)} {step.name}: {step.promise}", bold=True)


def findings(report: StepReport) -> Iterator[str]:
    """What was found out."""
    if report.facts is not None:
        yield from tell(report.facts)
    for sentence in report.broken:
        yield _row("BROKEN", _styled(printable(sentence), fg="red"))


def ending(report: TourReport, kept: str | None) -> Iterator[str]:
    """The table of all that was shown, the verdict, and what to try next."""
    yield ""
    yield _styled("What was shown", bold=True)
    for step in report.steps:
        shown = "" if step.facts is None else sum_up(step.facts)
        verdict = _styled("held  ", fg="green") if step.has_held() else _styled("BROKEN", fg="red")
        yield _row(step.name, f"{shown:<43}{verdict} {step.took_s:6.1f} s")
    yield ""
    yield _verdict(report)
    yield from _next_steps(report.directory, kept)


def _verdict(report: TourReport) -> str:
    failed = [step.name for step in report.steps if not step.has_held()]
    if not failed:
        return _styled(f"All {len(report.steps)} promises held, in {report.took_s:.1f} s.", fg="green")
    left = len(STEPS) - len(report.steps)
    rest = f" {counted(left, 'step')} could not be taken." if left else ""
    return _styled(f"Did not hold: {', '.join(failed)}.{rest}", fg="red")


def _next_steps(directory: str, kept: str | None) -> Iterator[str]:
    if kept is None:
        yield "The stores of the tour are gone again. What to try next:"
        yield _command("tour", directory, "--keep", "tour-stores")
        yield _command("import-tree", directory, "--store", "world")
        yield _command("--help")
        return
    yield f"The stores are kept in {printable(os.path.abspath(kept))}. What to try next:"
    world, copy = os.path.join(kept, WORLD), os.path.join(kept, COPY)
    yield _command("ls", PREFIX, "--store", world)
    yield _command("audit", "--verify", "--store", world)
    yield _command("checkout", "out", PREFIX.rstrip("/"), "--store", copy)


def _command(*words: str) -> str:
    return "    " + printable(shlex.join([_program(), *words]))


def _program() -> str:
    """How the command can be called from here: by its name, or as the script of its environment."""
    script = os.path.join(os.path.dirname(sys.executable), "distfs")
    if shutil.which("distfs") or not os.path.exists(script):
        return "distfs"
    relative = os.path.relpath(script)
    return script if relative.startswith(os.pardir) else relative


def _styled(text: str, **style: str | bool) -> str:
    """For a terminal that wants no plain text."""
    is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    is_plain = not (is_wanted and output.standard_output().isatty())
    return text if is_plain else click.style(text, **style)  # type: ignore[arg-type]


def _row(label: str, text: str) -> str:
    return "    " + _styled(f"{label:<{LABEL_WIDTH}}", fg="cyan") + text


def _paths(label: str, paths: Sequence[str], meaning: str = "") -> Iterator[str]:
    """A row that counts paths, if there are any, and the first of them."""
    if paths:
        yield _row(label, counted(len(paths), "path") + meaning)
        for line in listed(map(shown_path, paths), len(paths), at_most=MAX_PATHS):
            yield " " * (LABEL_WIDTH + 2) + line


def _short(content_hash: str) -> str:
    return f"{content_hash[:12]}..."


def _amount(total_files: int, total_bytes: int) -> str:
    return f"{counted(total_files, 'file')}, {shown_size(total_bytes)}"


# --- what each step found out --------------------------------------------------------------------


@singledispatch
def tell(facts: Facts) -> Iterator[str]:
    """The rows for one step."""
    raise TypeError(f"no words for {type(facts).__name__}")


@singledispatch
def sum_up(facts: Facts) -> str:
    """The same in 42 characters, for the table."""
    raise TypeError(f"no words for {type(facts).__name__}")


@tell.register
def _(facts: Stored) -> Iterator[str]:
    yield _row("in the index", _amount(facts.total_files, facts.total_bytes))
    if facts.refused_because is None:
        yield _row("in one step", "yes: nobody ever sees a part of it")
    else:
        yield _row("in one step", "no, it cannot be read as a whole; so file by file:")
        yield _row("", printable(facts.refused_because))
    yield from _paths("left out", facts.skipped_paths, ": no regular file, not readable, or no UTF-8 name")


@sum_up.register
def _(facts: Stored) -> str:
    left_out = f", {len(facts.skipped_paths):,} left out" if facts.skipped_paths else ""
    return _amount(facts.total_files, facts.total_bytes) + left_out


@tell.register
def _(facts: Deduplicated) -> Iterator[str]:
    yield _row("files", f"{facts.total_files:,} with {shown_size(facts.total_bytes)}")
    yield _row("blobs", f"{facts.distinct_blobs:,} with {shown_size(facts.distinct_bytes)}")
    if facts.most_shared is None:
        yield _row("saved", "nothing: no two files here are the same")
        return
    yield _row("saved", f"{shown_size(facts.saved_bytes)} ({_saved_share(facts)})")
    blob = facts.most_shared
    yield _row(
        "most shared",
        f"{blob.total_paths:,} files are one blob of {shown_size(blob.size_bytes)}, the first is",
    )
    yield _row("", shown_path(blob.path))


@sum_up.register
def _(facts: Deduplicated) -> str:
    return f"{counted(facts.distinct_blobs, 'blob')}, {_saved_share(facts)} saved"


def _saved_share(facts: Deduplicated) -> str:
    return f"{facts.saved_bytes / facts.total_bytes:.1%}" if facts.saved_bytes else "nothing"


@tell.register
def _(facts: Raced) -> Iterator[str]:
    yield _row("from one start", f"each process adds 1 to {facts.path}, {facts.times_each} times")
    for each in facts.contenders:
        yield _row(
            f"process {each.process_id}",
            f"{each.acknowledged} written, {each.refused} refused, read again and retried",
        )
    if facts.refusal is not None:
        yield from _refusal(facts.refusal)
    written = f"{facts.acknowledged} written, {_lost(facts)} lost"
    yield _row("in the end", f"the count is {facts.final_count}: {written}")


def _refusal(refusal: Refusal) -> Iterator[str]:
    yield _row("a conflict", f"process {refusal.process_id} was refused:")
    yield _row("", f"expected {_short(refusal.expected)}  {printable(refusal.expected_content)}")
    yield _row("", f"actual   {_short(refusal.actual)}  {printable(refusal.actual_content)}")
    yield _row("", f"waited {refusal.waited_s * 1000:.1f} ms, then read it again and retried")


@sum_up.register
def _(facts: Raced) -> str:
    return f"{facts.acknowledged} written, {facts.refused} refused, {_lost(facts)} lost"


def _lost(facts: Raced) -> int:
    return facts.acknowledged - facts.final_count


@tell.register
def _(facts: Broken) -> Iterator[str]:
    if facts.path is None:
        yield _row("a copy of", f"a text of its own ({shown_size(facts.size_bytes)})")
    else:
        yield _row("a copy of", f"{shown_path(facts.path)} ({shown_size(facts.size_bytes)})")
    yield _row("broken", f"one bit of byte {facts.flipped_at:,} turned round, behind the store's back")
    if facts.bytes_hash_to is not None:
        yield _row("reading it", "refused:")
        yield _row("", f"expected {_short(facts.content_hash)}")
        yield _row("", f"actual   {_short(facts.bytes_hash_to)}")
    yield _row("audit", f"names {counted(len(facts.corrupt_blob_hashes), 'corrupt blob')}:")
    for content_hash in facts.corrupt_blob_hashes:
        yield _row("", f"         {_short(content_hash)}")
    if facts.is_healed and facts.is_sound_again:
        yield _row("healed", "by writing the same bytes again: reads back, audit sound")


@sum_up.register
def _(facts: Broken) -> str:
    return "refused, named, healed" if not list(facts.broken()) else "not refused, not named or not healed"


@tell.register
def _(facts: Audited) -> Iterator[str]:
    report = facts.report
    yield _row("files", f"{report.total_indexed_files:,}, the counter among them")
    yield _row("hashed", shown_size(facts.hashed_bytes))
    if report.is_sound():
        yield _row("verdict", "sound: nothing missing, damaged or corrupt")
    orphans = counted(len(report.orphan_blob_hashes), "blob")
    yield _row("orphans", f"{orphans} that nothing names: the overwritten counts")


@sum_up.register
def _(facts: Audited) -> str:
    verdict = "sound" if facts.report.is_sound() else "not sound"
    return f"{shown_size(facts.hashed_bytes)} hashed, {verdict}"


@tell.register
def _(facts: Pruned) -> Iterator[str]:
    yield _row("removed", f"{_pruned(facts)} freed")
    left = counted(facts.after.total_indexed_files, "file")
    yield _row(
        "left", f"{left}, all of them; the audit is {'clean' if facts.after.is_clean() else 'not clean'}"
    )


@sum_up.register
def _(facts: Pruned) -> str:
    return _pruned(facts)


def _pruned(facts: Pruned) -> str:
    return f"{counted(facts.pruned.pruned_blobs, 'orphan')}, {shown_size(facts.pruned.freed_bytes)}"


@tell.register
def _(facts: Exported) -> Iterator[str]:
    yield f"    {facts.ref}"
    yield _row("names", f"{counted(facts.total_files, 'file')}, with content and time")
    if facts.second_ref == facts.ref:
        yield _row("once more", "the same reference")


@sum_up.register
def _(facts: Exported) -> str:
    return f"{counted(facts.total_files, 'file')} in {shown_size(facts.ref.size_bytes)}"


@tell.register
def _(facts: Pulled) -> Iterator[str]:
    yield _row("second store", f"{counted(facts.total_files, 'file')}, {facts.added:,} of them new there")
    if facts.ref == facts.expected_ref:
        yield _row("its own export", "the same reference")


@sum_up.register
def _(facts: Pulled) -> str:
    same = "the same" if facts.ref == facts.expected_ref else "another"
    return f"{counted(facts.total_files, 'file')}, {same} reference"


@tell.register
def _(facts: Compared) -> Iterator[str]:
    yield _row("identical", _amount(facts.identical_files, facts.identical_bytes))
    yield from _paths("changed since", facts.changed_paths)
    yield from _paths("gone since", facts.gone_paths)
    yield from _paths("new since", facts.new_paths)
    yield from _paths("different", facts.different_paths)
    yield from _paths("not stored", facts.unstored_paths)


@sum_up.register
def _(facts: Compared) -> str:
    moved = len(facts.changed_paths) + len(facts.gone_paths) + len(facts.new_paths)
    since = f", {moved:,} changed since" if moved else ""
    return f"{facts.identical_files:,} of {facts.total_files:,} files identical{since}"
