"""Opening makes a store where there is none, also one that was half made, and finds it again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from agent_world_distfs import (
    HashAlgorithm,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    StoreBusyError,
    open_store,
)
from agent_world_distfs.catalog.schema import create_catalog
from agent_world_distfs.engine.directories import as_host_path
from calls import LARGE, fill
from children import Start, faulty

# --- making -----------------------------------------------------------------------------------


def test_a_store_is_made_where_there_is_none(tmp_path: Path) -> None:
    with LocalCasStore(tmp_path / "deep" / "down" / "store") as store:
        assert store.hash_algorithm is HashAlgorithm.BLAKE3
        assert store.list_files() == []
        assert store.audit_file_index(verify=True).is_clean()
    (tmp_path / "empty").mkdir()
    with LocalCasStore(tmp_path / "empty", hash_algorithm=HashAlgorithm.SHA256) as store:
        assert store.hash_algorithm is HashAlgorithm.SHA256


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path, algorithm: HashAlgorithm) -> None:
    with LocalCasStore(tmp_path / "store", hash_algorithm=algorithm) as store:
        fill(store)
        before, pins = store.list_files(), store.list_pins()
    with open_store(tmp_path / "store") as store:
        assert store.hash_algorithm is algorithm
        assert (store.list_files(), store.list_pins()) == (before, pins)
        assert store.read_file("large") == LARGE
        assert store.audit_file_index(verify=True).is_sound()


@pytest.mark.parametrize("kind", [str, Path, os.fsencode, lambda path: f"{path}/"], ids=lambda _: "")
def test_a_location_is_any_path_of_the_host(tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    with LocalCasStore(kind(tmp_path / "store")) as store:
        store.write_file("a", b"x")
        assert store.location == str(tmp_path / "store")
    assert (tmp_path / "store" / "catalog.db").exists()


@pytest.mark.parametrize(
    "name", ["a b?c#d%e'f\"g&h", "\u6587\u4ef6", "x\nnewline", "mode=ro", os.fsdecode(b"\xff\xfe")]
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_location_may_have_an_odd_name(tmp_path: Path, name: str, read_only: bool) -> None:
    with LocalCasStore(tmp_path / name) as store:
        store.write_file("a", LARGE)
    with LocalCasStore(tmp_path / name, read_only=read_only) as store:
        assert store.read_file("a") == LARGE
        assert repr(store)


def test_a_relative_location_means_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with LocalCasStore("store") as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.write_file("a", LARGE)
        assert store.read_file("a") == LARGE
        assert os.listdir() == []


@pytest.mark.parametrize("relative", ["store", "../store", "."])
def test_what_is_relative_to_a_directory_that_was_removed_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: str
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(NotFoundError, match="the current directory was removed"):
        LocalCasStore(relative)
    LocalCasStore(tmp_path / "store").close()


def test_a_location_may_be_reached_by_a_symlink(location: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(location)
    with LocalCasStore(tmp_path / "link") as one, LocalCasStore(location) as other:
        one.write_file("a", LARGE)
        assert other.read_file("a") == LARGE


def test_two_dots_behind_a_symlink_are_where_the_system_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "releases" / "42").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/42")
    (tmp_path / "link").symlink_to("elsewhere")
    monkeypatch.chdir(tmp_path)
    with LocalCasStore("current/../store") as store:
        assert store.location == str(tmp_path / "releases" / "store")
    assert sorted(os.listdir("releases")) == ["42", "store"]
    assert as_host_path("releases/../link") == str(tmp_path / "link")  # what comes behind them stays a link
    for path in ("..", "../..", "/..", "a/..", "a/../", "a..b/../c", "../x/.", "current/.."):
        assert os.path.realpath(as_host_path(path)) == os.path.realpath(path)


def test_a_store_that_was_copied_without_an_empty_directory_is_whole(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.write_file("large", LARGE)
    (location / "tmp").rmdir()
    with LocalCasStore(location, read_only=True) as store:
        assert store.read_file("large") == LARGE
    with LocalCasStore(location) as store:
        store.write_file("other", LARGE[1:])
        store.prune_orphan_blobs()
        assert store.audit_file_index(verify=True).is_clean()


@pytest.mark.parametrize("wrong", [None, 7, ["store"]], ids=repr)
def test_a_location_of_another_type_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        LocalCasStore(wrong)


@pytest.mark.parametrize("wrong", ["", "a\0b", "a\ud800"], ids=repr)
def test_a_location_that_can_be_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError):
        LocalCasStore(wrong)
    assert os.listdir() == []


WRONG_OPTIONS: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "durability": (InvalidInputError, {"durability": "none"}),
    "algorithm": (TypeError, {"hash_algorithm": "sha256"}),
    "timeout, a text": (TypeError, {"lock_timeout_s": "1"}),
    "timeout, nothing": (TypeError, {"lock_timeout_s": None}),
    "timeout, negative": (InvalidInputError, {"lock_timeout_s": -1}),
    "timeout, no number": (InvalidInputError, {"lock_timeout_s": float("nan")}),
    "timeout, beyond numbers": (InvalidInputError, {"lock_timeout_s": 10**400}),
}


@pytest.mark.parametrize(("kind", "options"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS.keys())
def test_wrong_options_are_refused_before_anything_is_made(
    tmp_path: Path, kind: type[Exception], options: dict[str, Any]
) -> None:
    with pytest.raises(kind):
        LocalCasStore(tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("timeout_s", [0, 0.5, 10**9, float("inf")])
def test_any_time_may_be_waited(location: Path, timeout_s: float) -> None:
    with LocalCasStore(location, lock_timeout_s=timeout_s) as store:
        store.write_file("a", b"x")


def test_many_who_make_the_same_store_at_once_share_it(tmp_path: Path, start: Start) -> None:
    program = """
    hear()
    for number in range(8):
        with LocalCasStore(f"{location}/{number}") as store:
            store.write_file(sys.argv[2], b"x")
    """
    children = [start(program, tmp_path, name) for name in "abcdefgh"]
    for child in children:
        child.tell()
    for child in children:
        child.finish()
    for number in range(8):
        with LocalCasStore(tmp_path / str(number), create=False) as store:
            assert [file.path for file in store.list_files()] == list("abcdefgh")
            assert os.listdir(tmp_path / str(number) / "tmp") == []


def test_threads_that_make_the_same_store_at_once_share_it(tmp_path: Path) -> None:
    def work(name: str) -> None:
        with LocalCasStore(tmp_path / "store") as store:
            store.write_file(name, b"x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, "abcdefgh"))
    with LocalCasStore(tmp_path / "store", create=False) as store:
        assert len(store.list_files()) == 8


# --- a store that was not made to the end -----------------------------------------------------


def half_made() -> dict[str, Callable[[Path], object]]:
    """What a crash leaves, step by step."""

    def lock(name: str, content: bytes = b"") -> Callable[[Path], object]:
        return lambda root: (root / "locks" / name).write_bytes(content)

    def workshop(root: Path) -> None:
        (root / "tmp" / "new-0011223344556677").mkdir()

    def catalog_made(root: Path) -> None:
        (root / "tmp" / "new-0011223344556677" / "catalog.db").unlink()
        create_catalog(str(root / "tmp" / "new-0011223344556677" / "catalog.db"), HashAlgorithm.SHA256)

    return {
        "nothing": lambda root: root.mkdir(),
        "blobs": lambda root: (root / "blobs").mkdir(),
        "tmp": lambda root: (root / "tmp").mkdir(),
        "reserve, empty": lambda root: (root / "reserve").touch(),
        "reserve, begun": lambda root: (root / "reserve").write_bytes(bytes(1000)),
        "locks": lambda root: (root / "locks").mkdir(),
        "turnstile": lock("turnstile"),
        "gate, empty": lock("gate"),
        "gate": lock("gate", b"\0"),
        "handles": lock("handles"),
        "workshop": workshop,
        "catalog, empty": lambda root: (root / "tmp" / "new-0011223344556677" / "catalog.db").touch(),
        "catalog, torn": lambda root: (root / "tmp" / "new-0011223344556677" / "catalog.db").write_bytes(
            b"SQLite format 3\0" + bytes(4000)
        ),
        "catalog": catalog_made,
    }


def test_a_directory_that_is_locked_is_waited_for_in_time(tmp_path: Path) -> None:
    """By the command flock, say, which a scheduler has started with the store's own directory."""
    root = tmp_path / "store"
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        with pytest.raises(StoreBusyError) as raised:
            LocalCasStore(root, lock_timeout_s=0.05)
        assert raised.value.timeout_s == 0.05
        assert not (root / "catalog.db").exists()
        Timer(0.05, fcntl.flock, (fd, fcntl.LOCK_UN)).start()
        with LocalCasStore(root) as store:
            store.write_file("a", b"x")
        fcntl.flock(fd, fcntl.LOCK_EX)
        with LocalCasStore(root, lock_timeout_s=0) as store:  # which is there already
            assert store.read_file("a") == b"x"
    finally:
        os.close(fd)


@pytest.mark.parametrize("last", half_made().keys())
def test_a_half_made_store_is_made_to_the_end(tmp_path: Path, last: str) -> None:
    root = tmp_path / "store"
    for name, step in half_made().items():
        step(root)
        if name == last:
            break
    with LocalCasStore(root) as store:
        assert store.hash_algorithm is HashAlgorithm.BLAKE3
        fill(store)
        assert store.audit_file_index(verify=True).is_sound()
        assert not list((root / "tmp").glob("new-*"))
    assert (root / "locks" / "gate").read_bytes() == b"\0"
    assert (root / "reserve").stat().st_size == 2 << 20


def test_a_store_that_was_half_made_is_finished(tmp_path: Path, start: Start) -> None:
    """Killed at each call that makes something; the next open goes on there."""
    for number in range(1, 40):
        root = tmp_path / str(number)
        maker = start(
            "LocalCasStore(location).write_file('a', b'a')",
            root,
            under=faulty("mkdir,link,rename,fsync,fdatasync", f"signal=SIGKILL:when={number}"),
        )
        is_done = maker.wait() == 0
        with LocalCasStore(root) as store:
            store.write_file("b", b"b")
            assert store.audit_file_index().is_clean()
        if is_done:
            return
    raise AssertionError("still not made")


def test_a_store_whose_last_step_of_making_was_cut_off_is_a_store(location: Path) -> None:
    (location / "tmp" / "new-0011223344556677").mkdir()
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")
    assert os.listdir(location / "tmp") == []
