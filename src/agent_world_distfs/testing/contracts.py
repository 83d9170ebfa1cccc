"""The promises of a store as tests: derive a class, give it a store, and pytest runs them.

Only the protocols ``BlobStore`` and ``FileStore`` are used, so that anything with these methods can
be tested. Each test gets an empty store. A store that names blobs by SHA-256 overrides the fixture
``hash_algorithm``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from agent_world_distfs.errors import (
    BlobHashInvalidError,
    BlobHashMismatchError,
    BlobNotFoundError,
    InvalidInputError,
    NotFoundError,
    PathInvalidError,
    PathNotFoundError,
)
from agent_world_distfs.hashing import hash_function
from agent_world_distfs.protocols import BlobStore, FileStore
from agent_world_distfs.records import FileMetadata, HashAlgorithm

HashBytes = Callable[[bytes], str]

CONTENTS = {
    "nothing": b"",
    "a byte": b"a",
    "every byte": bytes(range(256)),
    "a page and one": bytes(4097),
    "8 KiB": b"8" * 8192,
    "8 KiB and one": b"8" * 8193,
    "a chunk": b"c" * (1 << 20),
    "chunks and a rest": bytes(range(256)) * (3 << 12) + b"rest",
}
"""Sizes around which stores tend to change how they keep bytes."""

NO_HASHES = {
    "empty": "",
    "short": "a" * 63,
    "long": "a" * 65,
    "uppercase": "A" * 64,
    "not hexadecimal": "g" * 64,
    "with a line feed": "a" * 64 + "\n",
    "with a space": " " + "a" * 63,
    "fullwidth digits": "\uff11" * 64,
    "with a path": "../" + "a" * 61,
    "with NUL": "a" * 63 + "\0",
    "with a prefix": "0x" + "a" * 62,
}

NO_PATHS = {
    "empty": "",
    "absolute": "/a",
    "only the root": "/",
    "only dots": "./.",
    "parent": "..",
    "parent inside": "a/../b",
    "parent at the end": "a/..",
    "NUL": "a\0b",
    "lone surrogate": "a\udc80",
    "4,097 bytes": "x" * 4097,
    "4,098 bytes in 1,366 characters": "\u6587" * 1366,
}

NORMAL_PATHS = {
    "a": "a",
    "./a": "a",
    "a/": "a",
    "a//b": "a/b",
    "./a/./b/.": "a/b",
    "a/b/c": "a/b/c",
    "...": "...",
    ".hidden": ".hidden",
    "a b\tc\nd": "a b\tc\nd",
    "back\\slash": "back\\slash",
    "\u00e9": "\u00e9",
    "e\u0301": "e\u0301",
    "\u6587\u4ef6": "\u6587\u4ef6",
    "\U0010ffff": "\U0010ffff",
    "CON": "CON",
    "%2e%2e": "%2e%2e",
    "x" * 4096: "x" * 4096,
}
"""Paths as given, and as the index has them."""


def _some(values: dict[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("text", values.values(), ids=values.keys())


class _Contract:
    @pytest.fixture
    def hash_algorithm(self) -> HashAlgorithm:
        """The hash algorithm that names the store's blobs."""
        return HashAlgorithm.BLAKE3

    @pytest.fixture
    def hash_bytes(self, hash_algorithm: HashAlgorithm) -> HashBytes:
        """The function that names its blobs."""
        return hash_function(hash_algorithm)


class BlobStoreContract(_Contract):
    """Promises of a ``BlobStore``. The fixture ``blobs`` gives an empty one."""

    @pytest.fixture
    def blobs(self) -> BlobStore:
        """An empty blob store, of the class that is tested."""
        raise NotImplementedError("the class that is tested must give the fixture 'blobs'")

    def test_it_is_a_blob_store(self, blobs: BlobStore) -> None:
        assert isinstance(blobs, BlobStore)

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    def test_bytes_come_back_under_their_hash(
        self, blobs: BlobStore, hash_bytes: HashBytes, content: bytes
    ) -> None:
        content_hash = blobs.put_bytes(content)
        assert content_hash == hash_bytes(content)
        assert blobs.has(content_hash)
        assert blobs.get(content_hash) == content
        assert type(blobs.get(content_hash)) is bytes

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    def test_bytes_can_be_put_under_a_hash_that_is_known(
        self, blobs: BlobStore, hash_bytes: HashBytes, content: bytes
    ) -> None:
        blobs.put(hash_bytes(content), content)
        assert blobs.get(hash_bytes(content)) == content

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    def test_bytes_that_are_not_as_expected_leave_no_trace(
        self, blobs: BlobStore, hash_bytes: HashBytes, content: bytes
    ) -> None:
        expected = hash_bytes(b"something else")
        with pytest.raises(BlobHashMismatchError) as raised:
            blobs.put(expected, content)
        assert (raised.value.expected, raised.value.actual) == (expected, hash_bytes(content))
        assert not blobs.has(expected)
        assert not blobs.has(hash_bytes(content))

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    def test_putting_the_same_bytes_again_changes_nothing(self, blobs: BlobStore, content: bytes) -> None:
        content_hash = blobs.put_bytes(content)
        blobs.put(content_hash, content)
        assert blobs.put_bytes(content) == content_hash
        assert blobs.get(content_hash) == content

    def test_what_is_not_stored_is_not_found(self, blobs: BlobStore, hash_bytes: HashBytes) -> None:
        blobs.put_bytes(b"here")
        missing = hash_bytes(b"not here")
        assert not blobs.has(missing)
        with pytest.raises(BlobNotFoundError) as raised:
            blobs.get(missing)
        assert raised.value.content_hash == missing
        assert isinstance(raised.value, NotFoundError)

    @_some(NO_HASHES)
    def test_what_is_no_hash_is_refused(self, blobs: BlobStore, text: str) -> None:
        for call in (lambda: blobs.get(text), lambda: blobs.has(text), lambda: blobs.put(text, b"a")):
            with pytest.raises(BlobHashInvalidError) as raised:
                call()
            assert raised.value.content_hash == text
            assert isinstance(raised.value, InvalidInputError)

    @pytest.mark.parametrize("wrong", [None, b"a" * 64, 7], ids=repr)
    def test_a_hash_of_another_type_is_a_type_error(self, blobs: BlobStore, wrong: str) -> None:
        for call in (lambda: blobs.get(wrong), lambda: blobs.has(wrong), lambda: blobs.put(wrong, b"a")):
            with pytest.raises(TypeError):
                call()

    @pytest.mark.parametrize("wrong", [None, "text", 7, [1]], ids=repr)
    def test_content_of_another_type_is_a_type_error(
        self, blobs: BlobStore, hash_bytes: HashBytes, wrong: bytes
    ) -> None:
        for call in (lambda: blobs.put_bytes(wrong), lambda: blobs.put(hash_bytes(b"a"), wrong)):
            with pytest.raises(TypeError):
                call()

    @pytest.mark.parametrize("size", [3, 20_000])
    def test_mutable_bytes_are_copied(self, blobs: BlobStore, hash_bytes: HashBytes, size: int) -> None:
        mutable = bytearray(b"m" * size)
        first = blobs.put_bytes(mutable)
        mutable[:] = b"n" * size
        second = blobs.put_bytes(memoryview(mutable))
        mutable[:] = b"o" * size
        blobs.put(hash_bytes(b"o" * size), mutable)
        mutable[:] = b"p" * size
        assert blobs.get(first) == b"m" * size
        assert blobs.get(second) == b"n" * size
        assert blobs.get(hash_bytes(b"o" * size)) == b"o" * size

    def test_a_view_counts_in_bytes_whatever_its_items_are(
        self, blobs: BlobStore, hash_bytes: HashBytes
    ) -> None:
        raw = bytes(range(64))
        assert blobs.put_bytes(memoryview(raw).cast("I")) == hash_bytes(raw)
        assert blobs.put_bytes(memoryview(raw)[::2]) == hash_bytes(raw[::2])

    def test_threads_put_and_get_at_once(self, blobs: BlobStore, hash_bytes: HashBytes) -> None:
        contents = [bytes([number]) * (1 + number * 997) for number in range(20)]
        errors: list[BaseException] = []

        def work() -> None:
            try:
                for content in contents:
                    assert blobs.get(blobs.put_bytes(content)) == content
            except BaseException as error:  # noqa: BLE001  # raised again in the thread of the test
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        assert all(blobs.has(hash_bytes(content)) for content in contents)


class FileStoreContract(_Contract):
    """Promises of a ``FileStore``. The fixture ``files_store`` gives an empty one."""

    @pytest.fixture
    def files_store(self) -> FileStore:
        """An empty file store, of the class that is tested."""
        raise NotImplementedError("the class that is tested must give the fixture 'files_store'")

    def test_it_is_a_file_store(self, files_store: FileStore) -> None:
        assert isinstance(files_store, FileStore)

    def test_an_empty_store_has_no_files(self, files_store: FileStore) -> None:
        assert files_store.list_files() == []

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    def test_what_is_written_is_read(
        self, files_store: FileStore, hash_bytes: HashBytes, content: bytes
    ) -> None:
        written = files_store.write_file("a/b", content)
        assert (written.path, written.content_hash) == ("a/b", hash_bytes(content))
        assert written.size_bytes == len(content)
        assert files_store.read_file("a/b") == content
        assert files_store.stat_file("a/b") == written
        assert files_store.list_files() == [written]
        assert type(written) is FileMetadata

    def test_a_write_replaces_what_was_there(self, files_store: FileStore) -> None:
        first = files_store.write_file("a", b"first")
        second = files_store.write_file("a", b"second")
        assert files_store.read_file("a") == b"second"
        assert files_store.list_files() == [second]
        assert second.updated_at_ms >= first.updated_at_ms

    def test_a_file_that_is_not_there_is_not_found(self, files_store: FileStore) -> None:
        files_store.write_file("here", b"")
        assert files_store.stat_file("not here") is None
        assert files_store.delete_file("not here") is False
        with pytest.raises(PathNotFoundError) as raised:
            files_store.read_file("not here")
        assert raised.value.path == "not here"
        assert isinstance(raised.value, FileNotFoundError)

    def test_a_deleted_file_is_gone_and_the_others_are_not(self, files_store: FileStore) -> None:
        files_store.write_file("a", b"same")
        other = files_store.write_file("b", b"same")
        assert files_store.delete_file("a") is True
        assert files_store.delete_file("a") is False
        assert files_store.stat_file("a") is None
        assert files_store.list_files() == [other]
        assert files_store.read_file("b") == b"same"

    def test_files_are_listed_by_the_bytes_of_their_paths(self, files_store: FileStore) -> None:
        paths = ["\uffee", "\U0001f600", "\u00e9", "b", "a/b", "a.b", "a", "a0", "B", "e\u0301"]
        for path in paths:
            files_store.write_file(path, path.encode())
        assert [file.path for file in files_store.list_files()] == sorted(paths, key=str.encode)

    @pytest.mark.parametrize(("given", "known"), NORMAL_PATHS.items())
    def test_a_path_is_known_by_its_one_form(self, files_store: FileStore, given: str, known: str) -> None:
        written = files_store.write_file(given, b"x")
        assert written.path == known
        assert files_store.stat_file(given) == files_store.stat_file(known) == written
        assert files_store.read_file(given) == b"x"
        assert files_store.delete_file(given) is True
        assert files_store.list_files() == []

    def test_a_file_and_what_looks_like_its_directory_may_both_be_there(self, files_store: FileStore) -> None:
        files_store.write_file("a", b"1")
        files_store.write_file("a/b", b"2")
        assert (files_store.read_file("a"), files_store.read_file("a/b")) == (b"1", b"2")

    @_some(NO_PATHS)
    def test_what_is_no_path_is_refused(self, files_store: FileStore, text: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: files_store.write_file(text, b"x"),
            lambda: files_store.read_file(text),
            lambda: files_store.stat_file(text),
            lambda: files_store.delete_file(text),
        ]
        for call in calls:
            with pytest.raises(PathInvalidError) as raised:
                call()
            assert raised.value.path == text
            assert isinstance(raised.value, InvalidInputError)
        assert files_store.list_files() == []

    @pytest.mark.parametrize("wrong", [None, b"a", 7, ("a",)], ids=repr)
    def test_a_path_of_another_type_is_a_type_error(self, files_store: FileStore, wrong: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: files_store.write_file(wrong, b"x"),
            lambda: files_store.read_file(wrong),
            lambda: files_store.stat_file(wrong),
            lambda: files_store.delete_file(wrong),
        ]
        for call in calls:
            with pytest.raises(TypeError):
                call()

    @pytest.mark.parametrize("wrong", [None, "text", 7], ids=repr)
    def test_content_of_another_type_is_a_type_error(self, files_store: FileStore, wrong: bytes) -> None:
        with pytest.raises(TypeError):
            files_store.write_file("a", wrong)
        assert files_store.list_files() == []

    def test_a_list_is_a_list_of_one_moment(self, files_store: FileStore) -> None:
        files_store.write_file("a", b"1")
        before = files_store.list_files()
        files_store.write_file("a", b"2")
        files_store.write_file("b", b"3")
        assert [file.path for file in before] == ["a"]
        assert len(files_store.list_files()) == 2

    def test_threads_write_without_losing_one(self, files_store: FileStore) -> None:
        errors: list[BaseException] = []

        def work(name: str) -> None:
            try:
                for number in range(20):
                    files_store.write_file(f"{name}/{number}", name.encode())
            except BaseException as error:  # noqa: BLE001  # raised again in the thread of the test
                errors.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        assert len(files_store.list_files()) == 80
