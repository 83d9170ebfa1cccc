"""The size bounds, each measured at that size in a child process of its own: time and peak memory.

    python benchmarks/sizes.py [--gib 4] [--paths 1000000] [--directory DIR]

Memory is the child's ``ru_maxrss`` less that of a child that only imports the package. Lock times
are those for which the importing process kept others from writing.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agent_world_distfs import FileIndexManifestRef, FileMetadata, LocalCasStore
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.manifest_format import encode_manifest

MIB = 1 << 20
BATCH = 5_000


class Noise(io.RawIOBase):
    """So many bytes, no two MiB of them alike, made as they are read."""

    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes
        self._block = os.urandom(MIB)

    def read(self, size: int = -1, /) -> bytes:
        size = min(size, self._left, MIB)
        self._left -= size
        return (self._left.to_bytes(8, "little") + self._block)[:size]


def stream_in(root: str, gib: int) -> None:
    with LocalCasStore(root) as store:
        store.write_file_stream("large", Noise(gib << 30))


def stream_out(root: str, gib: int) -> None:
    with LocalCasStore(root) as store, store.open_file("large") as reader:
        total = 0
        while part := reader.read(MIB):
            total += len(part)
        assert total == gib << 30


def _content(number: int) -> bytes:
    return b"%d" % number


class Joined(io.RawIOBase):
    """Chunks as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        part, self._rest = self._rest[:size], self._rest[size:]
        return part


def import_(root: str, paths: int) -> None:
    """Distinct small blobs, one to a path, named by one manifest."""
    with LocalCasStore(root) as store, Lease(store._catalog, store._files) as lease:
        for first in range(0, paths, BATCH):
            contents = [_content(number) for number in range(first, min(paths, first + BATCH))]
            lease.put_all([(store.hash_bytes(content), content) for content in contents])

        def entries() -> Iterator[FileMetadata]:
            for number in range(paths):
                content = _content(number)
                path = f"{number // 1000:05}/{number % 1000:03}"
                yield FileMetadata(path, store.hash_bytes(content), len(content), 1_700_000_000_000 + number)

        stat = store.put_stream(Joined(encode_manifest(entries(), paths)))
        held = _watch_lock(store)
        start = time.perf_counter()
        store.import_file_index_manifest(FileIndexManifestRef(stat.content_hash, stat.size_bytes))
        held.sort()
        seconds = time.perf_counter() - start
        print(
            f"  the import alone: {seconds:.1f} s; the write lock was held {len(held)} times: "
            f"median {held[len(held) // 2] * 1e3:.1f} ms, p99.9 {held[int(len(held) * 0.999)] * 1e3:.1f} ms, "
            f"longest {held[-1] * 1e3:.1f} ms"
        )


def _watch_lock(store: LocalCasStore) -> list[float]:
    gate = store._catalog._gate  # type: ignore[attr-defined]
    acquire, release, held = gate.acquire, gate.release, []

    def acquire_watched() -> None:
        acquire()
        held.append(time.perf_counter())

    def release_watched() -> None:
        if gate.is_held_here():
            held[-1] = time.perf_counter() - held[-1]
        release()

    gate.acquire, gate.release = acquire_watched, release_watched
    return held


def list_(root: str, paths: int) -> None:
    with LocalCasStore(root) as store:
        assert len(store.list_files()) == paths


def iterate(root: str, paths: int) -> None:
    with LocalCasStore(root) as store:
        assert sum(1 for _ in store.iter_files()) == paths


def export(root: str, _: int) -> None:
    with LocalCasStore(root) as store:
        store.export_file_index_manifest()


def audit(root: str, _: int) -> None:
    with LocalCasStore(root) as store:
        assert store.audit_file_index().is_sound()


def prune(root: str, _: int) -> None:
    with LocalCasStore(root) as store:
        store.prune_orphan_blobs()


def nothing(_: str, __: int) -> None:
    """What the interpreter and the package take by themselves."""


STEPS: dict[str, Callable[[str, int], None]] = {
    "nothing": nothing,
    "stream in": stream_in,
    "stream out": stream_out,
    "import": import_,
    "list": list_,
    "iterate": iterate,
    "export": export,
    "audit": audit,
    "prune": prune,
}


def run_step(name: str, root: str, size: int) -> None:
    """Inside a child."""
    start = time.perf_counter()
    STEPS[name](root, size)
    seconds = time.perf_counter() - start
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:12}{seconds:8.1f} s {peak_mib:8.0f} MiB peak", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=int, default=4)
    parser.add_argument("--paths", type=int, default=1_000_000)
    parser.add_argument("--directory", default=None)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        name, root, size = options.step
        run_step(name, root, int(size))
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for name in STEPS:
            is_large = name.startswith("stream")
            root = Path(directory) / ("large" if is_large else "many")
            size = options.gib if is_large else options.paths
            subprocess.run([sys.executable, __file__, "--step", name, str(root), str(size)], check=True)


if __name__ == "__main__":
    main()
