"""The tour takes any directory, changes nothing in it, and says so when a promise does not hold."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent_world_distfs import (
    LocalCasStore,
    Progress,
    StorageError,
    StorageFullError,
)
from agent_world_distfs.faces.tour import COPY, PREFIX, STEPS, WORLD, Step, StepReport, TourReport, disk, race
from agent_world_distfs.faces.tour import run_tour as run
from agent_world_distfs.faces.tour.breaking import OWN_BYTES, blob_path, flip_bit
from agent_world_distfs.faces.tour.contender import decode
from agent_world_distfs.faces.tour.disk import Disk
from agent_world_distfs.faces.tour.facts import (
    Audited,
    Broken,
    Compared,
    Deduplicated,
    Exported,
    Pruned,
    Pulled,
    Raced,
    Stored,
)
from trees import looks

F = TypeVar("F")
CONTROL = "\x1b[31mred\nline"
LARGE = bytes(range(256)) * 400


class SilentGuide:
    """Says nothing, counts progress, and may do something after a step."""

    def __init__(self, **after: Callable[[], object]) -> None:
        self._after = {name.replace("_", " "): act for name, act in after.items()}
        self.seen: dict[str, tuple[int, int | None]] = {}

    @contextmanager
    def during(self, step: Step) -> Iterator[Progress]:
        yield lambda done, total: self.seen.update({step.name: (done, total)})

    def after(self, report: StepReport) -> None:
        self._after.get(report.name, lambda: None)()


class Tour:
    """Tours of one directory."""

    def __init__(self, directory: Path, workshop: Path) -> None:
        self.directory = directory
        self.workshop = workshop
        workshop.mkdir()

    def __call__(self, guide: SilentGuide | None = None) -> TourReport:
        return run(str(self.directory), workshop=str(self.workshop), guide=guide or SilentGuide())

    def store(self, name: str = WORLD) -> LocalCasStore:
        return LocalCasStore(self.workshop / name, create=False)


def fact(report: TourReport, kind: type[F]) -> F:
    """What the step found out whose facts are of this kind."""
    found = [step.facts for step in report.steps if isinstance(step.facts, kind)]
    assert len(found) == 1
    return found[0]


def failed(report: TourReport) -> dict[str, str]:
    """The steps whose promise did not hold, and what they say of it."""
    return {step.name: "; ".join(step.broken) for step in report.steps if not step.has_held()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Duplicates, empty files, odd names, a large file, and what is no file at all."""
    root = tmp_path / "tree"
    (root / "sub" / "deep").mkdir(parents=True)
    for name, data in {
        "a": b"a",
        "sub/same": b"a",
        "empty": b"",
        "sub/empty too": b"",
        "large": LARGE,
        "sub/deep/large too": LARGE,
        CONTROL: b"odd",
        "gr\u00fc\u00df": b"text",
        "counter.json": b"the directory's own",
    }.items():
        (root / name).write_bytes(data)
    (root / "link").symlink_to("a")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def tour(tmp_path: Path, tree: Path) -> Tour:
    return Tour(tree, tmp_path / "workshop")


@pytest.fixture
def empty_tour(tmp_path: Path) -> Tour:
    directory = tmp_path / "empty"
    directory.mkdir()
    return Tour(directory, tmp_path / "workshop")


# --- a directory with a bit of everything --------------------------------------------------------


def test_every_promise_holds_and_every_step_is_taken(tour: Tour) -> None:
    report = tour()
    assert failed(report) == {}
    assert report.has_held()
    assert [(step.name, step.promise) for step in report.steps] == [
        (step.name, step.promise) for step in STEPS
    ]


def test_the_directory_is_only_read(tour: Tour) -> None:
    before = looks(tour.directory)
    tour()
    assert looks(tour.directory) == before


def test_every_file_is_stored_and_the_rest_is_said(tour: Tour) -> None:
    stored = fact(tour(), Stored)
    assert (stored.total_files, stored.read_files) == (9, 9)
    assert stored.total_bytes == stored.read_bytes == 2 * len(LARGE) + 2 + 3 + 4 + 19
    assert stored.skipped_paths == ("link", "pipe")
    assert stored.refused_because is None
    with tour.store() as store:
        assert store.read_file(f"{PREFIX}{CONTROL}") == b"odd"


def test_duplicates_are_counted(tour: Tour) -> None:
    found = fact(tour(), Deduplicated)
    assert (found.total_files, found.distinct_blobs) == (9, 6)
    assert found.saved_bytes == found.total_bytes - found.distinct_bytes == len(LARGE) + 1
    assert found.most_shared is not None
    assert (found.most_shared.path, found.most_shared.total_paths) == (f"{PREFIX}large", 2)


def test_two_processes_race_and_nothing_is_lost(tour: Tour) -> None:
    raced = fact(tour(), Raced)
    assert len({each.process_id for each in raced.contenders} | {os.getpid()}) == 3
    assert raced.final_count == raced.acknowledged == 2 * race.TIMES_EACH
    assert raced.refusal is not None
    assert raced.refused >= 1
    assert decode(raced.refusal.expected_content.encode()) == 0
    assert decode(raced.refusal.actual_content.encode()) >= 1  # the other may have counted on meanwhile
    with tour.store() as store:
        assert decode(store.read_file(raced.path)) == raced.final_count
        assert store.hash_bytes(raced.refusal.expected_content.encode()) == raced.refusal.expected


def test_a_file_of_the_directory_is_broken_in_a_copy_and_healed(tour: Tour) -> None:
    broken = fact(tour(), Broken)
    assert broken.path == f"{PREFIX}large"
    assert broken.size_bytes == len(LARGE)
    assert broken.bytes_hash_to not in (None, broken.content_hash)
    assert broken.corrupt_blob_hashes == (broken.content_hash,)
    assert broken.is_healed
    assert broken.is_sound_again


def test_the_audit_hashes_all_and_the_prune_takes_the_overwritten_counts(tour: Tour) -> None:
    report = tour()
    audited, pruned = fact(report, Audited), fact(report, Pruned)
    assert audited.report.is_verified
    assert audited.report.total_indexed_files == 10
    assert audited.hashed_bytes > len(LARGE)
    assert pruned.pruned.pruned_blobs == len(pruned.orphans_before) == 2 * race.TIMES_EACH
    assert pruned.pruned.freed_bytes == sum(len(f'{{"count": {n}}}') for n in range(2 * race.TIMES_EACH))


def test_the_second_store_is_the_first_and_the_disk(tour: Tour) -> None:
    report = tour()
    exported, pulled, compared = fact(report, Exported), fact(report, Pulled), fact(report, Compared)
    assert exported.total_files == pulled.total_files == pulled.added == 10
    assert pulled.ref == exported.ref
    assert compared.total_files == compared.identical_files == 9
    assert compared.identical_bytes == fact(report, Stored).total_bytes
    with tour.store(COPY) as copy:
        assert copy.read_file(f"{PREFIX}large") == LARGE


def test_long_steps_tell_their_progress(tour: Tour) -> None:
    guide = SilentGuide()
    tour(guide)
    assert {name for name, (done, _) in guide.seen.items() if done} == {
        *("store", "audit", "prune", "pull", "compare")
    }
    assert guide.seen["compare"] == (9, 9)


# --- directories with little in them --------------------------------------------------------------


def test_an_empty_directory_is_toured_too(empty_tour: Tour) -> None:
    report = empty_tour()
    assert failed(report) == {}
    assert len(report.steps) == len(STEPS)
    assert fact(report, Stored).total_files == fact(report, Compared).total_files == 0
    assert fact(report, Deduplicated).most_shared is None
    assert (fact(report, Broken).path, fact(report, Broken).size_bytes) == (None, len(OWN_BYTES))


def test_a_directory_with_nothing_that_can_be_stored_says_so(empty_tour: Tour) -> None:
    root = empty_tour.directory
    (root / "link").symlink_to("/")
    os.mkfifo(root / f"pipe{CONTROL}")
    try:
        (root / os.fsdecode(b"no text \xff")).write_bytes(b"1")
    except OSError:
        pytest.skip("this file system only takes names that are text")
    report = empty_tour()
    assert failed(report) == {}
    assert fact(report, Stored).total_files == 0
    assert fact(report, Stored).skipped_paths == ("link", "no text \\xff", f"pipe{CONTROL}")


def test_only_small_files_leave_the_tour_to_break_a_text_of_its_own(empty_tour: Tour) -> None:
    (empty_tour.directory / "small").write_bytes(b"small")
    report = empty_tour()
    assert failed(report) == {}
    assert fact(report, Broken).path is None


# --- directories that resist ------------------------------------------------------------------------


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file ``a`` cannot be read, by whomever the tests are run."""
    open_file = Disk.open

    def refuse(disk: Disk, path: str) -> Any:
        if path == "a":
            raise PermissionError(path)
        return open_file(disk, path)

    def refuse_all(*_: object, **__: object) -> None:
        raise StorageError("tree/a", "Permission denied")

    monkeypatch.setattr(Disk, "open", refuse)
    monkeypatch.setattr(LocalCasStore, "import_tree", refuse_all)


@pytest.mark.usefixtures("unreadable")
def test_what_cannot_be_read_is_left_out_and_said(tour: Tour) -> None:
    report = tour()
    assert failed(report) == {}
    stored = fact(report, Stored)
    assert (stored.total_files, stored.skipped_paths) == (8, ("a", "link", "pipe"))
    assert stored.refused_because == "tree/a: Permission denied"
    assert fact(report, Compared).identical_files == 8


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_listed_is_left_out_and_said(tour: Tour) -> None:
    (tour.directory / "sub").chmod(0)
    try:
        report = tour()
    finally:
        (tour.directory / "sub").chmod(0o700)
    assert failed(report) == {}
    assert fact(report, Stored).skipped_paths == ("link", "pipe", "sub")


@pytest.mark.skipif(not os.path.isdir("/proc/self/attr"), reason="needs /proc")
def test_files_that_lie_about_their_size_are_stored_as_they_read(tmp_path: Path) -> None:
    report = Tour(Path("/proc/self/attr"), tmp_path / "workshop")()
    assert failed(report) == {}
    assert fact(report, Stored).refused_because is not None


def test_what_changes_during_the_tour_is_said_and_breaks_no_promise(tour: Tour) -> None:
    root = tour.directory

    def change() -> None:
        (root / "a").write_bytes(b"b")
        (root / "large").write_bytes(LARGE + b"more")
        (root / "empty").unlink()
        (root / "sub" / "same").unlink()
        (root / "sub" / "same").symlink_to("../a")
        (root / f"new{CONTROL}").write_bytes(b"new")

    report = tour(SilentGuide(audit=change))
    assert failed(report) == {}
    compared = fact(report, Compared)
    assert compared.changed_paths == ("a", "large", "sub/same")
    assert compared.gone_paths == ("empty",)
    assert compared.new_paths == (f"new{CONTROL}",)
    assert compared.identical_files == 5


def test_a_full_disk_is_no_broken_promise_but_an_error(tour: Tour, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageFullError("world", "No space left on device")

    monkeypatch.setattr(LocalCasStore, "import_tree", fail)
    with pytest.raises(StorageFullError):
        tour()


# --- promises that do not hold ---------------------------------------------------------------------


def test_a_difference_that_nobody_made_breaks_the_promise(
    tour: Tour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "SLACK_NS", -(10**18))  # nothing counts as touched

    def change() -> None:
        (tour.directory / "a").write_bytes(b"b")
        (tour.directory / "new").write_bytes(b"")

    report = tour(SilentGuide(audit=change))
    assert not report.has_held()
    assert failed(report) == {
        "compare": "differ, although nobody touched them: 'a'; never stored, and not said so: 'new'"
    }


def test_bytes_that_rot_under_the_tour_break_its_promises_and_end_it(tour: Tour) -> None:
    def rot() -> None:
        with tour.store() as store:
            found = store.stat_file(f"{PREFIX}large")
            assert found is not None
            flip_bit(blob_path(store.location, found.content_hash))

    report = tour(SilentGuide(break_a_copy=rot))
    assert set(failed(report)) == {"audit", "pull"}
    assert report.steps[-1].name == "pull"
    assert report.steps[-1].facts is None
    assert "expected" in report.steps[-1].broken[0]


def test_a_process_that_fails_is_said_with_its_last_words(
    tour: Tour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "TIMES_EACH", "many")
    report = tour()
    assert list(failed(report)) == ["race"]
    assert re.search(r"ended with code 1: ValueError: .*'many'", failed(report)["race"])
