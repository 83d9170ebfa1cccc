"""What somebody plants in the staging directory of a checkout is neither opened, entered nor followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent_world_distfs import InvalidInputError, LocalCasStore, StorageError
from trees import CONTENTS, files_of, once, write_all

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left_open")


def staging_in(place: Path) -> Path:
    (staging,) = place.glob("out.staging-*")
    return staging


def test_the_staging_directory_is_private(store: LocalCasStore, place: Path) -> None:
    write_all(store, CONTENTS)
    modes = []
    before = os.umask(0)
    try:
        store.checkout(
            place / "out", progress=once(lambda: modes.append(staging_in(place).stat().st_mode & 0o777))
        )
    finally:
        os.umask(before)
    assert modes == [0o700]


@pytest.mark.parametrize(
    "kind", ["symlink to a file", "symlink to nothing", "file", "hard link", "directory"]
)
def test_a_name_that_somebody_planted_is_not_opened(store: LocalCasStore, place: Path, kind: str) -> None:
    write_all(store, {"dir/a": b"a", "dir/b": b"b"})
    victim = place / "victim"
    victim.write_bytes(b"victim")

    def plant() -> None:
        name = staging_in(place) / "tree" / "dir" / "b"
        match kind:
            case "symlink to a file":
                name.symlink_to(victim)
            case "symlink to nothing":
                name.symlink_to(place / "made")
            case "file":
                name.write_bytes(b"planted")
            case "hard link":
                name.hardlink_to(victim)
            case "directory":
                name.mkdir()

    with pytest.raises(InvalidInputError, match="dir/b"):
        store.checkout(place / "out", progress=once(plant))
    assert files_of(place) == {"victim": b"victim"}


def test_a_directory_that_somebody_made_a_symlink_is_not_entered(store: LocalCasStore, place: Path) -> None:
    write_all(store, {"dir/a": b"a", "dir/sub/b": b"b", "dir/z": b"z", "other/c": b"c"})
    victim = place / "victim"
    (victim / "sub").mkdir(parents=True)
    (victim / "kept").write_bytes(b"kept")

    def swap_directory() -> None:
        tree = staging_in(place) / "tree"
        (tree / "dir").rename(tree / "moved")
        (tree / "dir").symlink_to(victim)

    with pytest.raises(StorageError):
        store.checkout(place / "out", progress=once(swap_directory))
    assert files_of(place) == {"victim/kept": b"kept"}
    assert os.listdir(place) == ["victim"]


def test_a_directory_that_is_there_already_is_not_used(store: LocalCasStore, place: Path) -> None:
    write_all(store, {"a": b"a", "dir/b": b"b"})

    def plant() -> None:
        (staging_in(place) / "tree" / "dir").mkdir()

    with pytest.raises(InvalidInputError, match="'dir'"):
        store.checkout(place / "out", progress=once(plant))
    assert os.listdir(place) == []


def test_cleaning_up_follows_no_symlink(store: LocalCasStore, place: Path) -> None:
    write_all(store, {"a": b"a", "b": b"b"})
    (place / "victim").mkdir()
    (place / "victim" / "kept").write_bytes(b"kept")

    def plant_and_fail() -> None:
        (staging_in(place) / "tree" / "link").symlink_to(place / "victim")
        (staging_in(place) / "also").symlink_to(place / "victim")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.checkout(place / "out", progress=once(plant_and_fail))
    assert files_of(place) == {"victim/kept": b"kept"}
    assert os.listdir(place) == ["victim"]
