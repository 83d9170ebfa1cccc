"""``distfs tour``: what a person and a program see of it, and what is left behind."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_world_distfs.faces.cli import cli
from agent_world_distfs.faces.tour import COPY, WORLD, disk, race

CONTROL = "\x1b[31mred\nline"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory to tour."""
    directory = tmp_path / "directory"
    (directory / "sub").mkdir(parents=True)
    (directory / "a").write_bytes(b"a")
    (directory / "sub" / "large").write_bytes(bytes(range(256)) * 100)
    for name in (f"one{CONTROL}", f"two{CONTROL}"):
        (directory / name).write_bytes(b"duplicate " * 2_000)
    return directory


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the tours of child processes put their stores."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    return temporary


def tour(*arguments: str | Path, code: int = 0) -> Result:
    """Tour in this process."""
    words = ["tour", *map(str, arguments)]
    result = CliRunner().invoke(cli, words, env={"DISTFS_DEBUG": None}, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def start(*arguments: str | Path, temporary: Path, **settings: Any) -> subprocess.Popen[bytes]:
    """Tour in a process of its own."""
    environment = os.environ | {"TMPDIR": str(temporary)}
    words = [sys.executable, "-m", "agent_world_distfs", "tour", *map(str, arguments)]
    streams: Mapping[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, env=environment, **{**streams, **settings})


def has_processes(group: int) -> bool:
    """Whether a process is left of a group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# --- what is seen ------------------------------------------------------------------------------


def test_a_program_gets_one_document_with_all_facts(directory: Path, temporary: Path) -> None:
    with start(directory, "--json", temporary=temporary) as process:
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (0, b"")
    document = json.loads(stdout)
    assert document["directory"] == str(directory)
    assert document["has_held"]
    facts = {step["name"]: step["facts"] for step in document["steps"]}
    assert facts["store"]["total_files"] == 4
    assert facts["deduplicate"]["most_shared"]["path"] == f"files/one{CONTROL}"
    assert facts["race"]["final_count"] == 2 * race.TIMES_EACH
    assert facts["break a copy"]["corrupt_blob_hashes"] == [facts["break a copy"]["content_hash"]]
    assert facts["export"]["ref"] == facts["pull"]["ref"]
    assert facts["compare"]["identical_files"] == 4
    assert os.listdir(temporary) == []


def test_no_path_reaches_the_terminal_raw(directory: Path) -> None:
    os.mkfifo(directory / f"pipe{CONTROL}")
    text = tour(directory).stdout
    assert json.dumps(f"files/one{CONTROL}") in text
    assert json.dumps(f"pipe{CONTROL}") in text
    assert all(line.isprintable() for line in text.splitlines())


def test_a_terminal_of_80_columns_is_wide_enough(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory.parent)
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
    lines = tour("directory", "--keep", "kept").stdout.splitlines()
    assert [line for line in lines if len(line) > 80 and str(directory.parent) not in line] == []
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_colours_unless_it_wants_none(directory: Path, temporary: Path) -> None:
    for no_color in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}):
        ours, theirs = pty.openpty()
        willing = {"NO_COLOR": "", "TERM": "xterm"}
        settings = {"TMPDIR": str(temporary), **no_color}
        words = [sys.executable, "-m", "agent_world_distfs", "tour", str(directory)]
        with subprocess.Popen(words, stdout=theirs, env=os.environ | willing | settings) as process:
            os.close(theirs)
            seen = _read_all(ours)
        assert process.returncode == 0
        assert (b"\x1b[1m1/9 store" in seen) is not bool(no_color)


def _read_all(terminal: int) -> bytes:
    seen = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(terminal)
    return seen


def test_a_promise_that_does_not_hold_is_named_and_exits_with_1(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.Disk, "is_touched", lambda *_: False)
    monkeypatch.setattr("agent_world_distfs.faces.tour.comparing.is_identical", lambda *_: False)
    text = tour(directory, code=1).stdout
    assert "    BROKEN         differ, although nobody touched them: 'a', 'one\\x1b[31mred" in text
    assert "compare        0 of 4 files identical                     BROKEN" in text
    assert "Did not hold: compare.\n" in text
    document = json.loads(tour(directory, "--json", code=1).stdout)
    assert not document["has_held"]
    assert "differ" in document["steps"][-1]["broken"][0]


def test_a_step_that_an_error_cuts_short_ends_the_tour(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "TIMES_EACH", "many")
    text = tour(directory, code=1).stdout
    assert "BROKEN         a process of the race ended with code 1: ValueError" in text
    assert "Did not hold: race. 6 steps could not be taken." in text
    assert json.loads(tour(directory, "--json", code=1).stdout)["steps"][-1]["facts"] is None


# --- what is refused -----------------------------------------------------------------------------


def test_what_is_no_directory_is_refused_before_anything_is_made(directory: Path) -> None:
    kept = directory.parent / "kept"
    assert "not a directory" in tour(directory / "a", "--keep", kept, code=2).stderr
    tour(directory / "missing", "--keep", kept, code=3)
    assert not kept.exists()


def test_the_stores_are_never_kept_within_the_directory_nor_among_other_files(directory: Path) -> None:
    (directory.parent / "link").symlink_to(directory)
    assert "within" in tour(directory, "--keep", directory / "kept", code=2).stderr
    assert "within" in tour(directory, "--keep", directory.parent / "link" / "kept", code=2).stderr
    assert "not empty" in tour(directory, "--keep", directory.parent, code=2).stderr
    assert sorted(os.listdir(directory)) == sorted(["a", "sub", f"one{CONTROL}", f"two{CONTROL}"])


def test_a_store_is_no_directory_to_tour(directory: Path) -> None:
    kept = directory.parent / "kept"
    tour(directory, "--keep", kept)
    assert "is a store" in tour(kept / WORLD, code=2).stderr


# --- what is left ----------------------------------------------------------------------------------


def test_a_directory_that_holds_the_temporary_one_gets_no_store(directory: Path) -> None:
    within = directory / "tmp"
    within.mkdir()
    with start(directory, "--json", temporary=within) as process:
        stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(stdout)["steps"][0]["facts"]["total_files"] == 4
    assert os.listdir(within) == []


@pytest.mark.parametrize("is_new", [True, False])
def test_kept_stores_can_be_used_as_the_tour_says(directory: Path, is_new: bool) -> None:
    kept = directory.parent / "kept"
    if not is_new:
        kept.mkdir()
    told = tour(directory, "--keep", kept).stdout.splitlines()[-3:]
    for line in told:
        words = line.replace("checkout out", f"checkout {directory.parent / 'out'}").split()
        subprocess.run(words, check=True)
    assert (directory.parent / "out" / "a").read_bytes() == b"a"
    assert {WORLD, COPY} <= set(os.listdir(kept))


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize(("step", "delay_s"), [("store", 0), ("race", 0), ("race", 0.4), ("audit", 0)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_tour_that_is_stopped_leaves_nothing(
    directory: Path,
    temporary: Path,
    step: str,
    delay_s: float,
    number: signal.Signals,
    is_kept: bool,
) -> None:
    options = ["--keep", str(temporary / "kept")] if is_kept else []
    with start(directory, *options, temporary=temporary, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if f" {step}: ".encode() in line:
                break
        time.sleep(delay_s)  # in the race: to where two processes are at it
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    if delay_s and process.returncode in (0, -number):
        return  # on a fast machine the tour was over before the signal came
    assert (process.returncode, stderr) == (128 + number, b"")
    assert os.listdir(temporary) == []
    assert not has_processes(process.pid)


def test_ctrl_c_reaches_the_processes_of_the_race_too_and_is_quiet(directory: Path, temporary: Path) -> None:
    with start(directory, temporary=temporary, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b" race: " in line:
                break
        time.sleep(0.4)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, stderr = process.communicate(timeout=60)
    if process.returncode in (0, -signal.SIGINT):
        return  # on a fast machine the tour was over before the signal came
    assert (process.returncode, stderr) == (130, b"")
    assert os.listdir(temporary) == []
    assert not has_processes(process.pid)


def test_a_reader_that_goes_away_ends_the_tour_quietly(directory: Path, temporary: Path) -> None:
    with start(directory, temporary=temporary) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141
    assert os.listdir(temporary) == []
