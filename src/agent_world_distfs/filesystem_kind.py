"""What can be relied on in the file system of a directory: its locks, its flush as a whole.

Network file systems are refused by type. An unknown type is tested: while this process holds two kinds of
lock on a file, another process must not get them.

One flush of a whole file system is relied on only where it is known to flush the drive's cache and to report
failures. An overlay does not report the errors of what lies below it; FAT leaves the drive's cache alone;
most of FUSE does nothing at all.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile

from agent_world_distfs.errors import IncompatibleStoreError

NETWORK = {
    "9p", "afs", "ceph", "cifs", "coda", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
    "glusterfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "smb2", "smb3", "smbfs", "webdav",
}  # fmt: skip
LOCAL = {
    "apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "overlay", "ramfs",
    "reiserfs", "tmpfs", "ufs", "xfs", "zfs",
}  # fmt: skip
_BY_MAGIC = {
    0xEF53: "ext2", 0x58465342: "xfs", 0x9123683E: "btrfs", 0xF2F52010: "f2fs", 0x01021994: "tmpfs",
    0x794C7630: "overlay", 0x6969: "nfs", 0xFF534D42: "cifs", 0xFE534D42: "smb2", 0x01021997: "9p",
    0x00C36400: "ceph", 0x517B: "smbfs", 0x5346414F: "afs", 0x73757245: "coda", 0x564C: "ncpfs",
    0x0BD00BD0: "lustre",
}  # fmt: skip
"""Source: statfs(2). ext2, ext3 and ext4 have one number: what all of them hold is relied on."""

FLUSHED_AS_ONE = {"btrfs", "ext4", "f2fs", "tmpfs", "xfs"}
TELLING_LINUX = (5, 17)
"""From here on ``syncfs`` reports a write that failed (5.8) and a journal that failed (5.17)."""

# Exits with 0 if it got a lock that the parent holds.
_TRY = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
for lock in (fcntl.flock, fcntl.lockf):
    try:
        lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        continue
    sys.exit(0)
sys.exit(3)
"""


PROBE = ".lock-probe-"
"""What the name of the file begins with on which locks are tried."""


def require_lockable(directory: str, *, can_write: bool = True) -> None:
    """Raise IncompatibleStoreError if locks on this directory's file system cannot be relied on.

    Where nothing can be written, nothing can be tested either, and nobody else writes.
    """
    kind = filesystem_type(directory)
    if kind in LOCAL or (kind not in NETWORK and not can_write):
        return
    if kind in NETWORK:
        raise IncompatibleStoreError(directory, f"on a network file system ({kind}), whose locks do not hold")
    if not locks_hold(directory):
        raise IncompatibleStoreError(
            directory, f"on a file system ({kind or 'unknown'}) whose locks do not hold"
        )


def is_flushed_as_one(directory: str) -> bool:
    """Whether one ``syncfs`` makes durable what was written to this directory's file system, or fails."""
    if sys.platform != "linux":
        return False
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    is_telling = release is not None and (int(release[1]), int(release[2])) >= TELLING_LINUX
    return is_telling and filesystem_type(directory) in FLUSHED_AS_ONE


def filesystem_type(directory: str) -> str | None:
    """The type of the file system, as the kernel calls it; None if that cannot be determined."""
    try:
        device = os.stat(directory).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            found = find_type(mounts.read(), f"{os.major(device)}:{os.minor(device)}")
    except OSError:
        return None
    return found or _type_by_magic(directory)


def _type_by_magic(directory: str) -> str | None:
    """The same where no mount has the device: in a changed root, or in a subvolume of Btrfs."""
    import ctypes  # late: it takes milliseconds, and most processes never come here

    answer = ctypes.create_string_buffer(256)  # a ``struct statfs``: ``f_type`` comes first, a long
    if ctypes.CDLL(None).statfs(os.fsencode(directory), answer) != 0:
        return None
    magic = int.from_bytes(answer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)
    return _BY_MAGIC.get(magic & 0xFFFFFFFF)


def find_type(mountinfo: str, device: str) -> str | None:
    """The type of the file system on a device, ``major:minor``, if it is mounted anywhere.

    Not that of the longest mount point above a directory: a mount on a parent may hide it.

    Source: proc_pid_mountinfo(5): the device is field 3; the type follows " - ".
    """
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if before.split(" ")[2] == device:
            return after.split(" ")[0]
    return None


def locks_hold(directory: str) -> bool:
    """Whether another process is kept out of locks that this one holds there."""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=PROBE) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        done = subprocess.run([sys.executable, "-c", _TRY, file.name], check=False, capture_output=True)
        return done.returncode == 3
