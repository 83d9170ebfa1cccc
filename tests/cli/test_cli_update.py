"""distfs update: a command of the caller changes a file, again until it holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.running import Distfs
from cli.test_cli_completion import offers

ADD_ONE = (sys.executable, "-c", "import sys; print(int(sys.stdin.read() or 0) + 1)")


def test_the_content_goes_through_the_command(distfs: Distfs) -> None:
    first = distfs("update", "./n", "--", *ADD_ONE)
    assert first.lines == [distfs("stat", "n", "--json").document["content_hash"]]
    second = distfs("update", "n", "--json", "--", *ADD_ONE).document
    assert second == distfs("stat", "n", "--json").document
    with distfs.store() as store:
        assert store.read_file("n") == b"2\n"


def test_the_same_content_writes_nothing(distfs: Distfs) -> None:
    distfs("update", "n", "--", *ADD_ONE)
    before = distfs("stat", "n", "--json").document
    assert distfs("update", "n", "--json", "cat").document == before


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("sh", "-c", "echo half; exit 7"), 7),
        (("sh", "-c", "kill -9 $$"), 137),
        (("sh", "-c", "kill -35 $$"), 163),
        (("no-such-command",), 127),
        (("/",), 126),
    ],
)
def test_a_failing_command_changes_nothing_and_its_exit_code_is_told(
    distfs: Distfs, command: tuple[str, ...], code: int
) -> None:
    distfs.write("n", b"1")
    failed = distfs("update", "n", "--json", "--", *command, code=9)
    assert failed.stdout == b""
    assert (failed.error["kind"], failed.error["command"], failed.error["exit_code"]) == (
        "CommandFailedError",
        command[0],
        code,
    )
    assert f"'{command[0]}' failed" in distfs("update", "n", "--", *command, code=9).stderr
    with distfs.store() as store:
        assert store.read_file("n") == b"1"


def test_a_conflict_runs_the_command_again_until_the_deadline(distfs: Distfs, tmp_path: Path) -> None:
    distfs.write("n", b"0")
    program = tmp_path / "late.py"
    program.write_text(
        "import sys\n"
        "from agent_world_distfs import LocalCasStore\n"
        "content = sys.stdin.buffer.read()\n"
        "with LocalCasStore(sys.argv[1]) as store:\n"
        "    if len(content) < int(sys.argv[2]):\n"
        "        store.write_file('n', content + b'0')\n"
        "sys.stdout.buffer.write(content + b'!')\n"
    )
    distfs("update", "n", "--", sys.executable, program, distfs.location, "3")
    with distfs.store() as store:
        assert store.read_file("n") == b"000!"
    late = (sys.executable, program, distfs.location, "99")
    assert distfs("update", "n", "--deadline", "0", "--json", "--", *late, code=4).error["path"] == "n"


def test_updates_of_many_processes_all_count(distfs: Distfs) -> None:
    command = [sys.executable, "-m", "agent_world_distfs", "update", "n", "--store", str(distfs.location)]
    children = [subprocess.Popen([*command, "--", *ADD_ONE], stdout=subprocess.DEVNULL) for _ in range(8)]
    assert [child.wait() for child in children] == [0] * 8
    with distfs.store() as store:
        assert store.read_file("n") == b"8\n"


def test_the_path_is_completed(distfs: Distfs) -> None:
    distfs.write("counters/a", b"")
    assert offers(distfs, "update", incomplete="count") == ["counters/a"]
