"""export import pull adopt."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from agent_world_distfs import FileIndexManifestRef
from behind import blob_file
from children import MakeDisk, cannot_run
from cli.running import Distfs

ORIGINAL = Path(__file__).parent.parent / "data" / "original-store" / "reference-store"


@pytest.fixture
def other(tmp_path: Path) -> Distfs:
    """A second store with one file."""
    place = tmp_path / "place-of-the-other"
    place.mkdir()
    other = Distfs(tmp_path / "other", place)
    other.write("a", b"a")
    return other


# --- export import ----------------------------------------------------------------------------


def test_export_prints_a_reference_that_import_takes(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    ref = distfs("export").text.strip()
    assert str(FileIndexManifestRef.parse(ref)) == ref
    distfs.write("a", b"2")
    distfs.write("b", b"3")
    document = distfs.json("import", ref)
    assert document == {"total_files": 1, "added": 0, "changed": 1, "removed": 1, "dry_run": False}
    assert distfs("read", "a").stdout == b"1"
    assert distfs("export").text.strip() == ref


def test_the_document_of_an_export_names_the_reference(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    ref = FileIndexManifestRef.parse(distfs("export").text.strip())
    assert distfs.json("export") == {
        "ref": str(ref),
        "content_hash": ref.content_hash,
        "size_bytes": ref.size_bytes,
        "is_pinned": False,
    }


def test_export_pins_the_manifest_when_told_to(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    content_hash = distfs.json("export", "--pin")["content_hash"]
    assert distfs("pins").lines == [content_hash]


def test_a_dry_run_of_an_import_changes_nothing(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    ref = distfs("export").text.strip()
    distfs("rm", "a")
    assert distfs("import", ref, "--dry-run").text == (
        "The index would have 1 file: 1 added, 0 changed, 0 removed.\n"
    )
    assert distfs.json("import", ref, "--dry-run")["dry_run"] is True
    assert distfs.json("ls") == {"files": []}
    assert distfs("import", ref).text == "The index has 1 file: 1 added, 0 changed, 0 removed.\n"


def test_an_import_that_expects_another_index_exits_with_4(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    first = distfs("export").text.strip()
    distfs.write("a", b"2")
    second = distfs("export").text.strip()
    error = distfs.error("import", first, "--expect", first, code=4)
    assert (error["kind"], error["expected"], error["actual"]) == ("IndexConflictError", first, second)
    distfs("import", first, "--expect", second)
    assert distfs("read", "a").stdout == b"1"


@pytest.mark.parametrize("ref", ["abc", "0" * 64, "0" * 64 + ":", "0" * 64 + ":01", "0" * 64 + ":-1"])
@pytest.mark.parametrize("arguments", [["import"], ["import", "0" * 64 + ":0", "--expect"], ["pull", "."]])
def test_what_is_no_reference_exits_with_2(distfs: Distfs, arguments: list[str], ref: str) -> None:
    assert distfs.error(*arguments, ref, code=2)["kind"] == "InvalidInputError"
    assert not distfs.location.exists()


def test_a_manifest_that_is_not_there_exits_with_3_and_one_that_is_none_with_5(distfs: Distfs) -> None:
    blob = distfs.json("put", stdin=b"no manifest")
    distfs("import", "0" * 64 + ":1", code=3)
    assert (
        distfs.error("import", f"{blob['content_hash']}:{blob['size_bytes']}", code=5)["kind"]
        == "ManifestError"
    )


def test_a_reference_with_a_wrong_size_is_invalid_and_no_damage(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    content_hash, size = distfs("export").text.strip().split(":")
    error = distfs.error("import", f"{content_hash}:{int(size) + 1}", code=2)
    assert error["kind"] == "InvalidInputError"
    assert f"has {size} bytes, not {int(size) + 1}" in error["message"]


# --- pull -------------------------------------------------------------------------------------


def test_pull_takes_the_index_that_the_other_store_has_now(distfs: Distfs, other: Distfs) -> None:
    before = other.json("audit")
    distfs.write("mine", b"mine")
    document = distfs.json("pull", other.location)
    assert document == {"total_files": 1, "added": 1, "changed": 0, "removed": 1}
    assert distfs("read", "a").stdout == b"a"
    assert other.json("audit") == before


def test_pull_takes_a_manifest_of_the_other_store(distfs: Distfs, other: Distfs) -> None:
    ref = other("export").text.strip()
    other.write("b", b"b")
    assert (
        distfs("pull", other.location, ref).text == "The index has 1 file: 1 added, 0 changed, 0 removed.\n"
    )
    distfs("stat", "b", code=3)


def test_pull_makes_a_store_with_the_algorithm_of_the_other(distfs: Distfs, tmp_path: Path) -> None:
    other = Distfs(tmp_path / "sha", tmp_path)
    other("init", "--hash-algorithm", "sha256")
    distfs("pull", other.location)
    assert distfs.json("init")["hash_algorithm"] == "sha256"


def test_a_store_on_a_disk_that_is_mounted_read_only_is_pulled_from(
    distfs: Distfs, make_disk: MakeDisk
) -> None:
    disk = make_disk(8 << 20)
    Distfs(disk / "other", distfs.place).write("a", b"a")
    if subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=False).returncode:
        cannot_run("the small file system cannot be made read-only")
    distfs("pull", disk / "other")
    assert distfs("read", "a").stdout == b"a"


def test_a_store_is_not_pulled_into_itself(distfs: Distfs, tmp_path: Path) -> None:
    distfs.write("a", b"1")
    ref = distfs("export").text.strip()
    (tmp_path / "link").symlink_to(distfs.location)
    for arguments in (("pull", distfs.location), ("pull", tmp_path / "link"), ("pull", distfs.location, ref)):
        error = distfs.error(*arguments, code=2)
        assert error["kind"] == "InvalidInputError"
        assert "that is the store itself" in error["message"]
    assert len(distfs.json("log")["changes"]) == 1


def test_pull_between_different_algorithms_exits_with_2(distfs: Distfs, other: Distfs) -> None:
    distfs("init", "--hash-algorithm", "sha256")
    assert distfs.error("pull", other.location, code=2)["kind"] == "InvalidInputError"


def test_pull_from_nowhere_exits_with_3_and_makes_no_store(distfs: Distfs) -> None:
    source = distfs.place / "nowhere"
    assert distfs.error("pull", source, code=3)["name"] == str(source)
    assert not source.exists()
    assert not distfs.location.exists()


def test_a_blob_that_the_other_store_lacks_exits_with_3(distfs: Distfs, other: Distfs) -> None:
    ref = other("export").text.strip()
    other("rm", "a")
    other("pin", ref.split(":")[0])
    other("prune")
    assert distfs.error("pull", other.location, ref, code=3)["kind"] == "BlobNotFoundError"


def test_damage_of_the_other_store_is_told_as_its_damage(distfs: Distfs, other: Distfs) -> None:
    content_hash = other.write("large", bytes(20_000))
    blob_file(other.location, content_hash).write_bytes(bytes(19_999) + b"!")
    assert distfs.error("pull", other.location, code=5)["location"] == str(other.location)
    told, how = distfs("pull", other.location, code=5).stderr.splitlines()
    assert told.startswith(f"distfs: {other.location}: the bytes hash to ")
    assert f"'distfs repair --store {other.location}' repairs it." in how
    assert "--store" not in other("read", "large", "target", code=5).stderr


def test_damage_of_the_catalog_of_the_other_store_is_told_as_its_damage(
    distfs: Distfs, other: Distfs
) -> None:
    (other.location / "catalog.db").write_bytes(b"")
    assert distfs.error("pull", other.location, code=5)["location"] == str(other.location)


# --- adopt ------------------------------------------------------------------------------------


def test_adopt_takes_over_a_store_of_the_original(distfs: Distfs) -> None:
    document = distfs.json("adopt", ORIGINAL)
    assert document["is_whole"] is True
    assert document["total_files"] == len(distfs.json("ls")["files"]) > 0
    distfs("audit", "--verify")


def test_adopt_says_what_it_took(distfs: Distfs) -> None:
    assert distfs("adopt", ORIGINAL).text.startswith("Took over ")


def test_adopt_of_what_is_no_store_of_the_original_makes_no_store(distfs: Distfs) -> None:
    assert distfs.error("adopt", distfs.place, code=7)["location"] == str(distfs.place)
    missing = distfs.place / "missing"
    assert distfs.error("adopt", missing, code=3)["name"] == str(missing)
    assert not distfs.location.exists()


def test_adopt_reports_damage_and_exits_with_5(distfs: Distfs) -> None:
    original = distfs.place / "original"
    shutil.copytree(ORIGINAL, original)
    damaged = max((original / "blobs").iterdir(), key=lambda blob: blob.stat().st_size)
    damaged.write_bytes(b"other bytes")
    document = distfs.json("adopt", original, code=5)
    assert document["is_whole"] is False
    assert document["corrupt_blob_hashes"] == [damaged.stem]
    distfs.location = distfs.place / "another"
    distfs.environment["DISTFS_STORE"] = str(distfs.location)
    text = distfs("adopt", original, code=5).text
    assert f"  {damaged.stem}\n" in text
    assert "Left out for that: " in text


def test_damage_of_an_original_names_it_and_gives_no_advice_that_only_helps_stores(distfs: Distfs) -> None:
    index = distfs.file("original/files_index.json", b'{"version": 1, "files": {"a": 3}}')
    assert distfs.error("adopt", index.parent, code=5)["location"] == str(index.parent)
    [told] = distfs("adopt", index.parent, code=5).stderr.splitlines()
    assert told.startswith(f"distfs: {index.parent}: ")
    distfs("init")
    (distfs.location / "catalog.db").write_bytes(b"")
    error = distfs("adopt", ORIGINAL, code=5).stderr
    assert "'distfs repair --from SOURCE' repairs it." in error, "the damage is that of the store here"


def test_adopt_into_an_index_that_has_files_is_refused(distfs: Distfs) -> None:
    distfs.write("mine", b"mine")
    distfs("adopt", ORIGINAL, code=2)
    assert distfs("read", "mine").stdout == b"mine"


def test_adopt_into_a_store_with_files_names_it_and_says_what_to_do(distfs: Distfs) -> None:
    distfs.write("a", b"1")
    message = distfs.error("adopt", ORIGINAL, code=2)["message"]
    assert message == f"the index of the store at {distfs.location} is not empty: give a new one (--store)"
