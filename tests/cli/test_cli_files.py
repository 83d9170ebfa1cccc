"""write read rm mv cp ls stat."""

from __future__ import annotations

import json
import re

import pytest

from agent_world_distfs import ABSENT
from cli.running import Distfs

OTHER_HASH = "0" * 64


def test_write_prints_the_hash_and_read_gives_the_bytes_back(distfs: Distfs) -> None:
    content_hash = distfs("write", "a/b.txt", stdin=b"hello\n").text
    assert re.fullmatch(r"[0-9a-f]{64}\n", content_hash)
    assert distfs("read", "a/b.txt").stdout == b"hello\n"


@pytest.mark.parametrize("source", ["file", "-", "nothing"])
def test_write_takes_a_file_or_standard_input(distfs: Distfs, source: str) -> None:
    file = distfs.file("source.bin", bytes(range(256)))
    sources = {"file": [str(file)], "-": ["-"]}.get(source, [])
    distfs("write", "a", *sources, stdin=b"" if source == "file" else bytes(range(256)))
    assert distfs("read", "a").stdout == bytes(range(256))


@pytest.mark.parametrize("target", ["file", "-", "nothing"])
def test_read_gives_a_file_or_standard_output(distfs: Distfs, target: str) -> None:
    distfs.write("a", bytes(range(256)))
    file = distfs.place / "target.bin"
    targets = {"file": [str(file)], "-": ["-"]}.get(target, [])
    outcome = distfs("read", "a", *targets)
    assert (file.read_bytes() if target == "file" else outcome.stdout) == bytes(range(256))
    assert outcome.stdout == (b"" if target == "file" else bytes(range(256)))


def test_write_and_stat_give_the_same_document(distfs: Distfs) -> None:
    written = distfs.json("write", "a", stdin=b"data")
    assert list(written) == ["path", "content_hash", "size_bytes", "updated_at_ms"]
    assert written == distfs.json("stat", "a")
    assert (written["path"], written["size_bytes"]) == ("a", 4)


def test_read_with_json_needs_a_target_and_describes_what_it_wrote(distfs: Distfs) -> None:
    written = distfs.json("write", "a", stdin=b"data")
    target = distfs.place / "target"
    assert distfs.json("read", "a", target) == written | {"target": str(target)}
    assert target.read_bytes() == b"data"
    for arguments in (["read", "a"], ["read", "a", "-"]):
        assert distfs.error(*arguments, code=2)["kind"] == "UsageError"


@pytest.mark.parametrize("command", ["read", "stat"])
def test_a_path_that_is_not_there_exits_with_3(distfs: Distfs, command: str) -> None:
    distfs("init")
    assert "no such path: 'nowhere'" in distfs(command, "nowhere", code=3).stderr
    target = [] if command == "stat" else [distfs.place / "target"]
    error = distfs.error(command, "nowhere", *target, code=3)
    assert (error["kind"], error["path"]) == ("PathNotFoundError", "nowhere")


def test_paths_are_normalized_as_the_library_does(distfs: Distfs) -> None:
    assert distfs.json("write", "./a//b/", stdin=b"")["path"] == "a/b"


@pytest.mark.parametrize("path", ["", "/absolute", "a/../b", "x" * 4097, "not-utf8-\udcff"])
def test_an_invalid_path_exits_with_2_and_makes_no_store(distfs: Distfs, path: str) -> None:
    error = (
        distfs.error("write", "--", path, code=2)
        if path.startswith("-")
        else distfs.error("write", path, code=2)
    )
    assert (error["kind"], error["path"]) == ("PathInvalidError", path.replace("\udcff", r"\xff"))
    assert not distfs.location.exists()


def test_a_path_that_begins_with_a_dash_follows_two_dashes(distfs: Distfs) -> None:
    distfs("write", "--", "--json", stdin=b"dash")
    assert distfs("read", "--", "--json").stdout == b"dash"


# --- conditions -------------------------------------------------------------------------------


def test_a_write_that_expects_the_right_hash_goes_through(distfs: Distfs) -> None:
    first = distfs.write("a", b"1")
    distfs("write", "a", "--if-match", first, stdin=b"2")
    assert distfs("read", "a").stdout == b"2"


def test_a_write_that_expects_another_hash_exits_with_4_and_changes_nothing(distfs: Distfs) -> None:
    held = distfs.json("write", "a", stdin=b"1")
    error = distfs.error("write", "a", "--if-match", OTHER_HASH, stdin=b"2", code=4)
    assert (error["kind"], error["expected"], error["actual"]) == ("FileConflictError", OTHER_HASH, held)
    assert distfs("read", "a").stdout == b"1"


def test_if_absent_writes_only_what_is_not_there(distfs: Distfs) -> None:
    distfs("write", "a", "--if-absent", stdin=b"1")
    error = distfs.error("write", "a", "--if-absent", stdin=b"2", code=4)
    assert (error["kind"], error["expected"]) == ("FileConflictError", ABSENT.value)
    assert distfs("read", "a").stdout == b"1"


@pytest.mark.parametrize("arguments", [["write", "a"], ["rm", "a"], ["cp", "a", "b"], ["mv", "a", "b"]])
def test_two_conditions_exclude_each_other(distfs: Distfs, arguments: list[str]) -> None:
    outcome = distfs(*arguments, "--if-match", OTHER_HASH, "--if-absent", code=2)
    assert "exclude each other" in outcome.stderr
    assert not distfs.location.exists()


@pytest.mark.parametrize("arguments", [["write", "a"], ["rm", "a"], ["cp", "a", "b"], ["mv", "a", "b"]])
@pytest.mark.parametrize("text", ["abc", "A" * 64, "0" * 63 + "\n", "0" * 65])
def test_a_condition_that_is_no_hash_exits_with_2(distfs: Distfs, arguments: list[str], text: str) -> None:
    assert distfs.error(*arguments, "--if-match", text, code=2)["kind"] == "BlobHashInvalidError"


@pytest.mark.parametrize("command", ["cp", "mv"])
def test_the_condition_of_cp_and_mv_is_about_the_target(distfs: Distfs, command: str) -> None:
    distfs.write("a", b"a")
    held = distfs.write("b", b"b")
    distfs(command, "a", "b", "--if-absent", code=4)
    distfs(command, "a", "b", "--if-match", OTHER_HASH, code=4)
    assert [distfs("read", path).stdout for path in ("a", "b")] == [b"a", b"b"]
    distfs(command, "a", "b", "--if-match", held)
    distfs(command, "b", "c", "--if-absent")
    assert distfs("read", "c").stdout == b"a"


# --- rm mv cp ---------------------------------------------------------------------------------


def test_rm_removes_all_its_paths(distfs: Distfs) -> None:
    for path in "abc":
        distfs.write(path, b"")
    assert distfs.json("rm", "a", "c") == {"removed": 2}
    assert distfs.json("ls")["files"][0]["path"] == "b"


def test_rm_of_something_missing_removes_nothing_and_exits_with_3(distfs: Distfs) -> None:
    distfs.write("a", b"")
    error = distfs.error("rm", "a", "nowhere", code=3)
    assert (error["kind"], error["path"]) == ("PathNotFoundError", "nowhere")
    assert "others" not in error
    assert distfs.error("rm", "x", "a", "y", "x", code=3)["others"] == ["y"]
    outcome = distfs("rm", "x", "a", "y", code=3)
    assert outcome.stderr == "distfs: no such path: 'x', 'y'; nothing was removed\n"
    assert len(distfs.json("ls")["files"]) == 1


def test_rm_ignores_what_is_missing_when_told_to(distfs: Distfs) -> None:
    distfs.write("a", b"")
    assert distfs.json("rm", "a", "nowhere", "--ignore-missing") == {"removed": 1}
    assert distfs.json("rm", "a", "--ignore-missing") == {"removed": 0}


def test_rm_removes_only_the_content_that_it_expects(distfs: Distfs) -> None:
    held = distfs.write("a", b"1")
    distfs("rm", "a", "--if-match", OTHER_HASH, code=4)
    assert distfs.json("rm", "a", "--if-match", held) == {"removed": 1}
    distfs("rm", "a", "--if-match", held, code=4)


def test_rm_if_absent_only_says_whether_the_path_is_free(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    distfs("rm", "a", "--if-absent", code=4)
    assert distfs.json("rm", "b", "--if-absent") == {"removed": 0}


def test_a_condition_of_rm_takes_a_single_path(distfs: Distfs) -> None:
    assert "single PATH" in distfs("rm", "a", "b", "--if-absent", code=2).stderr


def test_mv_renames_and_prints_the_hash(distfs: Distfs) -> None:
    held = distfs.write("a", b"1")
    assert distfs("mv", "a", "dir/b").text.strip() == held
    distfs("stat", "a", code=3)
    assert distfs.json("mv", "dir/b", "c") == distfs.json("stat", "c")


def test_cp_names_the_same_bytes_twice(distfs: Distfs) -> None:
    held = distfs.write("a", b"1")
    assert distfs("cp", "a", "b").text.strip() == held
    assert distfs.json("cp", "a", "b") == distfs.json("stat", "b")
    assert distfs("read", "a").stdout == distfs("read", "b").stdout == b"1"


@pytest.mark.parametrize("command", ["cp", "mv"])
def test_cp_and_mv_of_nothing_exit_with_3(distfs: Distfs, command: str) -> None:
    distfs("init")
    assert distfs.error(command, "nowhere", "b", code=3)["path"] == "nowhere"


# --- ls stat ----------------------------------------------------------------------------------


def test_ls_shows_size_time_hash_and_path_in_order(distfs: Distfs) -> None:
    hashes = {path: distfs.write(path, path.encode()) for path in ("b", "a/2", "a/1")}
    rows = [line.split() for line in distfs("ls").lines]
    assert [(row[0], row[2], row[3]) for row in rows] == [
        (str(len(path)), hashes[path], path) for path in ("a/1", "a/2", "b")
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row[1]) for row in rows)


def test_ls_takes_a_plain_text_prefix(distfs: Distfs) -> None:
    for path in ("docs/a", "docs2/b", "other"):
        distfs.write(path, b"")
    assert [file["path"] for file in distfs.json("ls", "docs")["files"]] == ["docs/a", "docs2/b"]
    assert [file["path"] for file in distfs.json("ls", "docs/")["files"]] == ["docs/a"]
    assert distfs("ls", "nowhere").text == ""
    assert distfs.json("ls", "nowhere") == {"files": []}


def test_the_documents_of_ls_and_stat_are_the_same(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    assert distfs.json("ls")["files"] == [distfs.json("stat", "a")]


def test_stat_shows_what_the_index_says(distfs: Distfs) -> None:
    held = distfs.write("a", b"12345")
    text = distfs("stat", "a").text
    assert f"content hash:  {held}\n" in text
    assert "path:          a\n" in text
    assert "size:          5 bytes\n" in text


ODD_PATHS = [
    "bell\a",
    "escape\x1b[31m",
    "line\nbreak",
    "right\u202eleft",
    "c1\x9b31m",
    " leading",
    "trailing ",
    '"quoted"',
    "nbsp\u00a0",
    "zero\u200bwidth",
    "del\x7f",
    "\U000e0001tag",
]
PLAIN_PATHS = ["with space", 'inner"quote', "back\\slash", "ünïcode", "日本語", "emoji😀"]


@pytest.mark.parametrize("path", ODD_PATHS)
def test_odd_characters_in_paths_print_safely_as_text(distfs: Distfs, path: str) -> None:
    distfs.write(path, b"")
    for line in (distfs("ls").text, distfs("stat", path).lines[0]):
        shown = re.search(r'"[^\n]*"', line)
        assert shown is not None, line
        assert line.rstrip("\n").isprintable()
        assert json.loads(shown[0]) == path
    assert distfs("rm", path, path + "x", code=3).stderr.rstrip("\n").isprintable()


@pytest.mark.parametrize("path", PLAIN_PATHS)
def test_plain_paths_print_as_they_are(distfs: Distfs, path: str) -> None:
    distfs.write(path, b"")
    assert distfs("ls").lines[0].endswith("  " + path)


@pytest.mark.parametrize("path", ODD_PATHS + PLAIN_PATHS)
def test_json_holds_every_path_exactly(distfs: Distfs, path: str) -> None:
    distfs.write(path, b"")
    outcome = distfs("ls", "--json")
    assert outcome.stdout.isascii()
    assert outcome.document["files"][0]["path"] == path


def test_a_path_that_the_locale_cannot_show_is_escaped(distfs: Distfs) -> None:
    distfs.write("日本", b"")
    outcome = distfs.process("ls", env={"PYTHONIOENCODING": "ascii:strict"})
    assert outcome.text.endswith('  "\\u65e5\\u672c"\n')
