"""The errors: a tree by what the caller does next, with values that survive pickling and copying."""

from __future__ import annotations

import copy
import errno
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agent_world_distfs
from agent_world_distfs import (
    ABSENT,
    BlobHashInvalidError,
    BlobHashMismatchError,
    BlobMissingError,
    BlobNotFoundError,
    CatalogError,
    ConflictError,
    CorruptError,
    FileConflictError,
    FileIndexManifestRef,
    FileMetadata,
    ForkedStoreError,
    HistoryExpiredError,
    HistoryNotKeptError,
    IncompatibleStoreError,
    IndexConflictError,
    InputConflictError,
    InvalidInputError,
    LeaseExpiredError,
    LocalCasStore,
    ManifestError,
    NotFoundError,
    OutcomeUnknownError,
    PathInvalidError,
    PathNotFoundError,
    Snapshot,
    SnapshotExistsError,
    SnapshotNotFoundError,
    StorageError,
    StorageFullError,
    StorageIOError,
    StorageReadOnlyError,
    StoreBusyError,
    StoreClosedError,
    StoreMovedError,
    TransactionConflictError,
    TransactionForgottenError,
    UnavailableError,
    WorldError,
    errors,
)

HASH, OTHER = "a" * 64, "b" * 64
METADATA = FileMetadata("a", OTHER, 3, 4)
REF, OTHER_REF = FileIndexManifestRef(HASH, 1), FileIndexManifestRef(OTHER, 2)
CONFLICT = FileConflictError("a", HASH, METADATA)

EXAMPLES: list[WorldError] = [
    WorldError("x"),
    NotFoundError("/world", "no store here"),
    BlobNotFoundError(HASH),
    PathNotFoundError("a"),
    SnapshotNotFoundError("a"),
    SnapshotExistsError("a", Snapshot("a", REF, 3, 4, "why")),
    ConflictError("x"),
    CONFLICT,
    FileConflictError("a", ABSENT, METADATA),
    FileConflictError("a", HASH, None),
    IndexConflictError(REF, OTHER_REF),
    InputConflictError("a", METADATA, None),
    InputConflictError("a", None, METADATA, "a"),
    TransactionForgottenError("1-ab"),
    TransactionConflictError((CONFLICT, FileConflictError("b", ABSENT, METADATA))),
    CorruptError("x"),
    BlobHashMismatchError(HASH, OTHER),
    BlobMissingError(HASH, "a"),
    BlobMissingError(HASH, None),
    CatalogError("x"),
    ManifestError("x"),
    InvalidInputError("x"),
    BlobHashInvalidError("x"),
    PathInvalidError("a\0b", "contains NUL"),
    HistoryExpiredError(1, 2),
    HistoryNotKeptError(),
    StoreClosedError(),
    IncompatibleStoreError("/world", "x"),
    StoreMovedError("/elsewhere"),
    StorageError("/world", "x"),
    StorageFullError("/world", "x"),
    StorageReadOnlyError("/world", "x"),
    StorageIOError("/world", "x"),
    UnavailableError("x"),
    StoreBusyError(1.5),
    LeaseExpiredError(),
    ForkedStoreError(),
    OutcomeUnknownError("1-ab"),
]

PARENTS: dict[type[WorldError], tuple[type[BaseException], ...]] = {
    NotFoundError: (WorldError, FileNotFoundError),
    BlobNotFoundError: (NotFoundError,),
    PathNotFoundError: (NotFoundError,),
    SnapshotNotFoundError: (NotFoundError,),
    TransactionForgottenError: (NotFoundError,),
    ConflictError: (WorldError,),
    FileConflictError: (ConflictError,),
    IndexConflictError: (ConflictError,),
    SnapshotExistsError: (ConflictError,),
    InputConflictError: (ConflictError,),
    TransactionConflictError: (ConflictError,),
    CorruptError: (WorldError,),
    BlobHashMismatchError: (CorruptError,),
    BlobMissingError: (CorruptError,),
    CatalogError: (CorruptError,),
    ManifestError: (CorruptError,),
    InvalidInputError: (WorldError, ValueError),
    BlobHashInvalidError: (InvalidInputError,),
    PathInvalidError: (InvalidInputError,),
    HistoryExpiredError: (InvalidInputError,),
    HistoryNotKeptError: (InvalidInputError,),
    StoreClosedError: (InvalidInputError,),
    IncompatibleStoreError: (WorldError,),
    StoreMovedError: (IncompatibleStoreError,),
    StorageError: (WorldError,),
    StorageFullError: (StorageError,),
    StorageReadOnlyError: (StorageError,),
    StorageIOError: (StorageError,),
    UnavailableError: (WorldError,),
    StoreBusyError: (UnavailableError, TimeoutError),
    LeaseExpiredError: (UnavailableError,),
    ForkedStoreError: (UnavailableError,),
    OutcomeUnknownError: (WorldError,),
}
"""The tree, whole."""


def _tree_of(kind: type[WorldError]) -> list[type[WorldError]]:
    below = [each for child in kind.__subclasses__() for each in _tree_of(child)]
    return [kind, *below] if kind.__module__.startswith(errors.__name__) else below


DEFINED = list(dict.fromkeys(_tree_of(WorldError)))

each_error = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
WAYS: dict[str, Callable[[WorldError], WorldError]] = {
    **{
        f"pickle {protocol}": lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))  # type: ignore[misc]
        for protocol in range(6)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
each_way = pytest.mark.parametrize("again", WAYS.values(), ids=WAYS.keys())


def values_of(error: WorldError) -> dict[str, Any]:
    """What a handler can read from it."""
    names = [name for name in dir(error) if not name.startswith("_") and name != "conflicts"]
    return {name: value for name in names if not callable(value := getattr(error, name, None))}


# --- the tree ---------------------------------------------------------------------------------


def test_the_tree_is_whole() -> None:
    assert set(DEFINED) == {WorldError, *PARENTS}
    assert {kind.__name__ for kind in DEFINED} == set(errors.__all__)
    assert {type(error) for error in EXAMPLES} == set(DEFINED)


@pytest.mark.parametrize(("kind", "parents"), PARENTS.items(), ids=lambda kind: getattr(kind, "__name__", ""))
def test_each_error_is_where_a_handler_looks_for_it(
    kind: type[WorldError], parents: tuple[type[BaseException], ...]
) -> None:
    assert kind.__bases__ == parents


def test_the_first_level_says_what_to_do_and_no_error_is_two_of_it() -> None:
    first_level = [kind for kind in DEFINED if WorldError in kind.__bases__]
    for kind in DEFINED[1:]:
        assert sum(issubclass(kind, first) for first in first_level) == (kind is not WorldError), kind


def test_lost_bytes_are_no_missing_file() -> None:
    # Who handles FileNotFoundError creates the file anew, and would bury the loss.
    assert not issubclass(BlobMissingError, OSError)
    assert not issubclass(BlobMissingError, NotFoundError)


# --- values -----------------------------------------------------------------------------------


@each_error
def test_an_error_comes_through_with_its_values_and_notes(error: WorldError) -> None:
    noted = copy.copy(error)
    noted.add_note("while importing")
    for back in (way(noted) for way in WAYS.values()):
        assert type(back) is type(error)
        assert str(back) == str(error)
        assert repr(back.args) == repr(error.args)
        assert back.__notes__ == ["while importing"]
        if not isinstance(error, TransactionConflictError):  # its conflicts are compared below
            assert values_of(back) == values_of(error)


@each_way
def test_conflicts_come_through(again: Callable[[WorldError], WorldError]) -> None:
    back = again(TransactionConflictError((CONFLICT, FileConflictError("b", ABSENT, METADATA))))
    assert isinstance(back, TransactionConflictError)
    first, second = back.conflicts
    assert isinstance(first, FileConflictError)
    assert isinstance(second, FileConflictError)
    assert (first.path, first.expected, first.actual) == ("a", HASH, METADATA)
    assert (second.path, second.expected, second.actual) == ("b", ABSENT, METADATA)
    assert second.expected is ABSENT


@each_error
def test_an_error_has_a_sentence_of_one_line(error: WorldError) -> None:
    assert str(error)
    assert "\n" not in str(error)
    assert "\0" not in str(error)
    assert type(error).__doc__


def test_what_was_not_found_is_told_as_the_system_tells_it() -> None:
    for error, name in [
        (NotFoundError("/world", "no store here"), "/world"),
        (BlobNotFoundError(HASH), HASH),
        (PathNotFoundError("a/b"), "a/b"),
    ]:
        assert error.errno == errno.ENOENT
        assert error.strerror
        assert error.filename == name
        assert name in str(error)


def test_a_conflict_carries_what_is_needed_to_decide_again() -> None:
    assert (CONFLICT.path, CONFLICT.expected, CONFLICT.actual) == ("a", HASH, METADATA)
    assert CONFLICT.conflicts == (CONFLICT,)
    assert IndexConflictError(REF, OTHER_REF).conflicts[0].args == (REF, OTHER_REF)


def test_sentences_name_what_went_wrong() -> None:
    assert HASH in str(CONFLICT)
    assert OTHER in str(CONFLICT)
    assert "no file" in str(FileConflictError("a", HASH, None))
    assert "no file" in str(FileConflictError("a", ABSENT, METADATA))
    assert "a pin" in str(BlobMissingError(HASH, None))
    assert "1.5" in str(StoreBusyError(1.5))
    assert "/elsewhere" in str(StoreMovedError("/elsewhere"))
    assert str(REF) in str(IndexConflictError(REF, OTHER_REF))


def test_sentences_of_hostile_values_stay_short_and_printable() -> None:
    # A terminal that prints an error must not obey what a path says.
    for error in (
        PathInvalidError("\x1b[2J" * 5000, "x"),
        BlobHashInvalidError("\x1b[2J" * 5000),
        PathNotFoundError("a\x1b[2Jb\nc"),
        BlobMissingError(HASH, "a\x1b[2Jb\nc"),
        FileConflictError("a\x1b[2Jb\nc", HASH, None),
    ):
        assert str(error).isprintable()
        assert len(str(error)) < 500


def test_a_busy_store_is_a_timeout() -> None:
    error = StoreBusyError(2.5)
    assert isinstance(error, TimeoutError)
    assert error.timeout_s == 2.5


# --- names ------------------------------------------------------------------------------------


def test_every_promised_name_is_importable_from_the_top_level() -> None:
    values = (
        "ABSENT Absent AdoptReport BlobReader BlobStat BlobStore Data FileIndexAuditReport FileIndexManifest "
        "FileIndexManifestRef FileMetadata FileStore HashAlgorithm LocalCasStore ManifestImportReport "
        "Progress PruneReport open_store"
    )
    promised = {*(kind.__name__ for kind in DEFINED), *values.split()}
    assert promised <= set(agent_world_distfs.__all__)
    for name in agent_world_distfs.__all__:
        assert hasattr(agent_world_distfs, name)
    assert len(set(agent_world_distfs.__all__)) == len(agent_world_distfs.__all__)


# --- where they come from ---------------------------------------------------------------------


def test_an_error_of_a_store_pickles_like_any_other(store: LocalCasStore, tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.read_file("a"),
        lambda: store.get(HASH),
        lambda: store.write_file_if_match("a", HASH, b"x"),
        lambda: store.put(HASH, b"x"),
        lambda: store.write_file("..", b"x"),
        lambda: store.get("x"),
        lambda: LocalCasStore(tmp_path / "nothing", create=False),
        lambda: LocalCasStore(tmp_path),
    ]
    for call in calls:
        with pytest.raises(WorldError) as raised:
            call()
        back = pickle.loads(pickle.dumps(raised.value))
        assert (type(back), str(back)) == (type(raised.value), str(raised.value))


def test_a_conflict_over_thousands_of_files_holds_all_and_names_a_few() -> None:
    every = tuple(InputConflictError(f"path-{number}", None, None) for number in range(5_000))
    error = TransactionConflictError(every)
    assert error.conflicts == every
    assert str(error).endswith("; and 4990 more")
    assert "path-9" in str(error)
    assert len(str(error)) < 2_000
    assert "more" not in str(TransactionConflictError(every[:10]))


def test_content_never_stands_in_an_error(store: LocalCasStore) -> None:
    canary = b"canary-4711-do-not-print"
    calls: list[Callable[[], object]] = [
        lambda: store.put(HASH, canary),
        lambda: store.write_file_if_match("a", HASH, canary),
        lambda: store.write_file("..", canary),
        lambda: store.write_file("a", [canary]),  # type: ignore[arg-type]
        lambda: store.put_bytes(canary.decode()),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises((WorldError, TypeError)) as raised:
            call()
        assert "4711" not in repr(raised.value) + str(raised.value)
