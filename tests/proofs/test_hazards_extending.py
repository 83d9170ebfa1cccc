"""Room that is made in the database beside a checkpoint: no page may lose a byte.

SQLite looks how long the file is and then writes zeros behind that, one to a block. The look is made slow
here, so that a checkpoint of another process nearly always comes in between.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore
from children import Start, faulty

pytestmark = pytest.mark.proof

SECONDS = 14

GROW = """
    end = time.monotonic() + float(sys.argv[2])
    number = 0
    with LocalCasStore(location, durability="relaxed") as store:
        while time.monotonic() < end:
            number += 1
            store.write_files((f"{number}/{part}", os.urandom(1_500)) for part in range(20))
            store.write_file(f"{number}", os.urandom(1_500))
    say(number)
"""

COPY_LOG = """
    import random
    end = time.monotonic() + float(sys.argv[2])
    with LocalCasStore(location, durability="relaxed") as store:
        while time.monotonic() < end:
            store._catalog._shorten_wal()
            time.sleep(random.random() / 50)
    say("done")
"""


def test_a_page_loses_no_byte_to_room_that_is_made_beside_a_checkpoint(location: Path, start: Start) -> None:
    LocalCasStore(location).close()
    copier = start(COPY_LOG, location, SECONDS)
    writer = start(GROW, location, SECONDS, under=faulty("fstat,newfstatat", "delay_exit=3000"))
    assert int(writer.hear()) > 10
    assert copier.hear() == "done"
    for child in (writer, copier):
        child.finish()
    with LocalCasStore(location) as store:
        report = store.audit_file_index(verify=True)
        assert report.is_sound(), f"{len(report.corrupt_blob_hashes)} corrupt blobs: {report}"
