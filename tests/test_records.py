"""What the store returns: frozen, positional in the order that is documented, with one text form."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from agent_world_distfs import (
    ABSENT,
    Absent,
    AdoptReport,
    BlobStat,
    CheckoutReport,
    FileIndexAuditReport,
    FileIndexManifest,
    FileIndexManifestRef,
    FileMetadata,
    HashAlgorithm,
    InvalidInputError,
    ManifestImportReport,
    PruneReport,
    TreeImportReport,
    UpgradeReport,
)

HASH, OTHER = "a" * 64, "b" * 64
METADATA = FileMetadata("a", OTHER, 3, 4)
REF, OTHER_REF = FileIndexManifestRef(HASH, 1), FileIndexManifestRef(OTHER, 2)

RECORDS = [
    METADATA,
    BlobStat(HASH, 1),
    REF,
    FileIndexManifest(1, (METADATA,)),
    ManifestImportReport(4, 3, 2, 1),
    PruneReport(1, 2),
    FileIndexAuditReport(1, 2, (HASH,), (), (OTHER,)),
    AdoptReport(HashAlgorithm.SHA256, 1, 2, 3),
    TreeImportReport(1, 2, 3, 4, 5),
    CheckoutReport(1, 2),
    UpgradeReport(1, 1),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_is_frozen_and_comes_through(record: Any) -> None:
    for back in (pickle.loads(pickle.dumps(record)), copy.copy(record), copy.deepcopy(record)):
        assert back == record
        assert hash(back) == hash(record)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(record)[0].name, "x")


def test_records_are_positional_in_the_order_that_is_documented() -> None:
    assert FileMetadata(path="a", content_hash=OTHER, size_bytes=3, updated_at_ms=4) == METADATA
    assert BlobStat(HASH, 1) == BlobStat(content_hash=HASH, size_bytes=1)
    assert PruneReport(1, 2) == PruneReport(pruned_blobs=1, freed_bytes=2)
    assert ManifestImportReport(4, 3, 2, 1) == ManifestImportReport(
        total_files=4, added=3, changed=2, removed=1
    )
    assert FileIndexManifestRef(HASH, 1) == FileIndexManifestRef(content_hash=HASH, size_bytes=1)
    assert FileIndexAuditReport(1, 2, ("m",), ("d",), ("o",)) == FileIndexAuditReport(
        total_indexed_files=1,
        total_pins=2,
        missing_file_blob_hashes=("m",),
        dangling_pin_hashes=("d",),
        orphan_blob_hashes=("o",),
    )


def test_constructing_a_record_validates_nothing() -> None:
    FileMetadata("/..", "no hash", -1, -1)
    FileIndexManifestRef("no hash", -1)


@pytest.mark.parametrize("protocol", range(6))
def test_absent_is_one_object_also_after_pickling(protocol: int) -> None:
    assert pickle.loads(pickle.dumps(ABSENT, protocol)) is ABSENT
    assert copy.deepcopy(ABSENT) is copy.copy(ABSENT) is ABSENT
    assert list(Absent) == [ABSENT]
    assert repr(ABSENT) == "ABSENT"


def test_a_manifest_reference_has_one_text_form() -> None:
    assert str(REF) == f"{HASH}:1"
    assert FileIndexManifestRef.parse(str(REF)) == REF
    for text in ["", HASH, f"{HASH}:", f"{HASH}:01", f"{HASH}:-1", f"{HASH}:+1", f" {HASH}:1", f"{HASH}:1\n"]:
        with pytest.raises(InvalidInputError):
            FileIndexManifestRef.parse(text)
    for text in [f"{HASH.upper()}:1", f"{HASH}:\u0661", f"{HASH}:1_0", f"{HASH}: 1", f"{HASH}:{10**19}"]:
        with pytest.raises(InvalidInputError):
            FileIndexManifestRef.parse(text)


def test_sound_allows_orphans_and_clean_does_not() -> None:
    assert FileIndexAuditReport(1, 1, (), (), ()).is_clean()
    assert FileIndexAuditReport(1, 1, (), (), (HASH,)).is_sound()
    assert not FileIndexAuditReport(1, 1, (), (), (HASH,)).is_clean()
    for unsound in (
        FileIndexAuditReport(1, 1, (HASH,), (), ()),
        FileIndexAuditReport(1, 1, (), (HASH,), ()),
        FileIndexAuditReport(1, 1, (), (), (), damaged_blob_hashes=(HASH,)),
        FileIndexAuditReport(1, 1, (), (), (), corrupt_blob_hashes=(HASH,)),
        FileIndexAuditReport(1, 1, (), (), (), index_damage=("x",)),
    ):
        assert not unsound.is_sound()
        assert not unsound.is_clean()
