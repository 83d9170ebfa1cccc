"""All kinds of work at once, for a while: nothing ever dangles."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter

import pytest
import seeded_races
import soak

pytestmark = pytest.mark.proof


def test_nothing_dangles_after_twenty_seconds_of_everything() -> None:
    # In a process of its own: what other tests have left behind in this one is inherited by all it forks.
    done = subprocess.run(
        [sys.executable, soak.__file__, "1", "20"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    counts = Counter(ast.literal_eval(done.stdout))
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
        soak.run(seed=1, seconds=30, bug=seeded_races.take_without_checking_again)
