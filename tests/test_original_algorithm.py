"""The algorithm that names the blobs of the original, which is written down nowhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent_world_distfs.errors import IncompatibleStoreError
from agent_world_distfs.hashing import hash_function
from agent_world_distfs.operations.original import find_algorithm, read_snapshot, require_algorithm
from agent_world_distfs.records import HashAlgorithm
from original_stores import NAME, OTHER, Original, pack

BLAKE3, SHA256 = HashAlgorithm.BLAKE3, HashAlgorithm.SHA256


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return Original(tmp_path / "original")


def put_all(original: Original, contents: Sequence[bytes], algorithm: HashAlgorithm) -> list[str]:
    return [original.put(content, hash_function(algorithm)(content)) for content in contents]


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_the_algorithm_is_found_among_damage(original: Original, algorithm: HashAlgorithm) -> None:
    original.put(b"", NAME)  # damaged, and smaller than anything else
    original.path_of(OTHER).mkdir()
    snapshot = read_snapshot(original.root)
    assert find_algorithm(original.root, snapshot) is None
    (name,) = put_all(original, [b"healthy"], algorithm)
    assert find_algorithm(original.root, snapshot) is None  # not in that snapshot
    snapshot = read_snapshot(original.root)
    assert find_algorithm(original.root, snapshot) is algorithm
    original.path_of(name).unlink()
    assert find_algorithm(original.root, snapshot) is None  # gone meanwhile


def test_a_healthy_store_tells_by_its_smallest_blob(
    original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_all(original, [bytes(size) for size in (9_000, 10, 100_000)], SHA256)
    snapshot = read_snapshot(original.root)
    read: list[int] = []
    plain_readv = os.readv

    def counted(descriptor: int, buffers: Sequence[bytearray]) -> int:
        read.append(plain_readv(descriptor, buffers))
        return read[-1]

    monkeypatch.setattr(os, "readv", counted)
    assert find_algorithm(original.root, snapshot) is SHA256
    assert sum(read) == 10


def test_a_mixed_store_is_told_from_a_damaged_one(original: Original) -> None:
    (under_blake3,) = put_all(original, [b"one"], BLAKE3)
    under_sha256 = original.put(
        pack(b"two", name=hashlib.sha256(b"two").hexdigest()), hashlib.sha256(b"two").hexdigest()
    )
    original.put(b"damaged", OTHER)
    require_algorithm(original.root, under_blake3, BLAKE3)
    require_algorithm(original.root, OTHER, BLAKE3)
    require_algorithm(original.root, NAME, BLAKE3)  # not there at all
    with pytest.raises(IncompatibleStoreError, match=f"mixed: blob {under_sha256} is named by sha256"):
        require_algorithm(original.root, under_sha256, BLAKE3)
    with pytest.raises(IncompatibleStoreError, match="is named by blake3, not by sha256"):
        require_algorithm(original.root, under_blake3, SHA256)
