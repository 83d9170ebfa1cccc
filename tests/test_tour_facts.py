"""Each record of the tour says itself which of its findings break a promise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent_world_distfs import FileIndexAuditReport, FileIndexManifestRef, PruneReport
from agent_world_distfs.faces.tour.facts import (
    Audited,
    Broken,
    Compared,
    Contender,
    Deduplicated,
    Exported,
    Facts,
    Pruned,
    Pulled,
    Raced,
    Refusal,
    Stored,
)

HASH, OTHER = "1" * 64, "2" * 64
REF, OTHER_REF = FileIndexManifestRef(HASH, 1), FileIndexManifestRef(OTHER, 1)
CLEAN = FileIndexAuditReport(1, 0, (), (), ())
UNSOUND = replace(CLEAN, corrupt_blob_hashes=(HASH,))
TAKEN = PruneReport(1, 1, (HASH,))
STORED = Stored(1, 2, 1, 2, ())
BLOBS = Deduplicated(2, 4, 1, 2, None)
REFUSAL = Refusal(1, HASH, "", OTHER, "", 0.1)
RACED = Raced("c", 2, (Contender(1, 2, 0), Contender(2, 2, 1)), REFUSAL, 4)
BROKEN = Broken("a", HASH, 2, 1, OTHER, (HASH,), is_healed=True, is_sound_again=True)
PRUNED = Pruned((HASH,), TAKEN, TAKEN, 1, CLEAN)
EXPORTED = Exported(REF, REF, 1, 1)
COMPARED = Compared(1, 1, 1, ("a",), ("b",), ("c",), (), ())
HELD: list[Facts] = [
    *(STORED, BLOBS, RACED, BROKEN, Audited(CLEAN, 1), PRUNED, EXPORTED, Pulled(1, 1, REF, REF), COMPARED)
]


@pytest.mark.parametrize("facts", HELD, ids=lambda facts: type(facts).__name__)
def test_what_is_as_promised_breaks_nothing(facts: Facts) -> None:
    assert list(facts.broken()) == []


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (replace(STORED, total_files=0), "the index has 0"),
        (replace(STORED, read_bytes=3), "3 bytes"),
        (replace(BLOBS, distinct_blobs=3), "2 files name 3 blobs"),
        (replace(BLOBS, distinct_bytes=5), "of 5 bytes"),
        (replace(RACED, refusal=None), "none was refused"),
        (replace(RACED, contenders=(Contender(1, 2, 0), Contender(2, 1, 0)), final_count=3), "3 writes"),
        (replace(RACED, final_count=3), "the counter says 3"),
        (replace(BROKEN, bytes_hash_to=None), "handed out as good"),
        (replace(BROKEN, corrupt_blob_hashes=()), "names 0 corrupt blobs"),
        (replace(BROKEN, is_healed=False), "do not read back"),
        (replace(BROKEN, is_sound_again=False), "still not sound"),
        (Audited(UNSOUND, 1), "not sound"),
        (replace(PRUNED, orphans_before=(OTHER,)), "not the same"),
        (replace(PRUNED, planned=PruneReport(0, 0)), "dry run"),
        (replace(PRUNED, after=UNSOUND), "not clean"),
        (replace(PRUNED, files_before=2), "2 files before and 1 after"),
        (replace(EXPORTED, second_ref=OTHER_REF), "and then"),
        (replace(EXPORTED, indexed_files=2), "has 2 files, its manifest 1"),
        (Pulled(1, 1, REF, OTHER_REF), "second store exports"),
        (replace(COMPARED, different_paths=tuple("abcde")), "'c' and 2 more"),
        (replace(COMPARED, unstored_paths=("a\x1b",)), r"'a\x1b'"),
    ],
)
def test_what_is_not_as_promised_is_said(facts: Facts, sentence: str) -> None:
    assert sentence in "; ".join(facts.broken())
