"""Names that a real directory cannot hold, or takes for one: all are listed, and nothing is written."""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import InvalidInputError, LocalCasStore, StorageFullError
from agent_world_distfs.operations.tree_out import names
from trees import files_of, write_all

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


def refusal(store: LocalCasStore, place: Path) -> str:
    """What a checkout says; it must have left nothing, and have started with nothing."""
    with pytest.raises(InvalidInputError) as raised:
        store.checkout(place / "out", progress=lambda *_: pytest.fail("a file was written"))
    assert os.listdir(place) == []
    return str(raised.value)


def test_files_that_are_also_directories_are_all_listed(store: LocalCasStore, place: Path) -> None:
    paths = ["a", "a-b", "a.c/x", "a/b", "a/b/c", "a/b/d", "fine/f", "fine2", "x/y", "x/y!", "x/y/z/deep"]
    write_all(store, dict.fromkeys(paths, b""))
    told = refusal(store, place).partition(": ")[2].split("; ")
    assert told == [
        "'a' is a file and the directory of 'a/b'",
        "'a/b' is a file and the directory of 'a/b/c'",
        "'x/y' is a file and the directory of 'x/y/z/deep'",
    ]


def test_a_thousand_problems_are_enough(store: LocalCasStore, place: Path) -> None:
    write_all(store, {path: b"" for number in range(1_010) for path in (f"{number}", f"{number}/x")})
    assert refusal(store, place).endswith("; and 10 more")


def test_names_that_are_too_long_for_the_file_system_are_listed(store: LocalCasStore, place: Path) -> None:
    longest = "é" * 127 + "x"
    write_all(store, {f"{longest}/{longest}": b"fits"})
    store.checkout(place / "fits")
    assert files_of(place / "fits") == {f"{longest}/{longest}": b"fits"}
    shutil.rmtree(place / "fits")
    write_all(store, {f"dir/{longest}y/f": b"", f"dir/{longest}y/g": b"", "z" * 256: b""})
    told = refusal(store, place)
    assert told.count("more than 255 bytes") == 2
    assert f"'dir/{longest}y'" in told


def test_a_long_path_is_shortened_where_it_is_refused(store: LocalCasStore, place: Path) -> None:
    write_all(store, {"d/" * 1_000 + "z" * 256: b""})
    told = refusal(store, place)
    assert len(told) < 400
    assert "rename some" in told
    assert "z" * 40 + "'" in told


def test_names_that_the_file_system_refuses_are_listed(
    store: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(store, dict.fromkeys(["a:b/c", "dir/con.txt", "dir/what?", "fine/console", "fine/é"], b""))
    genuine = names._touch

    def touch(name: str, directory: int) -> None:
        if set(name) & set(':*?"<>|') or name.startswith("con."):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        genuine(name, directory)

    monkeypatch.setattr(names, "_touch", touch)
    told = refusal(store, place)
    assert [path in told for path in ("'a:b'", "'dir/con.txt'", "'dir/what?'", "fine")] == [
        True,
        True,
        True,
        False,
    ]


def test_a_disk_that_is_full_when_names_are_tried_is_no_refusal(
    store: LocalCasStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(store, {"ü": b""})
    genuine = names._touch

    def touch(name: str, directory: int) -> None:
        if name == "ü":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        genuine(name, directory)

    monkeypatch.setattr(names, "_touch", touch)
    with pytest.raises(StorageFullError):
        store.checkout(place / "out")
    assert os.listdir(place) == []


def fold_names(monkeypatch: pytest.MonkeyPatch, fold: Callable[[str], str]) -> None:
    """Let the file system seem to take those names for one that ``fold`` makes equal."""
    monkeypatch.setattr(names, "are_one_name", lambda name, other, _: fold(name) == fold(other))


ALIKE = {
    "Docs/a": b"1",
    "docs/a": b"2",
    "docs/e\u0301": b"3",
    "docs/\u00e9": b"4",
    "same/README": b"5",
    "same/ReadMe": b"6",
    "straße": b"7",
    "strasse": b"8",
}


@pytest.mark.parametrize(
    ("fold", "pairs"),
    [
        (str.lower, [("Docs", "docs"), ("Docs/a", "docs/a"), ("same/README", "same/ReadMe")]),
        (lambda name: unicodedata.normalize("NFC", name), [("docs/e\u0301", "docs/\u00e9")]),
    ],
    ids=["case", "accents"],
)
def test_names_that_the_file_system_takes_for_one_are_listed(
    store: LocalCasStore,
    place: Path,
    fold: Callable[[str], str],
    pairs: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_all(store, ALIKE)
    fold_names(monkeypatch, fold)
    told = refusal(store, place).partition(": ")[2].split("; ")
    assert told == [f"{one!r} and {other!r} are one name to the file system" for one, other in pairs]


def test_names_that_the_file_system_tells_apart_are_all_written(store: LocalCasStore, place: Path) -> None:
    write_all(store, ALIKE)
    descriptor = os.open(place, os.O_RDONLY)
    folds = any(names.are_one_name(*pair, descriptor) for pair in [("a", "A"), ("\u00e9", "e\u0301")])
    os.close(descriptor)
    assert os.listdir(place) == []
    if folds:
        refusal(store, place)
    else:
        store.checkout(place / "out")
        assert files_of(place / "out") == ALIKE


def test_names_are_tried_by_what_the_file_system_does(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "known").write_bytes(b"")
    descriptor = os.open(place, os.O_RDONLY)
    genuine = os.stat

    def stat_folding(path: Any, **options: Any) -> os.stat_result:
        return genuine(path.lower() if isinstance(path, bytes) else path, **options)

    monkeypatch.setattr(os, "stat", stat_folding)
    assert names.are_one_name("a", "A", descriptor)
    assert not names.are_one_name("a", "B", descriptor)
    os.close(descriptor)
    assert os.listdir(place) == ["known"]
