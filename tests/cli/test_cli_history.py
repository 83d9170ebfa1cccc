"""The command about what changed: log, history, diff, watch, undo, settings, expire."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from cli.running import Distfs
from cli.test_cli_processes import stop


@pytest.fixture
def kept(distfs: Distfs) -> Distfs:
    """The command on a store that keeps its history."""
    distfs("init")
    distfs("settings", "keep_history", "on")
    return distfs


def test_the_log_tells_each_change_with_both_sides(kept: Distfs) -> None:
    first = kept.write("a", b"1")
    second = kept.write("a", b"2")
    kept("rm", "a")
    changes = kept.json("log")["changes"]
    sides = [[each[side] and each[side]["content_hash"] for side in ("before", "after")] for each in changes]
    assert sides == [[None, first], [first, second], [second, None]]
    assert kept.json("log", "--since", str(changes[0]["seq"]))["changes"] == changes[1:]
    assert kept.json("log", "--prefix", "b")["changes"] == []
    assert kept.json("history", "./a")["changes"] == changes
    words = [line.split() for line in kept("log").lines]
    assert [(each[0], each[2], each[3]) for each in words] == [
        (change["transaction_id"], deed, "a")
        for change, deed in zip(changes, ("added", "changed", "removed"), strict=True)
    ]


def test_a_path_or_message_cannot_send_commands_to_the_terminal(kept: Distfs) -> None:
    kept.write("a\x1b[2J", b"1")
    transaction_id = kept.json("log")["changes"][0]["transaction_id"]
    kept("undo", transaction_id, "--message", "\x1b[2J\nsecond line")
    for arguments in (["log"], ["watch", "--since", "0", "--timeout", "0"]):
        text = kept(*arguments).text
        assert "\x1b" not in text
        assert len(text.splitlines()) == 2


def test_states_are_compared_by_their_numbers(kept: Distfs) -> None:
    kept.write("a", b"1")
    kept.write("b", b"1")
    kept.write("a", b"2")
    kept("rm", "b")
    seqs = [each["seq"] for each in kept.json("log")["changes"]]
    assert kept("diff", str(seqs[1])).lines == ["changed   a", "removed   b"]
    assert kept("diff", str(seqs[3]), str(seqs[1])).lines == ["changed   a", "added     b"]
    document = kept.json("diff", str(seqs[0]), str(seqs[1]), "--prefix", "b")
    assert [each["path"] for each in document["differences"]] == ["b"]
    assert (document["seq_a"], document["seq_b"]) == (seqs[0], seqs[1])


def test_undo_restores_or_refuses(kept: Distfs) -> None:
    kept.write("a", b"1")
    kept.write("a", b"2")
    last = kept.json("log")["changes"][-1]["transaction_id"]
    report = kept.json("undo", last, "--actor", "me")
    assert report["restored_paths"] == ["a"]
    assert kept("read", "a").stdout == b"1"
    assert kept.json("log")["changes"][-1]["actor"] == "me"
    assert "Nothing to undo" in kept("undo", last).text
    kept.write("a", b"3")
    error = kept.error("undo", last, code=4)
    assert [each["path"] for each in error["conflicts"]] == ["a"]
    kept("undo", code=2)
    kept("undo", last, "--session", "s", code=2)
    kept("undo", "--session", "s", code=3)


def test_without_the_setting_undo_names_it(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    last = distfs.json("log")["changes"][-1]["transaction_id"]
    error = distfs.error("undo", last, code=2)
    assert error["kind"] == "HistoryNotKeptError"
    assert "keep_history" in error["message"]


def test_settings_are_shown_and_set(kept: Distfs) -> None:
    assert kept.json("settings", "history_max_bytes", "7")["history_max_bytes"] == 7
    assert kept("settings").lines == [
        "keep_history: on",
        "history_max_age_ms: none",
        "history_max_transactions: none",
        "history_max_bytes: 7",
    ]
    assert kept.json("settings", "history_max_bytes", "none")["history_max_bytes"] is None
    assert kept.json("settings", "history_max_bytes", "10 GB")["history_max_bytes"] == 10**10
    assert kept.json("settings", "history_max_bytes") == {"history_max_bytes": 10**10}
    assert kept("settings", "keep_history").lines == ["keep_history: on"]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("keep_history", "yes", "keep_history is on or off, not 'yes'"),
        ("keep_history", "1", "keep_history is on or off, not '1'"),
        ("keep_history", "none", "keep_history is on or off, not 'none'"),
        (
            "history_max_bytes",
            "on",
            "history_max_bytes is a number or a size such as 10GB, or none, not 'on'",
        ),
        ("history_max_age_ms", "off", "history_max_age_ms is a number, or none, not 'off'"),
        ("history_max_age_ms", "10GB", "history_max_age_ms is a number, or none, not '10GB'"),
        ("history_max_bytes", "9223372036854775808", "history_max_bytes is a number from 0 to "),
        ("history_max_bytes", "9000000000TB", "history_max_bytes is a number from 0 to "),
        ("other", "on", "there is no setting 'other', only keep_history, "),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_its_own_words(
    kept: Distfs, name: str, value: str, why: str
) -> None:
    before = kept.json("settings")
    assert kept.error("settings", name, value, code=2)["message"].startswith(why)
    assert kept.json("settings") == before


def test_settings_of_a_name_that_is_none_are_refused(kept: Distfs) -> None:
    assert "no setting 'other'" in kept.error("settings", "other", code=2)["message"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["log", "--since", "abc"], "'abc' is not a SEQ: the number with which an id in `distfs log` begins"),
        (["diff", "s-a"], "'s-a' is not a SEQ: "),
        (["watch", "--timeout", "abc"], "'abc' is not a number of seconds"),
        (["watch", "--timeout", "nan"], "'nan' is not a number of seconds"),
        (["expire", "--max-age-ms", "1.5"], "'1.5' is not a whole number from 0 on"),
        (["expire", "--max-bytes", "much"], "'much' is not a number of bytes, nor a size such as 10GB"),
        (["snapshot", "prune", "--keep-last", "-1"], "'-1' is not a whole number from 0 on"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_no_number_is_refused_in_plain_words(kept: Distfs, arguments: list[str], why: str) -> None:
    error = kept.error(*arguments, code=2)
    assert error["kind"] == "UsageError"
    assert why in error["message"]


def test_a_limit_of_expiry_may_be_a_size(kept: Distfs) -> None:
    for data in (b"1" * 2_000, b"2", b"3"):
        kept.write("a", data)
    assert kept.json("expire", "--max-bytes", "3kB")["expired_transactions"] == 0
    assert kept.json("expire", "--max-bytes", "1kB")["expired_transactions"] == 2


def test_expiry_says_of_states_what_a_diff_of_them_says(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    distfs("import", distfs("export").text.strip())
    distfs.write("a", b"2")
    refused = distfs.error("diff", "0", code=2)
    report = distfs.json("expire")
    assert report["first_seq"] == 0
    assert report["first_state_seq"] == refused["first_seq"] > 0
    assert len(distfs.json("log", "--since", "0")["changes"]) == 3
    known = f"changes since 0 and states from {refused['first_seq']} on are known"
    assert distfs("expire").lines == [f"Forgot 0 transactions; {known}."]
    assert distfs.json("diff", str(refused["first_seq"]))["differences"]


def test_what_expired_is_not_known_any_more(kept: Distfs) -> None:
    for data in (b"1", b"2", b"3"):
        kept.write("a", data)
    report = kept.json("expire", "--max-transactions", "1")
    assert report["expired_transactions"] == 2
    error = kept.error("log", "--since", "1", code=2)
    assert (error["kind"], error["first_seq"]) == ("HistoryExpiredError", report["first_seq"])
    assert len(kept.json("log")["changes"]) == 1


def _line(process: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(process.stdout.readline())
    return document


def test_a_watch_prints_a_document_a_line_until_it_is_interrupted(kept: Distfs) -> None:
    kept.write("a", b"1")
    with kept.start("watch", "--since", "0", "--json") as process:
        assert _line(process)["path"] == "a"
        kept.write("b", b"2")
        assert _line(process)["path"] == "b"
        assert stop(process, signal.SIGINT) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_watch_ends_silently_when_nobody_listens(kept: Distfs) -> None:
    kept.write("a", b"1")
    with kept.start("watch", "--since", "0", "--json") as process:
        assert _line(process)["path"] == "a"
        assert process.stdout is not None
        process.stdout.close()
        kept.write("b", b"2")
        assert process.wait(60) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""
