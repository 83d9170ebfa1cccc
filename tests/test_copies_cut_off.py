"""What a copying or a writer that was killed has left is made durable by whoever goes on from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore, flushing, repair_store
from behind import blob_file
from children import Start

LARGE = b"large" * 5_000

KILLED_BEFORE_THE_NAME_IS_FLUSHED = """
    import functools
    from agent_world_distfs.blobs import batches, directory

    def die(path):
        if len(os.path.basename(path)) == 2:
            kill_me()

    def die_before_the_names(flush, descriptor, flushed=[]):
        if flushed:
            kill_me()
        flushed.append(descriptor)
        flush(descriptor)

    store = LocalCasStore(location)
    directory.flush_directory = batches.flush_directory = die
    batches.flush_file_system = functools.partial(die_before_the_names, batches.flush_file_system)
    """


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that are flushed, in order."""
    paths: list[Path] = []
    flush = flushing._flush_opened

    def note(path: str, flags: int) -> None:
        flush(path, flags)
        paths.append(Path(path))

    monkeypatch.setattr(flushing, "_flush_opened", note)
    return paths


def test_a_backup_that_goes_on_flushes_the_names_that_it_finds(
    store: LocalCasStore, start: Start, tmp_path: Path, flushed: list[Path]
) -> None:
    name = store.write_file("large", LARGE).content_hash
    target = tmp_path / "backup"
    killed = start(KILLED_BEFORE_THE_NAME_IS_FLUSHED + "store.backup(sys.argv[2])", store.location, target)
    assert killed.wait() < 0
    assert blob_file(target, name).read_bytes() == LARGE
    flushed.clear()
    assert store.backup(target).copied_blobs == 0
    (catalog,) = [path for path in flushed if path.name == "catalog.db" and path.is_relative_to(target)]
    before = flushed[: flushed.index(catalog)]
    assert {target / "blobs", target / "blobs" / name[:2]} <= set(before)


def test_a_backup_that_goes_on_flushes_the_name_of_its_directory(
    store: LocalCasStore, tmp_path: Path, flushed: list[Path]
) -> None:
    target = tmp_path / "backup"
    target.mkdir()  # as a first one leaves it that was killed just then
    store.backup(target)
    assert flushed.index(tmp_path) < flushed.index(target)


def test_a_repair_flushes_the_names_that_it_adopts(location: Path, start: Start, flushed: list[Path]) -> None:
    program = "store.write_files((str(number), os.urandom(20_000)) for number in range(20))"
    assert start(KILLED_BEFORE_THE_NAME_IS_FLUSHED + program, location).wait() < 0
    found = list((location / "blobs").glob("*/*"))
    assert found
    (location / "catalog.db").write_bytes(b"")
    report = repair_store(location)
    assert {path.name for path in found} <= set(report.adopted_blob_hashes)
    catalog = next(path for path in flushed if path.parent.name.startswith("repair-"))
    before = flushed[: flushed.index(catalog)]
    assert {location / "blobs", *(path.parent for path in found)} <= set(before)
