"""A real file system whose power can be cut: ext4 or XFS on a loop device (root only).

The cut is the ioctl by which both are tested by their makers: from then on nothing reaches the
device, and the journal is not flushed. It does not forget names that were not flushed, where the
journal was written meanwhile for another's sake: that is what the replay is for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from children import cannot_run

SIZE_BYTES = 320 << 20
"""The smallest that mkfs.xfs makes is 300 MiB. Where nothing was written nothing is used."""

_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING_THE_JOURNAL = struct.pack("I", 2)


class Disk:
    """A mounted file system."""

    def __init__(self, device: str, place: Path) -> None:
        self._device = device
        self.place = place

    def mount(self) -> None:
        _run("mount", self._device, str(self.place))

    def cut(self) -> None:
        """The power is gone. Whoever has files open gets errors from now on."""
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _WITHOUT_FLUSHING_THE_JOURNAL)
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Once those who used it are dead; the kernel may need a moment to notice."""
        deadline = time.monotonic() + 10
        while True:
            try:
                return _run("umount", str(self.place))
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextlib.contextmanager
def loop_disk(kind: str, directory: Path) -> Iterator[Disk]:
    """A new file system of a kind, mounted; gone afterwards."""
    if os.geteuid() != 0:
        cannot_run("only root can make a file system on a loop device")
    maker = shutil.which(f"mkfs.{kind}", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if maker is None:
        cannot_run(f"mkfs.{kind} is not installed")
    image, place = directory / f"{kind}.image", directory / kind
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    _run(str(maker), "-q", str(image))
    attached = subprocess.run(
        ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if attached.returncode:
        cannot_run(f"there is no loop device: {attached.stderr.strip()}")
    disk = Disk(attached.stdout.strip(), place)
    try:
        try:
            disk.mount()
        except RuntimeError as error:
            cannot_run(str(error))
        yield disk
    finally:
        with contextlib.suppress(RuntimeError):
            _run("umount", str(place))
        _run("losetup", "--detach", attached.stdout.strip())
        image.unlink()
