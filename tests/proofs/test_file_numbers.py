"""A file system that gives the number of a removed file to the next one, under a repair that takes its time.

The number alone does not tell the damaged file that the repair has read from the whole one that a writer has
stored since: ext4 and XFS use it again at once, if nobody has the removed file open.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from power import loop_disk

from agent_world_distfs import LocalCasStore
from behind import blob_file
from meanwhile import Meanwhile, spoil

pytestmark = pytest.mark.proof

LARGE = b"large" * 5_000


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_repair_takes_no_whole_file_whose_number_was_that_of_a_damaged_one(
    kind: str, tmp_path: Path
) -> None:
    with (
        loop_disk(kind, tmp_path) as disk,
        LocalCasStore(disk.place / "store") as store,
        LocalCasStore(disk.place / "store") as other,
    ):
        name = store.write_file("live", LARGE).content_hash
        file = blob_file(store.location, name)
        spoil(file)
        damaged, seen = file.stat().st_ino, list[int]()

        def heal_twice() -> None:
            for _ in range(2):
                other.put_stream(io.BytesIO(LARGE))
                seen.append(file.stat().st_ino)

        report = store.repair([Meanwhile(store, heal_twice)])
        assert report.is_whole()
        assert report.quarantined == ()
        assert damaged not in seen  # since the repair has it open
        assert store.read_file("live") == LARGE
        assert store.audit_file_index(verify=True).is_sound()
