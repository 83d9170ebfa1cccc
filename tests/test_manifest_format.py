"""The manifest format: the same bytes as the original and as an independent encoder, in both directions."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import cbor2
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from agent_world_distfs.errors import ManifestError, PathInvalidError
from agent_world_distfs.manifest_format import MANIFEST_VERSION, decode_manifest, encode_manifest, scan_hashes
from agent_world_distfs.paths import normalize_path
from agent_world_distfs.records import FileIndexManifestRef, FileMetadata

HERE = Path(__file__).parent
ORIGINAL = HERE / "data" / "original-store"
PAGE = HERE.parent / "docs" / "manifest-format.md"
HASH = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def encode(files: list[FileMetadata]) -> bytes:
    return b"".join(encode_manifest(iter(files), len(files)))


def decode(data: bytes) -> list[FileMetadata]:
    return list(decode_manifest(io.BytesIO(data)))


def encode_with_cbor2(files: Iterable[FileMetadata], version: int = 1) -> bytes:
    entries = [
        {
            "path": file.path,
            "content_hash": file.content_hash,
            "size_bytes": file.size_bytes,
            "updated_at_ms": file.updated_at_ms,
        }
        for file in files
    ]
    manifest = cbor2.CBORTag(55799, {"version": version, "files": entries})
    return cbor2.dumps(manifest, canonical=True)


def is_store_path(path: str) -> bool:
    try:
        return normalize_path(path) == path
    except PathInvalidError:
        return False


EDGES = [edge + step for bits in (0, 5, 8, 16, 32, 63) for edge in (2**bits, 24) for step in (-2, -1, 0, 1)]
SIZES = st.sampled_from([n for n in EDGES if 0 <= n < 2**63]) | st.integers(0, 2**63 - 1)
TIMES = st.sampled_from([-n for n in EDGES if n <= 2**63]) | st.integers(-(2**63), 2**63 - 1)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
PATHS = (
    st.text(st.sampled_from("ab./-é文\U0001f600") | st.characters(codec="utf-8"), min_size=1, max_size=30)
    | st.integers(1, 300).map("x".__mul__)
    | st.sampled_from([255, 256, 4095, 4096]).map("y".__mul__)
).filter(is_store_path)
INDEXES = st.lists(
    st.builds(FileMetadata, PATHS, HASHES, SIZES, TIMES), unique_by=lambda file: file.path
).map(lambda files: sorted(files, key=lambda file: file.path.encode()))


# --- the original and an independent encoder --------------------------------------------------


def read_original_index() -> list[FileMetadata]:
    index = json.loads((ORIGINAL / "reference-store" / "files_index.json").read_text(encoding="utf-8"))
    files = [FileMetadata(**entry) for entry in index["files"].values()]
    return sorted(files, key=lambda file: file.path.encode())


def test_the_index_of_the_original_gives_the_manifest_of_the_original() -> None:
    manifest = (ORIGINAL / "manifest.cbor").read_bytes()
    reference = FileIndexManifestRef(**json.loads((ORIGINAL / "manifest_ref.json").read_text()))
    assert encode(read_original_index()) == manifest
    assert decode(manifest) == read_original_index()
    assert FileIndexManifestRef(blake3(manifest).hexdigest(), len(manifest)) == reference


@given(INDEXES)
def test_an_independent_encoder_gives_the_same_bytes(files: list[FileMetadata]) -> None:
    manifest = encode(files)
    assert manifest == encode_with_cbor2(files)
    assert decode(manifest) == files


@given(INDEXES, st.integers(1, 50))
def test_reads_that_come_short_change_nothing(files: list[FileMetadata], most: int) -> None:
    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(most, most if size is None or size < 0 else size))

    assert list(decode_manifest(Dribble(encode(files)))) == files


FAKE = "lcontent_hashx@" + "a" * 64
"""What a hash in a manifest looks like, as text of a path."""


@given(
    INDEXES,
    st.integers(1, 200),
    st.sampled_from(["", FAKE, f"x{FAKE}", FAKE[:-1], FAKE[:20], f"{FAKE}{HASH}"]),
)
def test_no_hash_is_missed_whatever_paths_look_like(files: list[FileMetadata], most: int, odd: str) -> None:
    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(most, most if size is None or size < 0 else size))

    files = sorted(
        {file.path: file for file in [*files, FileMetadata(f"{odd}.", HASH, 1, 2)]}.values(),
        key=lambda file: file.path.encode(),
    )
    found = list(scan_hashes(Dribble(encode(files))))
    named = [file.content_hash for file in files]
    assert [each for each in found if each != "a" * 64] == [each for each in named if each != "a" * 64]


# --- the page ---------------------------------------------------------------------------------

EXAMPLE = re.compile(
    r"^### (Vector|Refused): (.+?)\n.*?^```hex\n(.*?)^```\n(?:^```json\n(.*?)^```\n\n(.*?)\n)?",
    re.DOTALL | re.MULTILINE,
)
EXAMPLES = [match.groups() for match in EXAMPLE.finditer(PAGE.read_text(encoding="utf-8"))]
VECTORS = {
    title: (bytes.fromhex(dump), json.loads(value), facts)
    for kind, title, dump, value, facts in EXAMPLES
    if value
}
REFUSED = {title: bytes.fromhex(dump) for kind, title, dump, value, facts in EXAMPLES if kind == "Refused"}


def test_every_example_of_the_page_is_tested() -> None:
    headings = PAGE.read_text(encoding="utf-8").count("\n### ")
    assert headings == len(EXAMPLES) == len(VECTORS) + len(REFUSED)
    assert len(VECTORS) >= 4
    assert len(REFUSED) >= 10


@pytest.mark.parametrize("title", VECTORS)
def test_a_vector_of_the_page_holds(title: str) -> None:
    data, value, facts = VECTORS[title]
    files = [FileMetadata(**entry) for entry in value["files"]]
    assert value["version"] == MANIFEST_VERSION
    assert encode(files) == data
    assert decode(data) == files
    sums = f"BLAKE3 `{blake3(data).hexdigest()}`, SHA-256 `{hashlib.sha256(data).hexdigest()}`"
    assert facts == f"Size {len(data)}, {sums}."


@pytest.mark.parametrize("title", REFUSED)
def test_what_the_page_refuses_is_refused(title: str) -> None:
    with pytest.raises(ManifestError):
        decode(REFUSED[title])


# --- what the writer refuses ------------------------------------------------------------------

A = FileMetadata("a", HASH, 1, 2)
B = FileMetadata("b", HASH, 1, 2)


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ([B, A], 2),
        ([A, A], 2),
        ([A], 2),
        ([A, B], 1),
        ([], 1),
        ([A], -1),
        ([FileMetadata("", HASH, 1, 2)], 1),
        ([FileMetadata("\udc80", HASH, 1, 2)], 1),
        ([FileMetadata("a", HASH.upper(), 1, 2)], 1),
        ([FileMetadata("a", HASH + "\n", 1, 2)], 1),
        ([FileMetadata("a", HASH, -1, 2)], 1),
        ([FileMetadata("a", HASH, 2**63, 2)], 1),
        ([FileMetadata("a", HASH, 1, 2**63)], 1),
        ([FileMetadata("a", HASH, 1, -(2**63) - 1)], 1),
    ],
)
def test_an_index_that_no_manifest_can_hold_is_refused(files: list[FileMetadata], count: int) -> None:
    with pytest.raises(ValueError, match=".") as raised:
        list(encode_manifest(files, count))
    assert not isinstance(raised.value, ManifestError)


def test_the_order_is_that_of_bytes_and_not_of_utf_16() -> None:
    files = [FileMetadata("\uff5e", HASH, 0, 0), FileMetadata("\U0001f600", HASH, 0, 0)]
    assert decode(encode(files)) == files
    with pytest.raises(ValueError, match="ascend"):
        encode(files[::-1])


# --- streams ----------------------------------------------------------------------------------


def many_files(count: int) -> Iterator[FileMetadata]:
    return (FileMetadata(f"some/directory/file-{number:08d}", HASH, number, 0) for number in range(count))


class PieceReader:
    """A stream over pieces that are made as they are read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int = -1, /) -> bytes:
        return next(self._pieces, b"")


def test_writing_and_reading_take_bounded_memory() -> None:
    count = 50_000
    tracemalloc.start()
    try:
        pieces = PieceReader(encode_manifest(many_files(count), count))
        assert sum(1 for _ in decode_manifest(cast("BinaryIO", pieces))) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20  # the manifest is 8 MB


def test_pieces_are_neither_tiny_nor_large() -> None:
    sizes = [len(piece) for piece in encode_manifest(many_files(5_000), 5_000)]
    assert len(sizes) > 3
    assert all(1 << 16 <= size < 1 << 17 for size in sizes[:-1])


def test_files_are_handed_out_before_the_input_ends() -> None:
    count = 5_000
    taken: list[int] = []

    def noticed() -> Iterator[FileMetadata]:
        for number, file in enumerate(many_files(count)):
            taken.append(number)
            yield file

    files = decode_manifest(cast("BinaryIO", PieceReader(encode_manifest(noticed(), count))))
    assert next(files).size_bytes == 0
    assert len(taken) < count / 4


def test_the_source_is_not_closed() -> None:
    source = io.BytesIO(encode([A]))
    assert list(decode_manifest(source)) == [A]
    assert not source.closed


@pytest.mark.parametrize("good_reads", [0, 1, 2, 3])
def test_a_read_error_passes_through(good_reads: int) -> None:
    def pieces() -> Iterator[bytes]:
        yield from list(encode_manifest(many_files(2_000), 2_000))[:good_reads]
        raise OSError(5, "device gone")

    with pytest.raises(OSError, match="device gone"):
        list(decode_manifest(cast("BinaryIO", PieceReader(pieces()))))


def test_a_manifest_may_begin_anywhere_in_its_source() -> None:
    source = io.BytesIO(b"before" + encode([A, B]))
    source.seek(6)
    assert list(decode_manifest(source)) == [A, B]


def test_the_values_have_plain_types() -> None:
    (file,) = decode(encode([A]))
    values: tuple[Any, ...] = (file.path, file.content_hash, file.size_bytes, file.updated_at_ms)
    assert [type(value) for value in values] == [str, str, int, int]
