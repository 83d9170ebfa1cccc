"""Damage to the files of a closed store, and what a store then says: the machinery of ``test_damage.py``.

One case is one accident to a fresh copy of one small store: a bit flipped, a file cut, lengthened,
exchanged with another or gone, pages of the catalog exchanged or blank. A forked child then opens it,
asks for everything, audits, prunes and asks again; what it saw comes back as a ``Verdict``.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from forked import ChildDiedError, ChildRaisedError, in_child

from agent_world_distfs import LocalCasStore, WorldError

PAGE_BYTES = 4096


# --- the store --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Original:
    """The undamaged store: where it is, what was written, and all that it answers."""

    root: Path
    contents: dict[str, bytes]
    blobs: dict[str, bytes]
    answers: dict[str, object]


def make_original(root: Path) -> Original:
    """A store with small and large files, the same content twice, overwritten and pinned ones."""
    contents = {f"small/{number}": b"%d" % number * (1 + 7 * number) for number in range(30)}
    contents |= {f"large/{number}": bytes([number]) * (8_193 + number // 2) for number in range(10)}
    contents |= {
        "same/1": b"same" * 3_000,
        "same/2": b"same" * 3_000,
        "empty": b"",
        "\u00e9/\U0001f600": b"u",
    }
    with LocalCasStore(root) as store:
        for path, data in contents.items():
            store.write_file(path, b"overwritten " + path.encode())
            store.write_file(path, data)
        blobs = {store.hash_bytes(data): data for data in contents.values()}
        for data in (b"pinned", b"pinned too", b"pinned" * 3_000):
            store.pin(store.put_bytes(data))
            blobs[store.hash_bytes(data)] = data
        store.pin(store.hash_bytes(contents["large/1"]))
        ref = store.export_file_index_manifest(pin=True)
        blobs[ref.content_hash] = store.get(ref.content_hash)
    with LocalCasStore(root) as store:
        answers = ask(store, contents, blobs)
    assert not (root / "catalog.db-wal").exists()
    return Original(root, contents, blobs, answers)


def ask(store: LocalCasStore, contents: dict[str, bytes], blobs: dict[str, bytes]) -> dict[str, object]:
    """All that a store says of what was written; the kind of error where it refuses.

    ``contents`` and ``blobs`` are the whole truth: what is read otherwise is wrong, whoever notices.
    """
    found: dict[str, object] = {
        "files": _try(store.list_files),
        "iteration": _try(lambda: list(store.iter_files())),
        "pins": _try(store.list_pins),
        "export": _try(lambda: str(store.export_file_index_manifest())),
    }
    listed = found["files"] if isinstance(found["files"], list) else []
    for path in contents.keys() | {file.path for file in listed}:
        found[f"stat {path}"] = _try(partial(store.stat_file, path))
        found[f"read {path}"] = _read(partial(store.read_file, path), contents.get(path))
        found[f"open {path}"] = _read(partial(_through_stream, store, path), contents.get(path))
    for name, data in blobs.items():
        found[f"get {name}"] = _read(partial(store.get, name), data)
        found[f"pinned {name}"] = _try(partial(store.is_pinned, name))
    return found


def _through_stream(store: LocalCasStore, path: str) -> bytes:
    with store.open_file(path) as reader:
        return reader.read()


class WrongBytesError(Exception):
    """A read gave other bytes than were written, as if they were good."""


def _read(call: Callable[[], bytes], expected: bytes | None) -> str:
    said = _try(call)
    if isinstance(said, bytes) and said != expected:
        raise WrongBytesError
    return "as written" if isinstance(said, bytes) else str(said)


def _try(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except WorldError as error:
        return f"refused: {type(error).__name__}"


# --- accidents --------------------------------------------------------------------------------


def injure(root: Path, chance: random.Random) -> str:
    """One accident to a closed store; what it was, in words."""
    catalog = root / "catalog.db"
    blobs = sorted(root.glob("blobs/*/*"))
    file = catalog if chance.random() < 0.6 else chance.choice(blobs)
    accidents = [_flip] * 12 + [_truncate, _extend] * 2 + [_exchange, _exchange, _delete]
    if file == catalog:
        accidents += [_exchange_pages, _blank_page] * 2
    told = chance.choice(accidents)(file, chance, [catalog, *blobs])
    return f"{file.relative_to(root)}: {told}"


def _flip(file: Path, chance: random.Random, _: list[Path]) -> str:
    position, bit = chance.randrange(file.stat().st_size), chance.randrange(8)
    data = bytearray(file.read_bytes())
    data[position] ^= 1 << bit
    file.write_bytes(data)
    return f"bit {bit} of byte {position} flipped"


def _truncate(file: Path, chance: random.Random, _: list[Path]) -> str:
    size = file.stat().st_size
    whole_pages = chance.randrange(size // PAGE_BYTES + 1) * PAGE_BYTES
    left = chance.choice([0, size - 1, chance.randrange(size), min(whole_pages, size - 1)])
    os.truncate(file, left)
    return f"cut to {left} bytes"


def _extend(file: Path, chance: random.Random, _: list[Path]) -> str:
    more = chance.choice([bytes(1), bytes(PAGE_BYTES), chance.randbytes(chance.choice([1, 100, PAGE_BYTES]))])
    with file.open("ab") as end:
        end.write(more)
    return f"{len(more)} bytes longer, the first of them {more[0]}"


def _exchange(file: Path, chance: random.Random, files: list[Path]) -> str:
    other = chance.choice([each for each in files if each != file])
    spare = file.with_name("spare")
    file.rename(spare)
    other.rename(file)
    spare.rename(other)
    return f"exchanged with {other.name}"


def _delete(file: Path, chance: random.Random, _: list[Path]) -> str:
    file.unlink()
    return "deleted"


def _exchange_pages(file: Path, chance: random.Random, _: list[Path]) -> str:
    data = file.read_bytes()
    pages = [data[start : start + PAGE_BYTES] for start in range(0, len(data), PAGE_BYTES)]
    one, other = chance.sample(range(len(pages)), 2)
    pages[one], pages[other] = pages[other], pages[one]
    file.write_bytes(b"".join(pages))
    return f"pages {one} and {other} (from 0) exchanged"


def _blank_page(file: Path, chance: random.Random, _: list[Path]) -> str:
    page = chance.randrange(file.stat().st_size // PAGE_BYTES)
    with file.open("r+b") as opened:
        opened.seek(page * PAGE_BYTES)
        opened.write(bytes(PAGE_BYTES))
    return f"page {page} (from 0) blank"


# --- what became of it ------------------------------------------------------------------------


@dataclass
class Verdict:
    """What a damaged store did. ``refused``: at opening. ``changed``: the questions answered otherwise."""

    refused: str = ""
    changed: list[str] = field(default_factory=list)
    is_sound: bool = True
    faults: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """For counting: what an answer was changed by must have been refused or seen."""
        if self.faults:
            return "fault"
        if self.refused:
            return "refused"
        if self.changed:
            return "unseen" if self.is_sound else "seen"
        return "harmless" if self.is_sound else "seen, though no answer changed"

    @property
    def is_of_pins_only(self) -> bool:
        """Whether only what is pinned is told otherwise."""
        return all(question.startswith("pin") for question in self.changed)


def examine(root: Path, original: Original, *, prunes: bool) -> Verdict:
    """Judge a damaged copy in a forked child: a crash or a hang of it is a fault, too."""
    try:
        return in_child(lambda: _examine(root, original, prunes=prunes))
    except (ChildDiedError, ChildRaisedError) as error:
        return Verdict(faults=[str(error)])


def _examine(root: Path, original: Original, *, prunes: bool) -> Verdict:
    verdict = Verdict()
    try:
        store = LocalCasStore(root, create=False)
    except WorldError as error:
        verdict.refused = type(error).__name__
        return verdict
    with store:
        found = ask(store, original.contents, original.blobs)
        every = found.keys() | original.answers.keys()
        verdict.changed = sorted(key for key in every if found.get(key) != original.answers.get(key))
        verdict.is_sound = store.audit_file_index(verify=True).is_sound()
        if prunes:
            _prune(store, original, found, verdict)
    return verdict


def _prune(store: LocalCasStore, original: Original, found: dict[str, object], verdict: Verdict) -> None:
    """What nothing names may go, and nothing else, whatever the catalog says by now."""
    _try(store.prune_orphan_blobs)
    for name, data in original.blobs.items():
        if found[f"get {name}"] == "as written" and _read(partial(store.get, name), data) != "as written":
            verdict.faults.append(f"a prune took what was named: {name}")


def examine_case(original: Original, place: Path, seed: int, number: int) -> tuple[str, Verdict]:
    """The so-manieth case of a seed: in words, and what became of it. A copy that tells of a bug is kept."""
    root = Path(shutil.copytree(original.root, place / f"case-{seed}-{number}"))
    told = injure(root, random.Random(f"{seed} {number}"))
    verdict = examine(root, original, prunes=number % 3 == 0)  # which costs as much as all the rest
    if verdict.kind not in ("fault", "unseen"):
        shutil.rmtree(root)
    return told, verdict
