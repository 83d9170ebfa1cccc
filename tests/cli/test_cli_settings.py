"""Which store, text or JSON: the settings that stand before or after the command."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from children import cannot_run
from cli.running import Distfs

HASH = "0" * 64
REF = f"{HASH}:0"
OPENS_A_STORE_THAT_EXISTS = [
    ["read", "a", "target"],
    ["rm", "a"],
    ["mv", "a", "b"],
    ["cp", "a", "b"],
    ["ls"],
    ["stat", "a"],
    ["get", HASH, "target"],
    ["pin", HASH],
    ["unpin", HASH],
    ["pins"],
    ["audit"],
    ["prune"],
    ["export"],
    ["import", REF],
    ["checkout", "target"],
    ["upgrade"],
]
MAKES_A_STORE = [["init"], ["write", "a"], ["put"], ["import-tree", "."]]


@pytest.mark.parametrize("arguments", OPENS_A_STORE_THAT_EXISTS, ids=lambda arguments: arguments[0])
def test_a_store_that_is_missing_is_not_made(distfs: Distfs, arguments: list[str]) -> None:
    error = distfs.error(*arguments, code=3)
    assert (error["kind"], error["name"]) == ("NotFoundError", str(distfs.location))
    assert not distfs.location.exists()


@pytest.mark.parametrize("arguments", MAKES_A_STORE, ids=lambda arguments: arguments[0])
def test_a_store_that_is_missing_is_made(
    distfs: Distfs, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(distfs.place)
    distfs(*arguments)
    distfs("ls")


@pytest.mark.parametrize(
    "arguments", OPENS_A_STORE_THAT_EXISTS + MAKES_A_STORE, ids=lambda arguments: arguments[0]
)
def test_without_a_store_the_exit_code_is_2(distfs: Distfs, arguments: list[str]) -> None:
    distfs.environment = {"DISTFS_STORE": None}
    outcome = distfs(*arguments, code=2)
    assert "no store given: use --store LOCATION or set DISTFS_STORE" in outcome.stderr


def test_the_store_is_given_before_or_after_the_command_or_by_the_environment(
    distfs: Distfs, tmp_path: Path
) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    distfs.write("a", b"from the environment")
    distfs("write", "a", "--store", one, stdin=b"one")
    distfs("--store", two, "write", "a", stdin=b"two")
    assert distfs("read", "a").stdout == b"from the environment"
    assert distfs("--store", one, "read", "a").stdout == b"one"
    assert distfs("read", "a", f"--store={two}").stdout == b"two"
    assert distfs("--store", one, "read", "--store", two, "a").stdout == b"two"


def test_json_is_asked_for_before_or_after_the_command(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    assert distfs("--json", "ls").document == distfs("ls", "--json").document
    assert distfs("--json", "stat", "b", code=3).error == distfs("stat", "b", "--json", code=3).error


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "rm"],
        ["rm", "--json"],
        ["rm", "--no-such-option", "--json"],
        ["--json", "no-such-command"],
        ["--json"],
        ["--no-such-option", "--json", "ls"],
        ["stat", "a", "b", "--json"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2_and_is_json_too(distfs: Distfs, arguments: list[str]) -> None:
    outcome = distfs(*arguments, code=2)
    assert outcome.stdout == b""
    assert outcome.error["kind"] == "UsageError"


@pytest.mark.parametrize(
    "arguments", [[], ["rm"], ["rm", "--no-such-option"], ["no-such-command"]], ids=" ".join
)
def test_wrong_usage_shows_the_usage(distfs: Distfs, arguments: list[str]) -> None:
    outcome = distfs(*arguments, code=2)
    assert outcome.stdout == b""
    assert "Usage: distfs" in outcome.stderr


def test_two_dashes_end_the_options(distfs: Distfs) -> None:
    distfs("init")
    assert distfs("stat", "--", "--json", code=3).stderr.startswith("distfs: ")


def test_a_path_that_begins_with_a_dash_is_told_where_to_stand(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    assert "'distfs rm -- -odd'" in distfs("stat", "-odd", code=2).stderr
    assert "'distfs rm -- -odd'" not in distfs("stat", "--odd", code=2).stderr
    assert distfs("rm", "--", "-odd", code=3).stderr.startswith("distfs: no such path")


def test_a_store_that_others_hold_open_and_write_is_readable(distfs: Distfs) -> None:
    with distfs.store() as store:
        store.write_file("a", b"1")
        store.put_bytes(b"orphan")
        assert distfs("read", "a").stdout == b"1"
        assert len(distfs("ls").lines) == 1
        distfs("audit")
        store.write_file("a", b"2")
        assert distfs("read", "a").stdout == b"2"


NOBODY = 65534


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Distfs]:
    """The command on a store below a directory that every user may enter."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield Distfs(place / "world", place)
    shutil.rmtree(place)


def run_without_rights(
    distfs: Distfs, *arguments: str, closed: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a user who may read everything, save what is ``closed``, and write nothing of it."""
    # Root may write whatever the permissions say; another user may not read the interpreter, so import first.
    become = f"os.setgid({NOBODY}); os.setuid({NOBODY}); " if os.geteuid() == 0 else ""
    code = f"import os; from agent_world_distfs.faces.cli import main; {become}main()"
    environment = os.environ | {"DISTFS_STORE": str(distfs.location)}
    for directory, _, files in os.walk(distfs.location):
        Path(directory).chmod(0o555)
        for file in files:
            (Path(directory) / file).chmod(0o444)
    if closed is not None:
        (distfs.location / closed).chmod(0o700)
    try:
        words = [sys.executable, "-c", code, *arguments]
        return subprocess.run(words, cwd="/", env=environment, capture_output=True, check=False)
    finally:
        for directory, _, _ in os.walk(distfs.location):
            Path(directory).chmod(0o755)


@pytest.mark.parametrize(
    "command",
    [
        "read a",
        "ls",
        "stat a",
        "get {hash}",
        "pins",
        "audit --verify",
        "prune --dry-run",
        "checkout {desk}/out",
    ],
)
def test_what_only_reads_needs_no_right_to_write(public: Distfs, command: str) -> None:
    content_hash = public.write("a", b"1")
    desk = public.place / "desk"
    desk.mkdir()
    desk.chmod(0o777)
    done = run_without_rights(public, *command.format(hash=content_hash, desk=desk).split())
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


@pytest.mark.parametrize("command", ["write b /dev/null", "rm a", "prune", "export"])
def test_what_writes_says_that_it_may_not(public: Distfs, command: str) -> None:
    public.write("a", b"1")
    done = run_without_rights(public, *command.split())
    assert done.returncode == 6
    owner = pwd.getpwuid(os.geteuid()).pw_name
    told = f"no permission to write to the store at {public.location}: it belongs to {owner}"
    assert done.stderr.decode() == f"distfs: {told}\n"


def test_what_writes_after_others_have_read_says_the_same(public: Distfs) -> None:
    public.write("a", b"1")
    public("ls")  # leaves an empty WAL: then SQLite opens the catalog, and the first lock is refused
    done = run_without_rights(public, "rm", "a")
    assert done.returncode == 6
    assert done.stderr.decode().startswith(
        f"distfs: no permission to write to the store at {public.location}:"
    )


@pytest.mark.parametrize("command", ["ls", "rm a", "repair --dry-run"])
def test_locks_that_may_not_be_reached_are_not_said_to_be_gone(public: Distfs, command: str) -> None:
    if os.geteuid() != 0:
        cannot_run("only root can be another user")
    public.write("a", b"1")
    done = run_without_rights(public, *command.split(), closed="locks")
    assert done.returncode == 6
    assert "ermission" in done.stderr.decode()
    assert "repair" not in done.stderr.decode()


@pytest.mark.parametrize("command", ["ls", "rm a", "audit"])
def test_a_store_in_a_directory_that_may_not_be_entered_is_not_said_to_be_missing(
    public: Distfs, command: str
) -> None:
    if os.geteuid() != 0:
        cannot_run("only root can be another user")
    inner = Distfs(public.place / "closed" / "world", public.place)
    inner.write("a", b"1")
    (public.place / "closed").chmod(0o700)
    done = run_without_rights(inner, *command.split())
    assert done.returncode == 6
    assert done.stderr.decode().startswith("distfs: ")
    assert "ermission" in done.stderr.decode()


@pytest.mark.parametrize("arguments", [["ls"], ["write", "a"], ["rm", "a"], ["init"], ["checkout", "out"]])
def test_a_file_as_store_is_told_to_be_no_directory(distfs: Distfs, arguments: list[str]) -> None:
    file = distfs.file("file", b"mine")
    for location in (file, file / "below"):
        error = distfs.error(*arguments, "--store", location, code=7)
        assert (error["kind"], error["reason"]) == ("IncompatibleStoreError", "not a directory")
    assert file.read_bytes() == b"mine"
