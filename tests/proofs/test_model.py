"""A store against a plain model of it: any calls, through two handles, reopened, crashed and gone on with.

A crash is a forked child that makes one call and is killed (SIGKILL) at a line of the package that
was drawn. If it had acknowledged by then, the change must hold; if not, either all of it holds or
nothing. Blobs without a name may be left of it, of what the call was about, and nothing else.

The stores are in memory where that can be had: what a flush is worth is the matter of other proofs.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from again import command_of
from calls_of_a_model import Call, Data, changes, paths, reads, some_data
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from model import LATER, EitherError, Model

from agent_world_distfs import (
    FileIndexManifestRef,
    FileMetadata,
    HashAlgorithm,
    LocalCasStore,
    WorldError,
)
from killing import run_and_die

pytestmark = pytest.mark.proof

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

counts: Counter[str] = Counter()
"""What was done, for the record; and so that a machine that does nothing is noticed."""


@cache
def pristine(algorithm: HashAlgorithm) -> Path:
    """An empty store: copying one costs a fraction of making one."""
    place = Path(tempfile.mkdtemp(prefix="distfs-model-", dir=MEMORY))
    atexit.register(shutil.rmtree, place)
    LocalCasStore(place / "store", hash_algorithm=algorithm).close()
    return place / "store"


class StoreMachine(RuleBasedStateMachine):
    """Two handles of one store, and the model of it."""

    @initialize(algorithm=st.sampled_from(HashAlgorithm), filling=st.dictionaries(paths, some_data))
    def begin(self, algorithm: HashAlgorithm, filling: dict[str, Data]) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="distfs-model-", dir=MEMORY))
        self.root = shutil.copytree(pristine(algorithm), self.place / "store")
        self.handles = [LocalCasStore(self.root), LocalCasStore(self.root)]
        self.model = Model(algorithm)
        self.refs: list[FileIndexManifestRef] = []
        counts["examples"] += 1
        for path, data in filling.items():
            self._both(Call("write_file", (path, data)), 0)

    # --- what is done --------------------------------------------------------------------------

    @rule(call=changes, number=st.integers(0, 1))
    def change(self, call: Call, number: int) -> None:
        self._both(call, number)

    @rule(call=changes, number=st.integers(0, 1))
    def change_more(self, call: Call, number: int) -> None:
        self._both(call, number)  # more than once: changes shall be the most

    @rule(call=changes, number=st.integers(0, 1))
    def change_most(self, call: Call, number: int) -> None:
        self._both(call, number)

    @rule(call=reads, number=st.integers(0, 1))
    def read(self, call: Call, number: int) -> None:
        self._both(call, number)

    @rule(number=st.integers(0, 1))
    def reopen(self, number: int) -> None:
        counts["reopen"] += 1
        self.handles[number].close()
        self.handles[number] = LocalCasStore(self.root)

    @rule(call=changes, number=st.integers(0, 1), lines=st.integers(1, 350))
    def crash(self, call: Call, number: int, lines: int) -> None:
        before, after = self.model.copy(), self.model.copy()
        self._answer(call, after)
        began_ms = _now_ms()
        is_acknowledged = self._run_and_die(call, number, lines)
        held = self._choose([after] if is_acknowledged else [before, after])
        counts["crash, " + ("after" if held is after else "before")] += 1
        counts["crash, acknowledged"] += is_acknowledged
        self.model = held
        self._learn(began_ms)
        if not is_acknowledged or after.in_doubt:
            self._settle(before, after)

    # --- how answers are compared --------------------------------------------------------------

    def _both(self, call: Call, number: int) -> None:
        counts[call.method] += 1
        before = self.model.copy()
        expected = self._answer(call, self.model)
        began_ms = _now_ms()
        actual = self._answer(call, self.handles[number])
        if isinstance(expected, EitherError):
            assert type(actual) in expected.kinds, actual
        elif isinstance(expected, Exception):
            assert type(actual) is type(expected), actual
            assert _values(actual) == _values(expected)
        else:
            self._learn(began_ms)
            assert _timeless(actual, expected) == expected, actual
            self._remember(actual)
        if self.model.in_doubt:
            self._settle(before, self.model)

    def _answer(self, call: Call, target: LocalCasStore | Model) -> Any:
        try:
            return call.on(target, self.refs)
        except (WorldError, EitherError) as error:
            return error

    def _remember(self, answer: object) -> None:
        if isinstance(answer, FileIndexManifestRef) and answer not in self.refs:
            self.refs = [*self.refs[-3:], answer]

    def _learn(self, began_ms: int) -> None:
        """Take the times of what was just written from the store, if they can be right."""
        for path, file in self.model.files.items():
            if file.updated_at_ms == LATER:
                actual = self.handles[0].stat_file(path)
                assert actual is not None
                earliest = max(began_ms, self.model.floors[path])
                assert earliest <= actual.updated_at_ms <= max(earliest, _now_ms())
                self.model.files[path] = FileMetadata(
                    path, file.content_hash, file.size_bytes, actual.updated_at_ms
                )

    # --- after a crash -------------------------------------------------------------------------

    def _run_and_die(self, call: Call, number: int, lines: int) -> bool:
        """Make the call in a child that is killed at a line; whether it acknowledged before."""
        heard, said = os.pipe()
        child = os.fork()
        if child == 0:
            run_and_die(lambda: (self._answer(call, self.handles[number]), os.write(said, b"!")), lines)
        os.close(said)
        _, status = os.waitpid(child, 0)
        with os.fdopen(heard, "rb") as pipe:
            is_acknowledged = pipe.read() == b"!"
        was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert was_killed or os.waitstatus_to_exitcode(status) == 0
        counts["crash, killed"] += was_killed
        return is_acknowledged

    def _choose(self, candidates: list[Model]) -> Model:
        """The one of the states that holds."""
        files, pins = self.handles[0].list_files(), self.handles[1].list_pins()
        for model in candidates:
            if pins == model.list_pins() and _timeless(files, model.list_files()) == model.list_files():
                return model
        raise AssertionError(f"neither all nor nothing of it was done: {files}, {pins}")

    def _settle(self, before: Model, after: Model) -> None:
        """Find out which blobs without a name are left, if they can be right."""
        model = self.model
        may_be = {**before.blobs, **after.blobs, **before.in_doubt, **after.in_doubt}
        must_be = (before.blobs.keys() & after.blobs.keys()) | model.live()
        report = self.handles[0].audit_file_index()
        assert report.is_sound(), report
        stored = model.live() | set(report.orphan_blob_hashes)
        assert must_be <= stored <= may_be.keys()
        assert not model.live() & set(report.orphan_blob_hashes)
        model.blobs = {name: may_be[name] for name in stored}
        model.strays = {name for name in report.orphan_blob_hashes if not self.handles[1].has(name)}
        assert before.blobs.keys() & after.blobs.keys() & model.strays <= before.strays
        model.in_doubt = {}

    # --- the end -------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "handles"):
            return
        try:
            self._compare_all()
        finally:
            for handle in self.handles:
                handle.close()
            shutil.rmtree(self.place)

    def _compare_all(self) -> None:
        store = self.handles[0]
        assert store.list_files() == self.model.list_files()
        assert store.list_pins() == self.model.list_pins()
        for path in self.model.files:
            assert store.read_file(path) == self.model.read_file(path)
        for name, data in self.model.blobs.items():
            assert name in self.model.strays or store.get(name) == data
        assert store.audit_file_index(verify=True) == self.model.audit_file_index(verify=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _values(error: Exception) -> tuple[Any, ...]:
    """What an error carries, without times, which the model may not know yet."""
    return tuple(
        value.content_hash if isinstance(value, FileMetadata) else value for value in vars(error).values()
    )


def _timeless(actual: Any, expected: Any) -> Any:
    """The answer, with the times that the model does not know made unknown."""
    if isinstance(actual, FileMetadata) and isinstance(expected, FileMetadata):
        is_open = expected.updated_at_ms == LATER
        time_ms = LATER if is_open else actual.updated_at_ms
        return FileMetadata(actual.path, actual.content_hash, actual.size_bytes, time_ms)
    if isinstance(actual, list) and isinstance(expected, list) and len(actual) == len(expected):
        return [_timeless(one, other) for one, other in zip(actual, expected, strict=True)]
    return actual


def run(seed_number: int, cases: int, steps: int = 50) -> dict[str, int]:
    """So many histories of so many steps; what was done in them. The same seed gives the same histories."""
    counts.clear()
    machine = seed(seed_number)(StoreMachine)
    chosen = settings(
        max_examples=cases,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine, settings=chosen)
    except BaseException as error:
        error.add_note(command_of(__file__, seed_number, cases, steps))
        raise
    return dict(counts)


@pytest.mark.parametrize("seed_number", [1, 2, 3])
def test_any_history_gives_what_the_model_gives(seed_number: int) -> None:
    done = run(seed_number, 100)
    assert done["examples"] >= 100
    for what in ("before", "after", "killed", "acknowledged"):
        assert done[f"crash, {what}"] > 20, done
    assert all(done[method] > 5 for method in ("import_file_index_manifest", "link_file", "reopen")), done


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])))
