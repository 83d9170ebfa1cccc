"""Repair of blobs in an open store: what is right stays, what is wrong is fetched, what is lost is named."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobMissingError,
    HashAlgorithm,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    StorageReadOnlyError,
    UnavailableError,
    repair_store,
)
from meanwhile import OnlyRead

CONTENTS = {
    "small": b"small",
    "large": b"large" * 5_000,
    "other": b"other" * 6_000,
    "twice/1": b"twice" * 4_000,
    "twice/2": b"twice" * 4_000,
}


@pytest.fixture
def filled(store: LocalCasStore) -> LocalCasStore:
    fill(store)
    return store


@pytest.fixture
def peer(other_store: LocalCasStore) -> LocalCasStore:
    fill(other_store)
    return other_store


def fill(store: LocalCasStore) -> None:
    for path, data in CONTENTS.items():
        store.write_file(path, data)
    store.pin(store.put_bytes(b"pinned" * 3_000))


def blob_file(store: LocalCasStore, data: bytes) -> Path:
    name = store.hash_bytes(data)
    return Path(store.location, "blobs", name[:2], name)


def flip(file: Path) -> bytes:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return bytes(data)


def hurt(store: LocalCasStore) -> None:
    """One wrong, one short, one gone, and the pinned one a directory."""
    flip(blob_file(store, CONTENTS["large"]))
    os.truncate(blob_file(store, CONTENTS["other"]), 100)
    blob_file(store, CONTENTS["twice/1"]).unlink()
    pinned = blob_file(store, b"pinned" * 3_000)
    pinned.unlink()
    (pinned / "below").mkdir(parents=True)


HURT = [CONTENTS["large"], CONTENTS["other"], CONTENTS["twice/1"], b"pinned" * 3_000]


def hashes(store: LocalCasStore, contents: list[bytes]) -> tuple[str, ...]:
    return tuple(sorted(map(store.hash_bytes, contents)))


def assert_whole(store: LocalCasStore) -> None:
    assert store.audit_file_index(verify=True).is_sound()
    assert {file.path: store.read_file(file.path) for file in store.iter_files()} == CONTENTS
    assert store.list_pins() == [store.hash_bytes(b"pinned" * 3_000)]


def test_a_sound_store_needs_nothing_and_is_not_touched(filled: LocalCasStore) -> None:
    before = {path: path.stat().st_ino for path in Path(filled.location).glob("blobs/*/*")}
    report = filled.repair()
    assert report.is_whole()
    assert (report.repaired_blob_hashes, report.lost_blob_hashes, report.quarantined) == ((), (), ())
    assert {path: path.stat().st_ino for path in Path(filled.location).glob("blobs/*/*")} == before
    assert not Path(filled.location, "quarantine").exists()


def test_what_is_wrong_or_gone_is_fetched_from_another_store(
    filled: LocalCasStore, peer: LocalCasStore
) -> None:
    hurt(filled)
    rotten = blob_file(filled, CONTENTS["large"]).read_bytes()
    report = filled.repair([peer])
    assert report.repaired_blob_hashes == hashes(filled, HURT)
    assert report.is_whole()
    assert_whole(filled)
    assert len(report.quarantined) == 3  # of what is gone nothing can be kept
    kept = [Path(filled.location, name) for name in report.quarantined]
    assert rotten in [file.read_bytes() for file in kept if file.is_file()]
    assert any((file / "below").is_dir() for file in kept)
    assert filled.repair([peer]).repaired_blob_hashes == ()


@pytest.fixture(params=["location", "tree", "original"])
def place(request: pytest.FixtureRequest, tmp_path: Path, peer: LocalCasStore) -> Path:
    """The same bytes in each kind of directory."""
    if request.param == "location":
        return Path(peer.location)
    place = tmp_path / "place"
    contents = [*CONTENTS.values(), b"pinned" * 3_000]
    if request.param == "tree":
        for number, data in enumerate(contents):
            file = place / str(number % 2) / str(number)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (place / "link").symlink_to("0")
        return place
    (place / "blobs").mkdir(parents=True)
    for data in contents:
        (place / "blobs" / f"{peer.hash_bytes(data)}.blob").write_bytes(data)
    (place / "pins.json").write_text(json.dumps({"pins": []}))
    return place


def test_every_kind_of_directory_is_a_source(filled: LocalCasStore, place: Path) -> None:
    hurt(filled)
    report = filled.repair([place])
    assert report.repaired_blob_hashes == hashes(filled, HURT)
    assert_whole(filled)


def test_a_damaged_inline_blob_is_mended(location: Path, peer: LocalCasStore) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    catalog = location / "catalog.db"
    data = catalog.read_bytes()
    assert data.count(b"small") > 1  # its path, and its bytes
    name = LocalCasStore(location).hash_bytes(b"small")
    at = data.index(bytes.fromhex(name)) + 32
    at = data.index(b"small", at)
    catalog.write_bytes(data[:at] + b"smell" + data[at + 5 :])
    with LocalCasStore(location) as store:
        with pytest.raises(BlobHashMismatchError):
            store.read_file("small")
        assert store.repair().lost_paths == ("small",)
        report = store.repair([peer])
        assert report.repaired_blob_hashes == (name,)
        [kept] = report.quarantined
        assert Path(location, kept).read_bytes() == b"smell"
        assert_whole(store)


def test_what_nobody_has_is_named_by_path_and_taken_out_of_the_way(filled: LocalCasStore) -> None:
    hurt(filled)
    report = filled.repair()
    assert report.lost_blob_hashes == hashes(filled, HURT)
    assert report.lost_paths == ("large", "other", "twice/1", "twice/2")
    assert report.lost_pin_hashes == (filled.hash_bytes(b"pinned" * 3_000),)
    assert not report.is_whole()
    with pytest.raises(BlobMissingError):
        filled.read_file("large")
    assert filled.audit_file_index(verify=True).corrupt_blob_hashes == ()
    assert filled.read_file("small") == b"small"


def test_storing_the_same_bytes_again_heals(filled: LocalCasStore) -> None:
    hurt(filled)
    filled.repair()
    for data in HURT:
        filled.put_bytes(data)
    assert_whole(filled)


def test_storing_the_same_bytes_heals_without_a_repair_too(filled: LocalCasStore) -> None:
    flip(blob_file(filled, CONTENTS["large"]))
    blob_file(filled, CONTENTS["twice/1"]).unlink()
    filled.put_bytes(CONTENTS["large"])
    filled.put_bytes(CONTENTS["twice/1"])
    assert_whole(filled)


class Liar(OnlyRead):
    """Has other bytes under every hash."""

    location = "liar"

    def get(self, content_hash: str) -> bytes:
        return b"a lie" * 5_000


def test_a_source_that_lies_is_passed_over_and_named(filled: LocalCasStore, peer: LocalCasStore) -> None:
    hurt(filled)
    report = filled.repair([Liar(), peer])
    assert report.refused_blobs == tuple(f"liar: {name}" for name in hashes(filled, HURT))
    assert report.repaired_blob_hashes == hashes(filled, HURT)
    assert_whole(filled)


def test_a_source_that_is_damaged_itself_is_passed_over(filled: LocalCasStore, peer: LocalCasStore) -> None:
    hurt(filled)
    flip(blob_file(peer, CONTENTS["large"]))
    blob_file(peer, CONTENTS["other"]).unlink()
    report = filled.repair([peer])
    assert report.lost_paths == ("large", "other")
    assert report.refused_blobs == tuple(
        f"{peer.location}: {name}" for name in hashes(filled, [CONTENTS["large"], CONTENTS["other"]])
    )


def test_a_dry_run_says_the_same_and_does_nothing(filled: LocalCasStore, peer: LocalCasStore) -> None:
    hurt(filled)
    before = sorted(str(path) for path in Path(filled.location).rglob("*"))
    report = filled.repair([peer], dry_run=True)
    assert report.is_dry_run
    assert report.repaired_blob_hashes == hashes(filled, HURT)
    assert sorted(str(path) for path in Path(filled.location).rglob("*")) == before
    with LocalCasStore(filled.location, read_only=True) as reader:
        assert reader.repair(dry_run=True).lost_blob_hashes == hashes(filled, HURT)
        with pytest.raises(StorageReadOnlyError):
            reader.repair()


def test_the_same_damage_is_kept_once(filled: LocalCasStore) -> None:
    rotten = flip(blob_file(filled, CONTENTS["large"]))
    for _ in range(3):
        filled.repair()
        file = blob_file(filled, CONTENTS["large"])
        file.write_bytes(rotten)
    assert len(list(Path(filled.location, "quarantine").iterdir())) == 1


def test_progress_is_told_in_bytes(filled: LocalCasStore) -> None:
    told: list[tuple[int, int | None]] = []
    filled.repair(progress=lambda done, total: told.append((done, total)))
    total = sum(map(len, set(CONTENTS.values()))) + 18_000
    assert told[-1] == (total, total)


@pytest.fixture
def sha256(tmp_path: Path) -> Iterator[LocalCasStore]:
    with LocalCasStore(tmp_path / "sha256", hash_algorithm=HashAlgorithm.SHA256) as store:
        yield store


def test_bad_sources_are_refused(filled: LocalCasStore, sha256: LocalCasStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        filled.repair([tmp_path / "nothing"])
    with pytest.raises(InvalidInputError):
        filled.repair([sha256])
    with pytest.raises(InvalidInputError):
        filled.repair([sha256.location])
    with pytest.raises(InvalidInputError):
        filled.repair([filled.location])


def test_one_source_where_several_are_wanted_is_an_error_of_the_call(
    filled: LocalCasStore, tmp_path: Path
) -> None:
    for source in (str(tmp_path), tmp_path, os.fsencode(tmp_path), filled):
        with pytest.raises(TypeError, match="an iterable of sources, not one source"):
            filled.repair(source)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="an iterable of sources, not one source"):
            repair_store(filled.location, source)  # type: ignore[arg-type]


def test_no_descriptor_left_is_unavailable_and_no_bare_error(filled: LocalCasStore, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with LocalCasStore(filled.location) as fresh:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            for call in (
                lambda: fresh.write_file("a", b"a"),
                lambda: fresh.repair([tmp_path / "tree"]),
                lambda: repair_store(fresh.location),
            ):
                with pytest.raises(UnavailableError, match="too many open files"):
                    call()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert fresh.audit_file_index(verify=True).is_sound()
