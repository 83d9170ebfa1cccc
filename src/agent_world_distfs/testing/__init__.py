"""Tests for whoever writes a store or a backend. Needs pytest.

``contracts`` holds what every blob store and every file store promises, as base classes of tests::

    from agent_world_distfs.testing.contracts import BlobStoreContract

    class TestMyBlobs(BlobStoreContract):
        @pytest.fixture
        def blobs(self, tmp_path):
            return MyBlobs(tmp_path)

``pytest.register_assert_rewrite("agent_world_distfs.testing.contracts")`` before that import, for
instance in ``conftest.py``, lets a failing assertion show its values.
"""
