"""The tests test something: each seeded bug is caught by the harness that claims it, which passes without.

Each claim is run twice in processes of its own, once as the store is and once with the bug put in (see
``seeded``). Caught means: the first passes, the second fails, and says what this bug should make it say.
SEEDED_BUG=NAME PYTHONPATH=tests/proofs/seeded/site:tests/proofs:tests runs anything with a bug.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from seeded.table import SEEDED, Seeded

from children import cannot_run

pytestmark = pytest.mark.proof

ROOT = Path(__file__).resolve().parents[2]
PLACES = "tests/proofs/seeded/site:tests/proofs:tests"
PATIENCE_S = 300

Claim = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


def run_with(bug: str, claim: Claim) -> tuple[int, str]:
    """The exit code of a claim, and all that it says, with a bug put in; without one for an empty name."""
    arguments, settings = claim
    # In a place of its own: at its end pytest clears away what earlier runs left, however much that is.
    with tempfile.TemporaryDirectory(prefix="distfs-seeded-") as place:
        own = {"PYTHONPATH": PLACES, "SEEDED_BUG": bug, "TMPDIR": place}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | own | dict(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=PATIENCE_S,
        )
    return done.returncode, done.stdout


@functools.cache
def run_without(claim: Claim) -> tuple[int, str]:
    """The same as the store is; claims that several bugs share are run once."""
    return run_with("", claim)


def require(seeded: Seeded) -> None:
    if seeded.needs == "strace" and shutil.which("strace") is None:
        cannot_run("strace is not installed")
    if seeded.needs == "root" and os.geteuid() != 0:
        cannot_run("only root can mount a small file system")


@pytest.mark.parametrize("name", SEEDED)
def test_a_seeded_bug_is_caught_by_the_harness_that_claims_it(name: str) -> None:
    seeded = SEEDED[name]
    require(seeded)
    claim = seeded.claim, seeded.settings
    again = f"{' '.join(f'{key}={value}' for key, value in seeded.settings)} {shlex.join(seeded.claim)}"
    code, said = run_without(claim)
    assert code == 0, f"fails without a bug, so that it tells nothing: {again}\n{said}"
    code, said = run_with(name, claim)
    assert "Error in sitecustomize" not in said, f"the bug does not fit the store any more:\n{said}"
    assert code == 1, f"'{name}' ends with {code} and is not caught by {again}\n{said}"
    assert re.search(seeded.symptom, said), f"'{name}' is caught for another reason: {again}\n{said}"


def test_there_are_enough_bugs_each_of_its_own_kind() -> None:
    for name, seeded in SEEDED.items():
        claim = seeded.claim[-1] if seeded.claim[0] == "-m" else " ".join(seeded.claim)
        print(f"{name:45} {claim}")
    assert len({seeded.bug for seeded in SEEDED.values()}) == len(SEEDED) >= 20
