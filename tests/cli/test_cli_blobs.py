"""put get pin unpin pins."""

from __future__ import annotations

import pytest

from agent_world_distfs import HashAlgorithm
from cli.running import Distfs

OTHER_HASH = "0" * 64


@pytest.mark.parametrize("size_bytes", [0, 100, 3_000_000])
def test_put_prints_the_hash_and_get_gives_the_bytes_back(distfs: Distfs, size_bytes: int) -> None:
    data = b"x" * size_bytes
    content_hash = distfs("put", stdin=data).text.strip()
    with distfs.store() as store:
        assert content_hash == store.hash_bytes(data)
    assert distfs("get", content_hash).stdout == data


def test_put_takes_a_file_and_get_gives_one(distfs: Distfs) -> None:
    put = distfs.json("put", distfs.file("source", b"data"))
    target = distfs.place / "target"
    assert put == {"content_hash": put["content_hash"], "size_bytes": 4}
    assert distfs.json("get", put["content_hash"], target) == put | {"target": str(target)}
    assert target.read_bytes() == b"data"


def test_get_with_json_needs_a_target(distfs: Distfs) -> None:
    content_hash = distfs("put", stdin=b"data").text.strip()
    assert distfs.error("get", content_hash, code=2)["kind"] == "UsageError"


@pytest.mark.parametrize("command", ["get", "pin"])
def test_a_blob_that_is_not_stored_exits_with_3(distfs: Distfs, command: str) -> None:
    distfs("init")
    target = [distfs.place / "target"] if command == "get" else []
    error = distfs.error(command, OTHER_HASH, *target, code=3)
    assert (error["kind"], error["content_hash"]) == ("BlobNotFoundError", OTHER_HASH)


@pytest.mark.parametrize("command", ["get", "pin", "unpin"])
def test_what_is_no_hash_exits_with_2(distfs: Distfs, command: str) -> None:
    distfs("init")
    error = distfs.error(command, "ABC", code=2)
    assert (error["kind"], error["content_hash"]) == ("BlobHashInvalidError", "ABC")


def test_pins_are_a_set_that_is_listed_in_order(distfs: Distfs) -> None:
    hashes = sorted(distfs("put", stdin=data).text.strip() for data in (b"1", b"2", b"3"))
    for content_hash in [*hashes, hashes[0]]:
        assert distfs("pin", content_hash).text == ""
    assert distfs("pins").lines == hashes
    assert distfs.json("pins") == {"pins": hashes}
    assert distfs.json("pin", hashes[1]) == {"content_hash": hashes[1]}


def test_a_pin_keeps_bytes_from_a_prune(distfs: Distfs) -> None:
    kept, lost = (distfs("put", stdin=data).text.strip() for data in (b"1", b"2"))
    distfs("pin", kept)
    distfs("prune")
    assert distfs("get", kept).stdout == b"1"
    distfs("get", lost, code=3)


def test_unpin_of_nothing_exits_with_3_unless_that_is_to_be_ignored(distfs: Distfs) -> None:
    content_hash = distfs("put", stdin=b"1").text.strip()
    distfs("pin", content_hash)
    assert distfs.json("unpin", content_hash) == {"content_hash": content_hash, "removed": True}
    assert "no such pin" in distfs("unpin", content_hash, code=3).stderr
    error = distfs.error("unpin", content_hash, code=3)
    assert (error["kind"], error["name"]) == ("NotFoundError", content_hash)
    assert distfs.json("unpin", content_hash, "--ignore-missing")["removed"] is False
    assert distfs("pins").text == ""


def test_the_hash_is_the_one_of_the_store(distfs: Distfs) -> None:
    distfs("init", "--hash-algorithm", "sha256")
    with distfs.store() as store:
        assert store.hash_algorithm is HashAlgorithm.SHA256
    empty_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert distfs("put", stdin=b"").text.strip() == empty_sha256
