"""The disk of the replay: what it takes for durable, for possible, and for impossible."""

from __future__ import annotations

from pathlib import Path

import pytest
from replay.crashes import ALL, HOLE, NOTHING, Crashes, choices
from replay.disk import Disk
from replay.recording import Recording
from replay.trace import read_calls


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A disk that holds the file ``old``, with ``before`` in it."""
    root = tmp_path / "disk"
    root.mkdir()
    (root / "old").write_bytes(b"before")
    return Disk(root)


def path(disk: Disk, name: str) -> str:
    return f"{disk.root}/{name}"


def states(disk: Disk, moment: int, limit: int = 200) -> set[tuple[tuple[str, bytes | None], ...]]:
    """What may be there after a power cut."""
    crashes, pending, found = Crashes(disk), disk.pending(moment), set()
    for _, choice in zip(range(limit), choices(pending, 1), strict=False):
        tree = crashes.tree(moment, pending, choice)
        found.add(tuple((name, None if i is None else tree.files[i]) for name, i in tree.names))
    return found


def test_a_flush_of_a_file_keeps_its_bytes_and_not_its_name(disk: Disk) -> None:
    inode = disk.create(1, path(disk, "new"), is_directory=False)
    disk.write(2, inode, 0, b"bytes")
    disk.flush(3, 4, inode)
    assert states(disk, 5) == {
        (("old", b"before"),),
        (("new", b"bytes"), ("old", b"before")),
    }


def test_a_flush_of_a_directory_keeps_the_name_and_not_the_bytes(disk: Disk) -> None:
    inode = disk.create(1, path(disk, "new"), is_directory=False)
    disk.write(2, inode, 0, b"bytes")
    disk.flush(3, 4, Disk.ROOT)
    kept = (("old", b"before"),)
    assert states(disk, 5) == {
        (("new", b""), *kept),
        (("new", b"bytes"), *kept),
        (("new", bytes(5)), *kept),
    }


def test_a_flush_covers_only_what_was_over_when_it_began(disk: Disk) -> None:
    inode = disk.find(path(disk, "old"))
    assert inode is not None
    disk.write(2, inode, 0, b"AFTER!")
    disk.flush(1, 3, inode)
    assert states(disk, 4) == {(("old", b"before"),), (("old", b"AFTER!"),)}


def test_a_flush_that_failed_is_not_made_good_by_the_next(disk: Disk) -> None:
    inode = disk.find(path(disk, "old"))
    assert inode is not None
    disk.write(1, inode, 0, b"lost")
    disk.fail_flush(2, inode)
    disk.write(4, inode, 5, b"kept")
    disk.flush(5, 6, inode)
    assert states(disk, 7) == {(("old", b"beforkept"),), (("old", b"lostrkept"),)}


def test_a_rename_is_whole_within_a_directory_and_in_halves_between_two(disk: Disk) -> None:
    disk.create(1, path(disk, "sub"), is_directory=True)
    disk.flush(2, 3, Disk.ROOT)
    disk.rename(4, path(disk, "old"), path(disk, "new"))
    assert states(disk, 5) == {(("old", b"before"), ("sub", None)), (("new", b"before"), ("sub", None))}
    disk.flush(5, 6, Disk.ROOT)
    disk.rename(7, path(disk, "new"), path(disk, "sub/moved"))
    names = {tuple(name for name, _ in state) for state in states(disk, 8)}
    assert names == {("new", "sub"), ("sub",), ("new", "sub", "sub/moved"), ("sub", "sub/moved")}


def test_a_write_may_be_torn_at_a_sector_or_leave_zeros(disk: Disk) -> None:
    inode = disk.create(1, path(disk, "new"), is_directory=False)
    disk.flush(2, 3, Disk.ROOT)
    disk.write(4, inode, 0, b"x" * 1_000)
    crashes, pending = Crashes(disk), disk.pending(5)
    contents = [crashes.tree(5, pending, (part,)).files[inode] for part in (ALL, NOTHING, 512, HOLE)]
    assert contents == [b"x" * 1_000, b"", b"x" * 512, bytes(1_000)]
    tried = {part for _, (part,) in zip(range(50), choices(pending, 1), strict=False)}
    assert tried == {512, HOLE, ALL, NOTHING}


def test_states_are_laid_out_with_their_hard_links_and_zeros(disk: Disk, tmp_path: Path) -> None:
    inode = disk.find(path(disk, "old"))
    assert inode is not None
    disk.link(1, inode, path(disk, "second"))
    disk.write(2, inode, 6, bytes(100))
    tree = Crashes(disk).tree(3, disk.pending(3), (ALL, ALL))
    root = tmp_path / "state"
    root.mkdir()
    tree.make(root)
    assert (root / "old").read_bytes() == b"before" + bytes(100)
    assert (root / "old").samefile(root / "second")


def quoted(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def test_calls_that_were_interrupted_by_others_are_joined(tmp_path: Path) -> None:
    root = quoted(f"{tmp_path}/f")
    lines = [
        f'7 openat(AT_FDCWD<{quoted("/")}>, "{root}", O_RDWR|O_CREAT, 0666) = 3<{root}>\n',
        f'7 pwrite64(3<{root}>, "{quoted("ab")}", 2, 4 <unfinished ...>\n',
        "8 +++ exited with 0 +++\n",
        "7 <... pwrite64 resumed>) = 2\n",
        f"7 fdatasync(3<{root}> <unfinished ...>\n",
        f'8 write(1<{quoted("pipe:[1]")}>, "{quoted("@ACK 0 said")}", 11) = 11\n',
        "7 <... fdatasync resumed>) = -1 EIO (Input/output error) (INJECTED)\n",
        f"7 fsync(3<{root}> <unfinished ...>\n",
        "7 <... fsync resumed>) = ?\n",
    ]
    recording = Recording(tmp_path)
    recording.take(read_calls(lines))
    assert recording.marks == [(5, 8, ["@ACK", "0", "said"])]
    assert recording.failed_flushes == 1
    (write,) = recording.disk.inodes[1].operations
    assert (write.when, write.is_lost, str(write)) == (3, True, "write of 2 bytes at 4")


def test_a_call_that_the_model_does_not_know_is_not_passed_over(tmp_path: Path) -> None:
    name = quoted(f"{tmp_path}/f")
    recording = Recording(tmp_path)
    with pytest.raises(NotImplementedError, match="symlink"):
        recording.take(read_calls([f'7 symlink("{quoted("a")}", "{name}") = 0\n']))
