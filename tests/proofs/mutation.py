"""Changes the core in small ways, one at a time, and sees whether its fast tests notice.

    .venv/bin/python tests/proofs/mutation.py [--minutes M] [--only MODULE]... [--seed N] [--at MODULE:NUMBER]

Each mutant is a copy of ``src/`` with one change in one module; the tests of that module run on it in a
process of their own, up to the first that fails. Where there is not time for all mutants they are drawn by
chance, so that the score is an estimate. Survivors are printed; ``docs/proofs.md`` says why they live.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("src") / "agent_world_distfs"
PATIENCE_S = 900

_COLLECTING = ("test_collection", "test_named_meanwhile", "test_audit", "test_audit_damage", "test_pins")
_COMMITTING = ("test_conditional", "test_pins", "test_exchange", "test_named_meanwhile", "test_change_log")
_LOGGING = ("test_change_log", "test_history", "test_undo")
TESTS: dict[str, tuple[str, ...]] = {
    "manifest_format.py": ("test_manifest_format", "test_manifest_hostile", "test_manifest_fuzz"),
    "paths.py": ("test_paths",),
    "operations/collect.py": _COLLECTING,
    "engine/orphans.py": _COLLECTING,
    "operations/files.py": ("test_conditional", "test_pins", "test_collection"),
    "operations/manifest.py": ("test_exchange", "test_original"),
    "engine/replacing.py": ("test_exchange", *_LOGGING),
    "catalog/commits.py": (*_COMMITTING, "test_documentation"),
    "catalog/writer.py": (*_COMMITTING, "test_collection", "test_audit", "test_audit_damage", *_LOGGING),
    "catalog/wal_side.py": (
        "test_gate",
        "test_settling",
        "test_wal_in_doubt",
        "test_wal_chain",
        "test_wal_length",
    ),
    "catalog/write_side.py": (
        "test_gate",
        "test_gate_in_time",
        "test_settling",
        "test_conditional",
        "test_named_meanwhile",
    ),
}


def survives(module: str, source: str, patience_s: float = PATIENCE_S) -> bool:
    """Whether the tests of a module pass with other source in it, in time: one that hangs is noticed."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(ROOT / PACKAGE, Path(place) / PACKAGE)
        (Path(place) / PACKAGE / module).write_text(source, "utf-8")
        pid = os.fork()
        if pid == 0:
            _test(module, Path(place))
        return _wait(pid, patience_s) == 0


def _test(module: str, place: Path) -> None:
    """In the child: run the tests; whoever they start belongs to its group, and goes with it."""
    os.setpgid(0, 0)
    code = 1
    try:
        silent = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(silent, fd)
        os.chdir(ROOT)
        os.environ["PYTHONPATH"] = str(place / "src")
        sys.path.insert(0, str(place / "src"))
        import pytest

        tests = [
            f"tests/{name}.py"
            for name in dict.fromkeys(TESTS[module])
            if (ROOT / f"tests/{name}.py").exists()
        ]
        basetemp = f"--basetemp={place / 'tests'}"
        code = pytest.main(
            ["-x", "-q", "-n", "0", "-m", "not proof", "-p", "no:cacheprovider", basetemp, *tests]
        )
    finally:
        os._exit(int(code))


def _wait(pid: int, patience_s: float) -> int:
    deadline = time.monotonic() + patience_s
    done = status = 0
    while not done and time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return status if done else os.waitpid(pid, 0)[1] or 1


def read(module: str) -> str:
    return (ROOT / PACKAGE / module).read_text("utf-8")


def drawn(modules: list[str], seed: int) -> Iterator[tuple[str, Mutant]]:
    """Mutants of the modules in turn, those of each in an order drawn by chance."""
    left = {module: mutants_of(read(module)) for module in modules}
    for module, mutants in left.items():
        random.Random(f"{seed} {module}").shuffle(mutants)
    while any(left.values()):
        for module in modules:
            if left[module]:
                yield module, left[module].pop()


def _time_of(module: str) -> float:
    """How long to wait for the tests of a module: some times longer than they take without a change."""
    started = time.monotonic()
    assert survives(module, read(module)), f"the tests of {module} fail without a change"
    return 30 + 4 * (time.monotonic() - started)


def run(minutes: float, modules: list[str], seed: int) -> Counter[str]:
    """Try mutants until the time is up; how many were tried and noticed, of each module."""
    counts: Counter[str] = Counter()
    patience = {module: _time_of(module) for module in modules}
    end = time.monotonic() + 60 * minutes
    for module, mutant in drawn(modules, seed):
        if time.monotonic() > end:
            break
        counts[f"{module} tried"] += 1
        if survives(module, mutant.source, patience[module]):
            print(f"{module}:{mutant.line}, mutant {mutant.number}: {mutant.told}", flush=True)
        else:
            counts[f"{module} noticed"] += 1
    for module in modules:
        print(
            f"{module}: {counts[f'{module} noticed']} of {counts[f'{module} tried']} noticed,"
            f" of {len(mutants_of(read(module)))} that there are"
        )
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--only", choices=TESTS, action="append", help="may be given several times")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at", metavar="MODULE:NUMBER", help="only this mutant")
    chosen = parser.parse_args()
    if chosen.at:
        module, _, number = chosen.at.rpartition(":")
        mutant = mutants_of(read(module))[int(number)]
        print(
            f"{module}:{mutant.line}: {mutant.told}: "
            f"{'lives' if survives(module, mutant.source) else 'noticed'}"
        )
        return
    run(chosen.minutes, chosen.only or list(TESTS), chosen.seed)


if __name__ == "__main__":
    main()
