"""All kinds of work at once, for a while: nothing ever dangles."""

from __future__ import annotations

import pytest
import seeded_races
from soak import run

pytestmark = pytest.mark.proof


def test_nothing_dangles_after_twenty_seconds_of_everything() -> None:
    counts = run(seed=1, seconds=20)
    print(dict(counts))
    for kind in (
        "writes",
        "reads",
        "links",
        "copies",
        "renames",
        "deletes",
        "pins",
        "snapshots",
        "restores",
        "imports",
        "pruned",
        "audits",
    ):
        assert counts[kind] > 0, f"no {kind}"


def test_a_collection_that_does_not_check_again_is_caught() -> None:
    with pytest.raises(AssertionError, match="BlobMissingError|FileIndexAuditReport|CatalogError"):
        run(seed=1, seconds=30, bug=seeded_races.take_without_checking_again)
