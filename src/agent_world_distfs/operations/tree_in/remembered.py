"""What the files of a tree held when they were last read, so that an unchanged one is not read again.

What is remembered of a file is a fact that does not age: *a file of this device, inode, size, modification
time and change time held this content*. So it does not matter which index resulted, what has happened to it
since, or whether the memory is from an old copy of the store. A file is taken to be unchanged only if all
five are the same; a running system sets the change time, and nobody else can.

Who makes the image of a file system can: two images of one tree may have all five from one build, and other
bytes. Such times are whole seconds, which those of a running system practically never are, so a file whose
change time is one is not remembered. Nor is any of a file system that keeps whole seconds only, such as ext3:
that is right, and slower.

Else the one way to be wrong is a second change within the same tick of the file system's clock, after the
file was read. So a file whose times are not older than the beginning of the import that has read it, less
``TICK_NS``, is not remembered, and the next import reads it: the rule of git's index, counted from the
beginning and not the end. It holds for clocks that go forward and for file systems whose times come from this
machine's clock; elsewhere nothing is remembered.

The memory is a hint (see ``BlobFiles.read_hint``): checksummed, and ignored if it is not whole.
"""

from __future__ import annotations

import os
import time

from agent_world_distfs.engine.directories import open_directory
from agent_world_distfs.filesystem_kind import LOCAL, filesystem_type
from agent_world_distfs.hashing import hash_function, is_content_hash
from agent_world_distfs.protocols import BlobFiles
from agent_world_distfs.records import HashAlgorithm

TICK_NS = 2_000_000_000
"""The coarsest clock of a file system: FAT's."""

MAX_BYTES = 256 << 20
"""Of one memory. What is larger is not kept, since it has to be held at once."""


class Memory:
    """What is remembered of one tree; what this import sees is noted, and kept at its end."""

    def __init__(self, blobs: BlobFiles, root: str, algorithm: HashAlgorithm) -> None:
        place = os.fsencode(os.path.realpath(root))
        self._blobs = blobs
        self._head = [b"1", algorithm.value.encode(), place]
        self._name = "tree-" + hash_function(algorithm)(place)[:32]
        self._trusted_before_ns = time.time_ns() - TICK_NS
        self._device = _device_of(root)
        self._is_useful = filesystem_type(root) in LOCAL
        self._known: dict[bytes, tuple[bytes, bytes]] = {}
        self._noted: list[bytes] = []

    def load(self) -> None:
        """Recall what an earlier import has kept."""
        data = self._blobs.read_hint(self._name) if self._is_useful else None
        parts = data.split(b"\0") if data is not None else []
        if parts[:3] == self._head:
            self._known = dict(zip(parts[3::3], zip(parts[4::3], parts[5::3], strict=True), strict=True))

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be recalled."""
        return not self._known

    def recall(self, below: bytes, status: os.stat_result) -> str | None:
        """The hash of what a file holds, by its path below the root, if it is as it was when it was read."""
        form, held = self._known.get(below, (b"", b""))
        if form != _form(status) or not is_content_hash(held.decode()):
            return None
        self._noted += (below, form, held)
        return held.decode()

    def note(self, below: bytes, status: os.stat_result, content_hash: str) -> None:
        """Remember what a file held when it was read, if any change since then must show."""
        is_settled = max(status.st_mtime_ns, status.st_ctime_ns) < self._trusted_before_ns
        is_of_the_clock = status.st_ctime_ns % 1_000_000_000 != 0
        if is_settled and is_of_the_clock and status.st_dev == self._device:
            self._noted += (below, _form(status), content_hash.encode())

    def keep(self) -> None:
        """Keep it for the next import."""
        data = b"\0".join([*self._head, *self._noted])
        if self._is_useful and len(data) <= MAX_BYTES:
            self._blobs.write_hint(self._name, data)


def _device_of(root: str) -> int:
    """Whatever has become of the tree since it was looked through is told as when it is opened to be read."""
    descriptor = open_directory(root)
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def _form(status: os.stat_result) -> bytes:
    return b"%d %d %d %d %d" % (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
