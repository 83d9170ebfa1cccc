"""The manifest reader against an oracle: every cut, every changed byte, and random mutations."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cbor2
import pytest

from agent_world_distfs.errors import ManifestError
from agent_world_distfs.manifest_format import decode_manifest, encode_manifest
from agent_world_distfs.records import FileMetadata
from test_manifest_hostile import HOSTILE

HASH = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def decode(data: bytes) -> list[FileMetadata]:
    return list(decode_manifest(io.BytesIO(data)))


def encode(*files: FileMetadata) -> bytes:
    return b"".join(encode_manifest(files, len(files)))


EMPTY = encode()
ONE = encode(FileMetadata("a", HASH, 1, 2))
TWO = encode(FileMetadata("a/b", HASH, 0, -1), FileMetadata("\u6587", HASH, 256, 1_795_371_322_726))
ORIGINAL = (Path(__file__).parent / "data" / "original-store" / "manifest.cbor").read_bytes()
SEEDS = [EMPTY, ONE, TWO, ORIGINAL]


# --- every cut and every changed byte ---------------------------------------------------------


def test_a_manifest_that_is_cut_anywhere_is_refused() -> None:
    for data in SEEDS:
        for length in range(len(data)):
            with pytest.raises(ManifestError):
                decode(data[:length])


def test_a_changed_byte_gives_another_index_or_an_error() -> None:
    index = decode(TWO)
    accepted = 0
    for position in range(len(TWO)):
        for byte in range(256):
            changed = TWO[:position] + bytes([byte]) + TWO[position + 1 :]
            try:
                found = decode(changed)
            except ManifestError:
                continue
            assert (found == index) is (changed == TWO)
            assert encode(*found) == changed
            accepted += 1
    assert accepted > 1_000


# --- mutations against an oracle --------------------------------------------------------------


def is_int(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value < high


def is_entry(value: object) -> bool:
    if not isinstance(value, Mapping) or set(value) != {
        "path",
        "size_bytes",
        "content_hash",
        "updated_at_ms",
    }:
        return False
    path, name = value["path"], value["content_hash"]
    return (
        type(path) is str
        and "\0" not in path
        and len(path.encode()) <= 4096
        and not {"", ".", ".."} & set(path.split("/"))
        and type(name) is str
        and len(name) == 64
        and set(name) <= set("0123456789abcdef")
        and is_int(value["size_bytes"], 0, 2**63)
        and is_int(value["updated_at_ms"], -(2**63), 2**63)
    )


def is_manifest(data: bytes) -> bool:
    """The rules once more, on what an ordinary decoder gives."""
    try:
        value: Any = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, OverflowError, TypeError, RecursionError):
        return False
    if (
        not isinstance(value, Mapping)
        or set(value) != {"files", "version"}
        or not is_int(value["version"], 1, 2)
    ):
        return False
    files = value["files"]
    if not isinstance(files, list | tuple) or not all(map(is_entry, files)):
        return False
    paths = [file["path"].encode() for file in files]
    again = cbor2.dumps(cbor2.CBORTag(55799, value), canonical=True)
    return paths == sorted(set(paths)) and again == data


HEADS = [bytes([byte]) for byte in range(256)]
WORDS = [
    b"\x64path",
    b"\x6asize_bytes",
    b"\x6ccontent_hash",
    b"\x6dupdated_at_ms",
    b"\x65files",
    b"\x67version",
]
NUMBERS = [
    head + number
    for head in HEADS[0x18:0x1C] + HEADS[0x38:0x3C]
    for number in (b"", b"\0", b"\xff" * 8, b"\x7f" * 7)
]
ODDITIES = [
    b"\xd9\xd9\xf7",
    b"\xf9\x3c\x00",
    b"\xc2\x41\x01",
    b"\xd8\x1d\x00",
    b"\xed\xa0\x80",
    b"/",
    b"..",
    ONE[11:-9],
]
TOKENS = HEADS + (WORDS + NUMBERS + ODDITIES) * 3


def mutate(chance: random.Random) -> bytes:
    """A manifest after one to three small accidents."""
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        here = chance.randrange(len(data) + 1)
        there = min(len(data), here + chance.choice((0, 1, 1, 2, 8, 40)))
        match chance.randrange(6):
            case 0 if here < len(data):
                data[here] ^= 1 << chance.randrange(8)
            case 1:
                data[here:there] = chance.choice(TOKENS)
            case 2:
                data[here:there] = chance.randbytes(there - here)
            case 3:
                del data[here:there]
            case 4:
                data[here:here] = data[here:there]
            case _:
                donor = chance.choice(SEEDS)
                start = chance.randrange(len(donor) + 1)
                data[here:there] = donor[start : start + there - here]
    return bytes(data)


def change_value(chance: random.Random) -> bytes:
    """A manifest by the independent encoder, of values that are odd, in any order and of any type."""
    times = [0, 23, 24, 2**63 - 1, 2**63, -1, -(2**63), -(2**63) - 1]
    odd: list[Any] = [*times, True, None, 1.0, "a", b"a", HASH, [], {}, 2**64]
    paths = ["a", "a/b", "b", "é", "", "a/", "\0", "..", "\uff5e", "\U0001f600", "x" * 4096, "x" * 4097]
    files: list[dict[str, Any]] = [
        {
            "path": chance.choice(paths),
            "size_bytes": 1,
            "content_hash": HASH,
            "updated_at_ms": chance.choice(times),
        }
        for _ in range(chance.randrange(4))
    ]
    if files and chance.random() < 0.5:
        field = chance.choice(["path", "size_bytes", "content_hash", "updated_at_ms", "x"])
        chance.choice(files)[field] = chance.choice(odd)
    if chance.random() < 0.7:
        files.sort(key=lambda file: str(file["path"]).encode())
    manifest = {"version": chance.choice([1] * 9 + odd), "files": files}
    return cbor2.dumps(cbor2.CBORTag(55799, manifest), canonical=chance.random() < 0.9)


def test_the_oracle_takes_what_is_good() -> None:
    assert all(map(is_manifest, SEEDS))


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_oracle_refuses_what_breaks_one_rule(kind: str) -> None:
    assert not is_manifest(HOSTILE[kind])


def run(seed: int, cases: int) -> dict[str, int]:
    """Give so many mutations to reader and oracle; how many were accepted and refused.

    Raises:
        AssertionError: they disagree, or what was accepted is not encoded to the same bytes.
    """
    chance = random.Random(seed)
    accepted = 0
    for _ in range(cases):
        data = change_value(chance) if chance.random() < 0.3 else mutate(chance)
        try:
            files = decode(data)
        except ManifestError:
            assert not is_manifest(data), f"seed {seed}, refused: {data.hex()}"
        else:
            assert is_manifest(data), f"seed {seed}, accepted: {data.hex()}"
            assert encode(*files) == data, f"seed {seed}, encoded otherwise: {data.hex()}"
            accepted += 1
    return {"accepted": accepted, "refused": cases - accepted}


@pytest.mark.parametrize("runs", [20_000, pytest.param(1_000_000, marks=pytest.mark.proof)])
def test_reader_and_oracle_agree_on_mutations(runs: int) -> None:
    done = run(runs, runs)
    assert runs // 20 < done["accepted"] < runs  # a fuzz that is always refused tests one branch
