"""Settling: after a flush that failed the log is in doubt, and settled before anybody commits again."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore, UnavailableError
from agent_world_distfs.catalog import connections
from children import Start, faulty, require_strace


def gate_of(location: Path) -> Path:
    return location / "locks" / "gate"


def test_a_log_in_doubt_is_settled_before_the_next_commit(location: Path) -> None:
    log = location / "catalog.db-wal"
    with LocalCasStore(location) as store:
        for number in range(20):
            store.write_file(f"{number}", b"x" * 5000)
        assert log.stat().st_size > 100_000
        gate_of(location).write_bytes(b"\1")
        store.write_file("after", b"x")
        assert gate_of(location).read_bytes() == b"\0"
        assert log.stat().st_size < 50_000
        assert len(store.list_files()) == 21
        assert store.audit_file_index(verify=True).is_clean()


def test_a_log_in_doubt_is_settled_by_whichever_process_comes_first(location: Path, start: Start) -> None:
    other = start(
        """
        store = LocalCasStore(location)
        store.write_file("other", b"1")
        say("open")
        hear()
        store.write_file("other", b"2")
        say("written")
        hear()
        """,
        location,
    )
    other.hear()
    with LocalCasStore(location) as store:
        store.write_file("mine", b"1")
        gate_of(location).write_bytes(b"\1")
        other.tell()
        assert other.hear() == "written"
        assert gate_of(location).read_bytes() == b"\0"
        store.write_file("mine", b"2")
        assert (store.read_file("other"), store.read_file("mine")) == (b"2", b"2")


def test_a_log_in_doubt_that_a_reader_uses_lets_nobody_write(
    location: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BUSY_MS", 50)
    with LocalCasStore(location) as store:
        store.write_file("a", b"1")
        reader = start(
            """
            store = LocalCasStore(location, read_only=True)
            def read(tx):
                tx.count_files()
                say("reading")
                hear()
            store._catalog.read(read)
            say("done")
            hear()
            """,
            location,
        )
        reader.hear()
        store.write_file("a", b"2")  # which the reader does not see: the log cannot be cut behind it
        gate_of(location).write_bytes(b"\1")
        for _ in range(2):
            with pytest.raises(UnavailableError, match="settled"):
                store.write_file("a", b"3")
            assert gate_of(location).read_bytes() == b"\1"
        assert store.read_file("a") == b"2"
        reader.tell()
        assert reader.hear() == "done"
        store.write_file("a", b"3")
        assert gate_of(location).read_bytes() == b"\0"


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_a_flush_that_fails_is_an_unknown_outcome_and_puts_the_log_in_doubt_for_all(
    location: Path, start: Start, durability: str
) -> None:
    with LocalCasStore(location) as other:
        other.write_file("other", b"1")
        child = start(
            """
            store = LocalCasStore(location, durability=sys.argv[2])
            say("ready")
            hear()
            try:
                if sys.argv[2] == "full":
                    store.write_file("a", b"1")
                else:
                    store._catalog.write_then(lambda tx: tx.mark_epoch(), print)
            except OutcomeUnknownError as error:
                say("unknown", error.transaction_id)
            say(store.stat_file("a") is not None)
            hear()
            store.write_file("b", b"2")
            say("written")
            hear()
            """,
            location,
            durability,
            under=faulty("fdatasync", "error=EIO:when=1"),
        )
        assert child.hear() == "ready"
        child.tell()
        assert child.hear().startswith("unknown ")
        child.hear()
        assert gate_of(location).read_bytes() == b"\1"
        other.write_file("other", b"2")
        assert gate_of(location).read_bytes() == b"\0"
        child.tell()
        assert child.hear() == "written"
        assert other.read_file("b") == b"2"
        assert other.audit_file_index(verify=True).is_sound()


@pytest.mark.parametrize(
    "work",
    ["store._catalog.truncate_wal()", "store.was_committed('1000000-0000000000000000')"],
    ids=["truncating", "settling"],
)
def test_an_error_while_the_log_is_emptied_puts_it_in_doubt_for_all(
    location: Path, start: Start, work: str
) -> None:
    """What relaxed commits have put there is acknowledged already, and not flushed."""
    with LocalCasStore(location) as other:
        other.write_file("other", b"1")
        child = start(
            """
            store = LocalCasStore(location, durability="relaxed")
            store.write_file("a", b"1")
            say("ready")
            hear()
            try:
                exec(sys.argv[2])
            except (StorageError, UnavailableError) as error:
                say(type(error).__name__)
            hear()
            store.write_file("b", b"2")
            say("written")
            hear()
            """,
            location,
            work,
            under=faulty("fdatasync", "error=EIO:when=1"),
        )
        assert child.hear() == "ready"
        assert gate_of(location).read_bytes() == b"\0"
        child.tell()
        assert child.hear() in ("StorageIOError", "UnavailableError")
        assert gate_of(location).read_bytes() == b"\1"
        child.tell()
        assert child.hear() == "written"
        assert gate_of(location).read_bytes() == b"\0"
        assert (other.read_file("a"), other.read_file("b")) == (b"1", b"2")
        assert other.audit_file_index(verify=True).is_sound()


_UNCLOSED = {
    "forgotten": """
        store = LocalCasStore(location, durability="relaxed")
        store.write_file("a", b"1")
        del store
        """,
    "left open at exit": """
        store = LocalCasStore(location, durability="relaxed")
        store.write_file("a", b"1")
        """,
    "forked": """
        store = LocalCasStore(location)
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        os._exit(0)
        """,
}


@pytest.mark.parametrize("program", _UNCLOSED.values(), ids=_UNCLOSED)
def test_nothing_but_closing_copies_the_log(
    location: Path, start: Start, tmp_path: Path, program: str
) -> None:
    """SQLite would, wherever its last connection ends, and not tell that relaxed commits were not flushed."""
    killed = "LocalCasStore(location, durability='relaxed').write_file('before', b'0'); kill_me()"
    start(killed, location).wait()
    trace = tmp_path / "trace"
    require_strace()
    child = start(
        program,
        location,
        under=[
            "strace", "-f", "-q", "-y", "-o", str(trace), "-e", "trace=fdatasync",
            "-e", "inject=fdatasync:error=EIO",
        ],
    )  # fmt: skip
    child.finish()
    assert "catalog.db" not in trace.read_text()  # or it would have been told of the failure, and gone on
    assert gate_of(location).read_bytes() == b"\0"
    with LocalCasStore(location) as store:
        assert store.read_file("before") == b"0"
    assert not (location / "catalog.db-wal").exists()


_NEVER_TOLD = {
    "shortened": ("fdatasync", "store._catalog._shorten_wal()"),
    "closing": ("fsync", "store.close()"),
}


@pytest.mark.parametrize(("call", "work"), _NEVER_TOLD.values(), ids=_NEVER_TOLD)
def test_a_log_comes_into_doubt_for_all_although_another_has_the_lock(
    location: Path, start: Start, call: str, work: str
) -> None:
    with LocalCasStore(location) as other:
        other.write_file("other", b"1")  # it has begun the log, which takes a flush
        child = start(
            """
            store = LocalCasStore(location, durability="relaxed", lock_timeout_s=0.05)
            store.write_file("a", b"1")
            say("written")
            hear()
            exec(sys.argv[2])
            say("over")
            hear()
            """,
            location,
            work,
            under=faulty(call, "error=EIO", path=location / "catalog.db-wal"),
        )
        assert child.hear() == "written"

        def hold(_: object) -> None:
            child.tell()
            assert child.hear() == "over"

        other._catalog.write(hold)
        assert gate_of(location).read_bytes() == b"\1"
        child.tell()
        child.finish()
        other.write_file("other", b"2")
        assert gate_of(location).read_bytes() == b"\0"
        assert other.read_file("a") == b"1"
