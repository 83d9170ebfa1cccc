"""How errors end a command: exit codes by class, a safe sentence or an exact document."""

from __future__ import annotations

import json

import pytest

import agent_world_distfs
from agent_world_distfs import (
    ABSENT,
    BlobHashMismatchError,
    BlobMissingError,
    BlobNotFoundError,
    CatalogError,
    FileConflictError,
    FileIndexManifestRef,
    FileMetadata,
    ForkedStoreError,
    IncompatibleStoreError,
    IndexConflictError,
    InvalidInputError,
    LocalCasStore,
    ManifestError,
    OutcomeUnknownError,
    PathInvalidError,
    PathNotFoundError,
    StorageFullError,
    StorageIOError,
    StoreBusyError,
    StoreClosedError,
    StoreMovedError,
    TransactionConflictError,
    UnavailableError,
    WorldError,
)
from agent_world_distfs.faces.cli.failures import exit_code
from agent_world_distfs.faces.cli.output import json_text
from cli.running import Distfs

HASH, OTHER = "0" * 64, "1" * 64
REF, OTHER_REF = FileIndexManifestRef(HASH, 1), FileIndexManifestRef(OTHER, 2)
FILE = FileMetadata("a", HASH, 1, 2)
FILE_DOCUMENT = {"path": "a", "content_hash": HASH, "size_bytes": 1, "updated_at_ms": 2}
CONFLICT = FileConflictError("a", ABSENT, FILE)
CONFLICT_VALUES: dict[str, object] = {"path": "a", "expected": "absent", "actual": FILE_DOCUMENT}

ERRORS: list[tuple[BaseException, int, dict[str, object]]] = [
    (WorldError("other"), 1, {}),
    (ValueError("a bug"), 1, {}),
    (InvalidInputError("wrong"), 2, {}),
    (PathInvalidError("a\0", "contains NUL"), 2, {"path": "a\0", "reason": "contains NUL"}),
    (StoreClosedError(), 2, {}),
    (BlobNotFoundError(HASH), 3, {"content_hash": HASH}),
    (PathNotFoundError("a"), 3, {"path": "a"}),
    (FileNotFoundError(2, "No such file or directory", "mine"), 3, {"path": "mine", "errno": 2}),
    (CONFLICT, 4, CONFLICT_VALUES),
    (FileConflictError("a", HASH, None), 4, {"path": "a", "expected": HASH, "actual": None}),
    (IndexConflictError(REF, OTHER_REF), 4, {"expected": f"{HASH}:1", "actual": f"{OTHER}:2"}),
    (BlobHashMismatchError(HASH, OTHER), 5, {"expected": HASH, "actual": OTHER}),
    (BlobMissingError(HASH, None), 5, {"content_hash": HASH, "path": None}),
    (CatalogError("torn"), 5, {"reason": "torn"}),
    (ManifestError("torn"), 5, {"reason": "torn"}),
    (UnavailableError("later"), 6, {}),
    (StoreBusyError(1.5), 6, {"timeout_s": 1.5}),
    (ForkedStoreError(), 6, {}),
    (StorageFullError("world", "no space"), 6, {"path": "world", "reason": "no space"}),
    (StorageIOError("world", "I/O error"), 6, {"path": "world", "reason": "I/O error"}),
    (PermissionError(13, "Permission denied", "mine"), 6, {"path": "mine", "errno": 13}),
    (IncompatibleStoreError("world", "format 9"), 7, {"location": "world", "reason": "format 9"}),
    (StoreMovedError("there"), 7, {"location": "there", "reason": "the store has moved there"}),
    (OutcomeUnknownError("t1"), 8, {"transaction_id": "t1"}),
]


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make ``distfs pins`` fail with ``error``."""

    def list_pins(store: LocalCasStore) -> list[str]:
        raise error

    monkeypatch.setattr(LocalCasStore, "list_pins", list_pins)


@pytest.mark.parametrize(("error", "code", "values"), ERRORS, ids=lambda value: type(value).__name__)
def test_each_error_has_its_exit_code_and_its_values(
    distfs: Distfs, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, values: dict[str, object]
) -> None:
    distfs("init")
    fail_with(monkeypatch, error)
    document = distfs.error("pins", code=code)
    assert document == {"kind": type(error).__name__, "message": document["message"], **values}
    outcome = distfs("pins", code=code)
    assert outcome.stdout == b""
    assert outcome.stderr.startswith("distfs: ")
    assert "Traceback" not in outcome.stderr


def test_a_transaction_conflict_lists_every_input_that_changed(
    distfs: Distfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    distfs("init")
    fail_with(monkeypatch, TransactionConflictError((CONFLICT, IndexConflictError(REF, OTHER_REF))))
    first, second = distfs.error("pins", code=4)["conflicts"]
    assert first == {"kind": "FileConflictError", "message": str(CONFLICT), **CONFLICT_VALUES}
    assert second["kind"] == "IndexConflictError"


def test_every_error_of_the_library_has_an_exit_code_of_its_own_group() -> None:
    classes = {each for each in vars(agent_world_distfs).values() if isinstance(each, type)}
    errors = {each for each in classes if issubclass(each, WorldError)} - {WorldError}
    assert len(errors) > 20
    # Made without arguments on purpose: the class alone decides.
    assert {each.__name__ for each in errors if exit_code(each.__new__(each)) == 1} == set()


def test_terminal_escapes_in_an_error_are_shown_and_not_obeyed(
    distfs: Distfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    distfs("init")
    fail_with(monkeypatch, CatalogError("\x1b]0;title\a\nsecond line \udcff"))
    outcome = distfs("pins", code=5)
    shown = r"\u001b]0;title\u0007\nsecond line \xff"
    assert outcome.stderr.splitlines()[0] == f"distfs: the catalog is damaged: {shown}"
    assert distfs.error("pins", code=5)["reason"] == "\x1b]0;title\a\nsecond line \\xff"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\udcff", r"\xff"),
        ("\udc80 \ud800 \udfff", r"\x80 \ud800 \udfff"),
        ("\U0001f600", "\U0001f600"),
        (r"\ud800 \\", r"\ud800 \\"),
    ],
)
def test_json_holds_no_lone_surrogate(text: str, shown: str) -> None:
    found = json.loads(json_text({"path": text}))["path"]
    assert found == shown
    found.encode()


def test_a_full_disk_is_told_how_it_can_be_emptied(distfs: Distfs, monkeypatch: pytest.MonkeyPatch) -> None:
    distfs("init")
    fail_with(monkeypatch, StorageFullError("world/tmp/0", "no space"))
    told, how = distfs("pins", code=6).stderr.splitlines()
    assert told == "distfs: world/tmp/0: no space"
    assert how.startswith("Make room there")


def test_what_should_not_happen_is_one_line_and_a_hint(
    distfs: Distfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    distfs("init")
    fail_with(monkeypatch, ZeroDivisionError("oops"))
    lines = distfs("pins", code=1).stderr.splitlines()
    assert lines[0] == "distfs: unexpected ZeroDivisionError: oops"
    assert "DISTFS_DEBUG=1" in lines[1]
    distfs.environment["DISTFS_DEBUG"] = "1"
    assert "Traceback" in distfs("pins", code=1).stderr


def test_ctrl_c_exits_with_130_quietly(distfs: Distfs, monkeypatch: pytest.MonkeyPatch) -> None:
    distfs("init")
    fail_with(monkeypatch, KeyboardInterrupt())
    for arguments in (["pins"], ["pins", "--json"]):
        outcome = distfs(*arguments, code=130)
        assert (outcome.stdout, outcome.stderr) == (b"", "")


def test_an_error_document_is_one_line_of_ascii(distfs: Distfs) -> None:
    distfs("init")
    outcome = distfs("stat", "ü\x1b", "--json", code=3)
    assert outcome.stderr.isascii()
    assert outcome.stderr.count("\n") == 1
    assert json.loads(outcome.stderr)["error"]["path"] == "ü\x1b"
