"""Ctrl-C, or no more memory, at every line of every operation: nothing stays locked or half done."""

from __future__ import annotations

import contextlib
import gc
import shutil
import sys
from pathlib import Path

import pytest
from operations import KEPT, OPERATIONS, prepare

from agent_world_distfs import LocalCasStore
from striking import RaiseAtLine

pytestmark = [
    pytest.mark.proof,
    # A file that an interrupt took from its "with" is closed when it is forgotten, and Python says so.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NAMES = [
    name
    for name in OPERATIONS
    if name not in ("open", "close", "pull", "import", "import-tree", "adopt", "checkout", "make")
    and name not in ("pull-snapshots", "restore-snapshot")
]
"""Those that can be done again and again in one store, and need nothing beside it."""

EACH = 20
"""Interrupts of one store. Each leaves commits behind, so that what reads the log would never come to its
end; and the first writes to a new store open it, in which they are interrupted, too."""


def count_lines(name: str, root: Path) -> int:
    """How many lines an operation executes, uninterrupted."""
    with LocalCasStore(root) as store, RaiseAtLine(sys.maxsize, KeyboardInterrupt) as tracer:
        OPERATIONS[name].act(store, root)
    return sys.maxsize - tracer.left


def interrupt_everywhere(
    name: str, error: type[BaseException], template: Path, place: Path, step: int
) -> int:
    """Run an operation again and again, interrupted one step further each time, on new stores in turn."""
    number, is_over = 1, False
    while not is_over:
        root = place / str(number)
        shutil.copytree(template, root)
        number, is_over = interrupt_some(name, error, root, number, step)
        check_afterwards(root)
        shutil.rmtree(root)
    return number


def interrupt_some(
    name: str, error: type[BaseException], root: Path, number: int, step: int
) -> tuple[int, bool]:
    """EACH of them from ``number`` on; which comes next, and whether the operation was over before."""
    changes = OPERATIONS[name].changes
    with LocalCasStore(root, lock_timeout_s=2) as store, LocalCasStore(root, lock_timeout_s=2) as witness:
        for _ in range(EACH):
            for path, (before, _) in changes.items():
                if before is None:
                    witness.delete_file(path)
                else:
                    witness.write_file(path, before)
            with RaiseAtLine(number, error) as tracer, contextlib.suppress(error):
                OPERATIONS[name].act(store, root)
            gc.collect(0)
            witness.write_file("witness", b"%d" % number)  # the lock is free at once
            found = {path: store.read_file(path) if store.stat_file(path) else None for path in changes}
            assert found in (
                {path: before for path, (before, _) in changes.items()},
                {path: after for path, (_, after) in changes.items()},
            ), f"half of it was done at line {number}"
            store.write_file("again", b"%d" % number)  # and the handle is usable
            if not tracer.has_raised:
                return number, True
            number += step
    return number, False


def check_afterwards(root: Path) -> None:
    """Nothing is lost, nothing is left."""
    with LocalCasStore(root) as store:
        assert store.audit_file_index(verify=True).is_sound()
        for path, data in KEPT.items():
            assert store.read_file(path) == data
        store.prune_orphan_blobs()
        assert store.audit_file_index(verify=True).is_clean()
    assert [entry.name for entry in (root / "tmp").iterdir()] == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("name", NAMES)
def test_interrupted_at_every_line(name: str, error: type[BaseException], tmp_path: Path) -> None:
    template, trial = tmp_path / "template", tmp_path / "trial"
    prepare(template)
    shutil.copytree(template, trial)
    # Long operations repeat themselves, shard by shard: an odd step meets every line of the loop.
    step = count_lines(name, trial) // 400 * 2 + 1
    assert interrupt_everywhere(name, error, template, tmp_path, step) > 20


def test_a_full_commit_is_flushed_whatever_was_interrupted_before(tmp_path: Path) -> None:
    """Leases are kept by commits that are not flushed; the connection goes from one to the other and back."""
    root, act = tmp_path / "store", OPERATIONS["lease-and-link"].act
    prepare(root)
    with LocalCasStore(root) as store:
        for number in range(1, count_lines("lease-and-link", root)):
            with RaiseAtLine(number, KeyboardInterrupt), contextlib.suppress(KeyboardInterrupt):
                act(store, root)
            store.write_file("full", b"f")
            writer = store._catalog._writer  # no call tells how it is set
            assert writer is not None
            assert writer.pragma("synchronous") == 2, f"after an interrupt at line {number}"
