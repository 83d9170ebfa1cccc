"""What the killed ones do: write, count, collect, exchange, until they die."""

from __future__ import annotations

import contextlib
import io
import random
from pathlib import Path
from typing import NamedTuple

from crowd import Say
from kill_model import NOTHING, PIN, PINNED, WriterModel, body

from agent_world_distfs import ABSENT, ConflictError, FileConflictError, LocalCasStore, NotFoundError

COUNTER = "counter"
PATHS = 14
"""Paths of one writer: few, so that they are overwritten all the time."""

PINS = 3
SHARED = 6
"""Contents that all write: what one has overwritten, and a collection is about to take, another names."""


class Mover(NamedTuple):
    """What a move needs."""

    store: LocalCasStore
    say: Say
    model: WriterModel
    life: int
    chance: random.Random

    def path(self) -> str:
        return f"{self.model.name}/{self.chance.randrange(PATHS)}"

    def held(self, path: str) -> str:
        return self.model.certain.get(path, NOTHING)

    def hash_of(self, token: str) -> str:
        return self.store.hash_bytes(body(token))

    def will(self, **changes: str) -> None:
        self.tell("will " + " ".join(f"{key}={value}" for key, value in changes.items()))

    def tell(self, line: str) -> None:
        self.say(line)
        self.model.hear(line)


def write(root: Path, say: Say, model: WriterModel, life: int, chance: random.Random) -> None:
    """Look what became of the change that the one before was killed in, then change for ever."""
    with LocalCasStore(root, create=False) as store:
        mover = Mover(store, say, model, life, chance)
        mover.tell(f"saw {model.settle(store)}")
        while True:
            chance.choice(MOVES)(mover)


def _new_token(mover: Mover) -> str:
    kind = mover.chance.random()
    if kind < 0.35:
        number = mover.chance.randrange(SHARED)
        return f"shared{number}*{100 if number % 2 else 9_000 + number}"
    name = f"{mover.model.name}.{mover.life}.{mover.model.acknowledged}"
    sizes = (1, 3_000) if kind < 0.75 else (8_193, 60_000)
    return f"{name}*{mover.chance.randint(*sizes)}"


def _put(mover: Mover) -> None:
    path, token = mover.path(), _new_token(mover)
    mover.will(**{path: token})
    mover.store.write_file(path, body(token))
    mover.tell("did")


def _put_stream(mover: Mover) -> None:
    path, token = mover.path(), _new_token(mover)
    mover.will(**{path: token})
    mover.store.write_file_stream(path, io.BytesIO(body(token)))
    mover.tell("did")


def _put_if_match(mover: Mover) -> None:
    path, token = mover.path(), _new_token(mover)
    held = mover.held(path)
    expected = ABSENT if held == NOTHING else mover.hash_of(held)
    mover.will(**{path: token})
    mover.store.write_file_if_match(path, expected, body(token))
    mover.tell("did")


def _conflict(mover: Mover) -> None:
    """A condition that does not hold changes nothing: what is held is looked at again after a kill."""
    path = mover.path()
    with contextlib.suppress(FileConflictError):
        mover.store.write_file_if_match(path, mover.hash_of("never*7"), b"x")
        raise AssertionError(f"{path}: written although it holds something else")


def _delete(mover: Mover) -> None:
    path = mover.path()
    mover.will(**{path: NOTHING})
    assert mover.store.delete_file(path) == (mover.held(path) != NOTHING), path
    mover.tell("did")


def _delete_if_match(mover: Mover) -> None:
    path = mover.path()
    held = mover.held(path)
    if held != NOTHING:
        mover.will(**{path: NOTHING})
        assert mover.store.delete_file_if_match(path, mover.hash_of(held)), path
        mover.tell("did")


def _delete_two(mover: Mover) -> None:
    paths = {mover.path(), mover.path()}
    mover.will(**dict.fromkeys(paths, NOTHING))
    mover.store.delete_files(sorted(paths))
    mover.tell("did")


def _link(mover: Mover) -> None:
    source, target = mover.path(), mover.path()
    held = mover.held(source)
    if held != NOTHING:
        mover.will(**{target: held})
        mover.store.link_file(target, mover.hash_of(held))
        mover.tell("did")


def _copy(mover: Mover) -> None:
    source, target = mover.path(), mover.path()
    held = mover.held(source)
    if held != NOTHING:
        mover.will(**{target: held})
        mover.store.copy_file(source, target)
        mover.tell("did")


def _rename(mover: Mover) -> None:
    source, target = mover.path(), mover.path()
    held = mover.held(source)
    if held != NOTHING and source != target:
        mover.will(**{source: NOTHING, target: held})
        mover.store.rename_file(source, target)
        mover.tell("did")


def _pin(mover: Mover) -> None:
    pinned = mover.model.pinned()
    if len(pinned) >= PINS:
        mover.will(**{PIN + pinned[0]: NOTHING})
        assert mover.store.unpin(mover.hash_of(pinned[0])), pinned[0]
        mover.tell("did")
        return
    held = mover.held(mover.path())
    if held != NOTHING and not held.startswith("shared"):  # one owner for each pin
        mover.will(**{PIN + held: PINNED})
        mover.store.pin(mover.hash_of(held))
        mover.tell("did")


MOVES = [
    *[_put] * 6, *[_put_stream] * 2, *[_put_if_match] * 4, _conflict, _delete, _delete_if_match, _delete_two,
    _link, _copy, *[_rename] * 2, *[_pin] * 2,
]  # fmt: skip


def count_up(root: Path, say: Say) -> None:
    """Increment a number by compare-and-set."""
    with LocalCasStore(root, create=False) as store:
        while True:
            meta, data = store.read_file_with_metadata(COUNTER)
            value = int(data) + 1
            say(f"try {value}")
            try:
                store.write_file_if_match(COUNTER, meta.content_hash, b"%d" % value)
            except FileConflictError:
                say(f"lost {value}")
            else:
                say(f"did {value}")


def collect(root: Path, say: Say) -> None:
    """Take orphans, again and again."""
    with LocalCasStore(root, create=False) as store:
        while True:
            if store.prune_orphan_blobs().pruned_blobs:
                say("prunes")


def exchange(root: Path, say: Say) -> None:
    """Import the index as it is: it stages all and flips if nobody wrote meanwhile, and changes nothing."""
    with LocalCasStore(root, create=False) as store:
        while True:
            ref = store.export_file_index_manifest(pin=True)
            with contextlib.suppress(ConflictError, NotFoundError):
                store.import_file_index_manifest(ref, expected_current=ref)
                say("imports")
            store.unpin(ref.content_hash)
