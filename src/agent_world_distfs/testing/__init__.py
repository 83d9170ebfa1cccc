"""Tests for authors of stores and backends.

``contracts`` (needs pytest) holds what every blob store and every file store promises, as base classes
of tests::

    from agent_world_distfs.testing.contracts import BlobStoreContract

    class TestMyBlobs(BlobStoreContract):
        @pytest.fixture
        def blobs(self, tmp_path):
            return MyBlobs(tmp_path)

``pytest.register_assert_rewrite("agent_world_distfs.testing.contracts")`` before that import, for
instance in ``conftest.py``, lets a failing assertion show its values.

``linearizability`` checks whether what concurrent callers saw of one path can have happened one after the
other::

    from agent_world_distfs.testing.linearizability import Change, Observation, find_violation

    history = [Change(0, 5, ABSENT, "hash of a"), Observation(6, 7, None)]
    print(find_violation(history))         # found nothing after it was written: no order fits
"""
