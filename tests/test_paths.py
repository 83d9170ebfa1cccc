"""Store paths: one form for each, refusals for what can be none, and nothing else touched."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_world_distfs import BlobHashInvalidError, FileIndexManifestRef, LocalCasStore, PathInvalidError
from agent_world_distfs.paths import MAX_PATH_BYTES, check_prefix, normalize_path
from agent_world_distfs.testing.contracts import NO_HASHES, NO_PATHS, NORMAL_PATHS

HASH = "a" * 64


@pytest.mark.parametrize(("given_path", "known"), NORMAL_PATHS.items())
def test_a_path_has_one_form(given_path: str, known: str) -> None:
    assert normalize_path(given_path) == known


@pytest.mark.parametrize("path", NO_PATHS.values(), ids=NO_PATHS.keys())
def test_what_is_no_path_is_refused_with_the_path_and_a_reason(path: str) -> None:
    with pytest.raises(PathInvalidError) as raised:
        normalize_path(path)
    assert raised.value.path == path
    assert raised.value.reason


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_normalizing_twice_changes_nothing(path: str) -> None:
    try:
        normal = normalize_path(path)
    except PathInvalidError:
        return
    assert normalize_path(normal) == normal
    assert all(segment not in ("", ".", "..") for segment in normal.split("/"))


@given(st.text("./a\0\ud800", max_size=12))
def test_no_spelling_climbs_out(path: str) -> None:
    try:
        normal = normalize_path(path)
    except PathInvalidError:
        return
    assert not normal.startswith("/")
    assert ".." not in normal.split("/")
    assert "\0" not in normal
    normal.encode()


@pytest.mark.parametrize("character", ["x", "\u00e9", "\u6587", "\U0010ffff"])
def test_the_limit_is_in_bytes_of_the_normal_form(character: str) -> None:
    size = len(character.encode())
    longest = character * (MAX_PATH_BYTES // size) + "x" * (MAX_PATH_BYTES % size)
    assert normalize_path(longest) == longest
    assert normalize_path("./" * 5000 + longest) == longest
    with pytest.raises(PathInvalidError):
        normalize_path(longest + "x")


def test_a_host_path_is_told_how_to_be_a_store_path() -> None:
    for path in (Path("a"), PurePosixPath("a")):
        with pytest.raises(TypeError, match=r"as_posix"):
            normalize_path(path)  # type: ignore[arg-type]


def test_a_str_of_another_class_is_taken_for_its_text() -> None:
    class Loud(str):
        __slots__ = ()

        def split(self, *arguments: Any) -> list[str]:
            return [".."]

        def startswith(self, *arguments: Any) -> bool:
            return False

        def __str__(self) -> str:
            return "b"

    assert normalize_path(Loud("a/./b")) == "a/b"
    assert type(normalize_path(Loud("a"))) is str
    with pytest.raises(PathInvalidError):
        normalize_path(Loud("/etc/passwd"))


def test_a_member_of_an_enum_of_text_names_the_path_that_it_is_equal_to(store: LocalCasStore) -> None:
    class Known(str, Enum):  # noqa: UP042  # whose text is not what str() gives
        PLAN = "plan.md"

    store.write_file(Known.PLAN, b"")
    assert [file.path for file in store.list_files(prefix=Known.PLAN)] == ["plan.md"]


@pytest.mark.parametrize("prefix", ["", "/", "..", "a//", ".", "a\0", "\U0010ffff"])
def test_a_prefix_is_any_text(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


def test_a_prefix_is_text_in_utf_8() -> None:
    with pytest.raises(PathInvalidError):
        check_prefix("\udcff")
    with pytest.raises(TypeError):
        check_prefix(b"a")  # type: ignore[arg-type]


def test_two_spellings_in_unicode_are_two_files(store: LocalCasStore) -> None:
    store.write_file("caf\u00e9", b"composed")
    store.write_file("cafe\u0301", b"decomposed")
    assert store.read_file("caf\u00e9") == b"composed"
    assert len(store.list_files()) == 2


def test_upper_and_lower_case_are_two_files(store: LocalCasStore) -> None:
    store.write_file("A", b"upper")
    store.write_file("a", b"lower")
    assert (store.read_file("A"), store.read_file("a")) == (b"upper", b"lower")


CALLS: dict[str, Callable[[LocalCasStore, str], object]] = {
    "write_file": lambda store, path: store.write_file(path, b""),
    "write_file_if_match": lambda store, path: store.write_file_if_match(path, None, b""),
    "write_file_stream": lambda store, path: store.write_file_stream(path, _Unread()),
    "read_file": lambda store, path: store.read_file(path),
    "read_file_with_metadata": lambda store, path: store.read_file_with_metadata(path),
    "open_file": lambda store, path: store.open_file(path),
    "stat_file": lambda store, path: store.stat_file(path),
    "delete_file": lambda store, path: store.delete_file(path),
    "delete_file_if_match": lambda store, path: store.delete_file_if_match(path, HASH),
    "delete_files": lambda store, path: store.delete_files(["kept", path]),
    "link_file": lambda store, path: store.link_file(path, HASH),
    "copy_file source": lambda store, path: store.copy_file(path, "b"),
    "copy_file target": lambda store, path: store.copy_file("kept", path),
    "rename_file source": lambda store, path: store.rename_file(path, "b"),
    "rename_file target": lambda store, path: store.rename_file("kept", path),
}


class _Unread:
    """A reader that must not be read: the path is checked first."""

    def read(self, size: int, /) -> bytes:
        raise AssertionError


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_every_call_refuses_what_is_no_path_and_leaves_the_store_alone(
    store: LocalCasStore, call: Callable[[LocalCasStore, str], object]
) -> None:
    kept = store.write_file("kept", b"kept")
    for path in NO_PATHS.values():
        with pytest.raises(PathInvalidError):
            call(store, path)
    for wrong in (None, b"a", 7, Path("a")):
        with pytest.raises(TypeError):
            call(store, wrong)  # type: ignore[arg-type]
    assert store.list_files() == [kept]
    assert store.audit_file_index(verify=True).is_clean()


HASH_CALLS: dict[str, Callable[[LocalCasStore, Any], object]] = {
    "put": lambda store, text: store.put(text, b""),
    "get": lambda store, text: store.get(text),
    "get_verified": lambda store, text: store.get_verified(text),
    "has": lambda store, text: store.has(text),
    "open_blob": lambda store, text: store.open_blob(text),
    "pin": lambda store, text: store.pin(text),
    "unpin": lambda store, text: store.unpin(text),
    "is_pinned": lambda store, text: store.is_pinned(text),
    "link_file": lambda store, text: store.link_file("a", text),
    "put_stream": lambda store, text: store.put_stream(_Unread(), expected_content_hash=text),
    "write_file_if_match": lambda store, text: store.write_file_if_match("a", text, b""),
    "write_file_stream": lambda store, text: store.write_file_stream(
        "a", _Unread(), expected_content_hash=text
    ),
    "delete_file_if_match": lambda store, text: store.delete_file_if_match("a", text),
    "link_file expected": lambda store, text: store.link_file("a", HASH, expected_content_hash=text),
    "copy_file": lambda store, text: store.copy_file("kept", "a", expected_content_hash=text),
    "rename_file": lambda store, text: store.rename_file("kept", "a", expected_content_hash=text),
    "read manifest": lambda store, text: store.read_file_index_manifest(FileIndexManifestRef(text, 1)),
    "import manifest": lambda store, text: store.import_file_index_manifest(FileIndexManifestRef(text, 1)),
    "pull manifest": lambda store, text: store.pull_manifest(store, FileIndexManifestRef(text, 1)),
}


@pytest.mark.parametrize("call", HASH_CALLS.values(), ids=HASH_CALLS.keys())
def test_every_call_refuses_what_is_no_hash_and_leaves_the_store_alone(
    store: LocalCasStore, call: Callable[[LocalCasStore, Any], object]
) -> None:
    kept = store.write_file("kept", b"kept")
    for text in NO_HASHES.values():
        with pytest.raises(BlobHashInvalidError) as raised:
            call(store, text)
        assert raised.value.content_hash == text
    for wrong in (b"a" * 64, 7, False):
        with pytest.raises(TypeError):
            call(store, wrong)
    assert store.list_files() == [kept]
    assert store.audit_file_index(verify=True).is_clean()
