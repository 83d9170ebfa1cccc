"""Threads: any number share one store object."""

from __future__ import annotations

import threading

from agent_world_distfs import FileConflictError, LocalCasStore


def test_threads_share_one_store(store: LocalCasStore) -> None:
    store.write_file("counter", b"0")

    def count() -> None:
        for _ in range(25):
            while True:
                meta, data = store.read_file_with_metadata("counter")
                try:
                    store.write_file_if_match("counter", meta.content_hash, b"%d" % (int(data) + 1))
                    break
                except FileConflictError:
                    continue

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read_file("counter") == b"200"
