"""Places that cannot lock are refused: by the type of their file system, or by a trial of its locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent_world_distfs import IncompatibleStoreError, LocalCasStore, filesystem_kind
from agent_world_distfs.filesystem_kind import filesystem_type, find_type, locks_hold
from children import cannot_run

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:20 / /proc rw - proc proc rw
30 22 0:40 / /home rw,relatime shared:5 - nfs4 server:/home rw,vers=4.2
31 30 254:16 / /home/local rw,relatime - xfs /dev/vdb rw
32 22 0:41 / /mnt/with\040space\134and\012more rw - fuse.sshfs me@server: rw
33 22 0:42 / /over rw master:2 propagate_from:1 - overlay overlay rw
34 22 0:43 / /over rw - tmpfs none rw
35 22 0:44 / /homestead rw - btrfs /dev/vdc rw
36 22 0:45 / /vm rw - 9p share rw
""".strip()


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        ("254:0", "ext4"),
        ("0:40", "nfs4"),
        ("254:16", "xfs"),
        ("0:41", "fuse.sshfs"),
        ("0:42", "overlay"),
        ("0:43", "tmpfs"),
        ("0:4", None),
        ("0:440", None),
    ],
)
def test_the_type_is_that_of_the_device(device: str, kind: str | None) -> None:
    assert find_type(MOUNTS, device) == kind


def test_no_mounts_are_no_type() -> None:
    assert find_type("", "254:0") is None


HIDDEN = """
mkdir -p "$0/above/below" &&
mount -t tmpfs none "$0/above/below" &&
mount -t ramfs none "$0/above" &&
mkdir "$0/above/below" &&
exec "$1" -c "$2" "$0/above/below"
"""
ASK = "import sys; from agent_world_distfs.filesystem_kind import *; print(filesystem_type(sys.argv[1]))"


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_a_mount_that_another_hides_says_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        cannot_run("only root can mount")
    command = ["unshare", "--mount", "sh", "-c", HIDDEN, str(tmp_path), sys.executable, ASK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        cannot_run(f"nothing could be mounted: {done.stderr.strip()}")
    assert done.stdout == "ramfs\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
@pytest.mark.parametrize("directory", ["/dev/shm", "here"])
def test_in_a_changed_root_the_type_is_told_by_its_number(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path) if directory == "here" else directory
    known = filesystem_type(place)
    monkeypatch.setattr(filesystem_kind, "find_type", lambda *_: None)
    told = filesystem_type(place)
    assert told in filesystem_kind.LOCAL
    assert told == ("ext2" if known in ("ext3", "ext4") else known or told)
    assert filesystem_type("/proc/self") is None
    assert filesystem_type(place + "/not there") is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "lustre"])
def test_a_network_file_system_is_refused_by_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: Path, kind: str
) -> None:
    monkeypatch.setattr(filesystem_kind, "filesystem_type", lambda _: kind)
    for place in (tmp_path / "new", location):
        with pytest.raises(IncompatibleStoreError, match=kind):
            LocalCasStore(place)
    assert not list(tmp_path.glob("new/*"))


def test_locks_are_tried_by_two_processes(tmp_path: Path) -> None:
    assert locks_hold(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_file_system_is_one_to_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem_kind, "filesystem_type", lambda _: "newfs")
    with LocalCasStore(tmp_path / "store") as store:
        store.write_file("a", b"x")
    with LocalCasStore(tmp_path / "store") as store:
        assert store.read_file("a") == b"x"
    assert not list((tmp_path / "store").glob(".*"))


def test_a_file_system_whose_locks_let_others_in_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem_kind, "filesystem_type", lambda _: "newfs")
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    monkeypatch.setattr("fcntl.lockf", lambda *_: None)
    with pytest.raises(IncompatibleStoreError, match="newfs"):
        LocalCasStore(tmp_path / "store")


def test_what_a_dead_process_left_of_trying_locks_is_nothing_foreign(tmp_path: Path) -> None:
    (tmp_path / ".lock-probe-abc").touch()
    with LocalCasStore(tmp_path) as store:
        store.write_file("a", b"x")
