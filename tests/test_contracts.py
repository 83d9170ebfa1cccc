"""The shipped contracts, on the store that ships."""

from __future__ import annotations

import pytest

from agent_world_distfs import BlobStore, FileStore, HashAlgorithm, LocalCasStore
from agent_world_distfs.testing.contracts import BlobStoreContract, FileStoreContract


class TestBlobsOfALocalStore(BlobStoreContract):
    @pytest.fixture
    def hash_algorithm(self, algorithm: HashAlgorithm) -> HashAlgorithm:
        return algorithm

    @pytest.fixture
    def blobs(self, either_store: LocalCasStore) -> BlobStore:
        return either_store


class TestFilesOfALocalStore(FileStoreContract):
    @pytest.fixture
    def hash_algorithm(self, algorithm: HashAlgorithm) -> HashAlgorithm:
        return algorithm

    @pytest.fixture
    def files_store(self, either_store: LocalCasStore) -> FileStore:
        return either_store
