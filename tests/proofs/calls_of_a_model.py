"""Calls that a store and its model can both be given, drawn at random, printed short."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from model import Model

from agent_world_distfs import ABSENT, FileIndexManifestRef, LocalCasStore

CONTENTS = {
    "empty": b"",
    "tiny": b"t",
    "small": b"s" * 500,
    "the largest inline": b"i" * 8_192,
    "the smallest file": b"f" * 8_193,
    "large": b"l" * 40_000,
    "other large": b"o" * 70_000,
}
PATHS = ["a", "a/b", "a0", "\uff5e", "\U0001f600", "z"]
SPELLINGS = [*PATHS, "./a//b", "z/."]


@dataclass(frozen=True)
class Data:
    """The bytes of one content."""

    name: str


@dataclass(frozen=True)
class Stream:
    """The same as a stream."""

    name: str


@dataclass(frozen=True)
class HashOf:
    """Its hash, in the algorithm of the store."""

    name: str


@dataclass(frozen=True)
class Held:
    """What the path that is about to change holds: the condition that is met."""


@dataclass(frozen=True)
class Ref:
    """One of the manifests exported so far; of one never stored where there are none."""

    number: int


@dataclass(frozen=True)
class HashOfRef:
    """Its hash."""

    number: int


@dataclass(frozen=True)
class Call:
    """One method with its arguments, some of which are known only when it is called."""

    method: str
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        given = [repr(each) for each in self.arguments]
        return f"{self.method}({', '.join(given + [f'{name}={value!r}' for name, value in self.options])})"

    def on(self, target: LocalCasStore | Model, refs: list[FileIndexManifestRef]) -> Any:
        """Call it; lists and iterators come as lists, readers as what they give."""
        arguments = [self._resolve(each, target, refs) for each in self.arguments]
        options = {name: self._resolve(value, target, refs) for name, value in self.options}
        answer = getattr(target, self.method)(*arguments, **options)
        return list(answer) if self.method == "iter_files" else answer

    def _resolve(self, value: Any, target: LocalCasStore | Model, refs: list[FileIndexManifestRef]) -> Any:
        match value:
            case Data(name):
                return CONTENTS[name]
            case Stream(name):
                return io.BytesIO(CONTENTS[name])
            case HashOf(name):
                return target.hash_bytes(CONTENTS[name])
            case Ref(number):
                return _ref(number, refs)
            case HashOfRef(number):
                return _ref(number, refs).content_hash
            case Held():
                path = self.arguments[self.method in ("copy_file", "rename_file")]
                value = ABSENT if (held := target.stat_file(path)) is None else held.content_hash
        return value


def _ref(number: int, refs: list[FileIndexManifestRef]) -> FileIndexManifestRef:
    return refs[number % len(refs)] if refs else FileIndexManifestRef("0" * 64, 100)


names = st.sampled_from(list(CONTENTS))
paths = st.sampled_from(PATHS)
spellings = st.sampled_from(SPELLINGS)
some_data = names.map(Data)
numbers = st.integers(0, 3)
hashes = st.one_of(names.map(HashOf), numbers.map(HashOfRef))
conditions = st.one_of(st.none(), st.just(Held()), st.just(ABSENT), names.map(HashOf))
flags = st.booleans()


def _call(method: str, *arguments: Any, **options: Any) -> st.SearchStrategy[Call]:
    drawn = st.fixed_dictionaries(options).map(lambda values: tuple(values.items()))
    return st.builds(Call, st.just(method), st.tuples(*arguments), drawn)


writes = st.one_of(
    _call("write_file", spellings, some_data),
    _call("write_file_if_match", spellings, conditions, some_data),
    _call("write_file_stream", spellings, names.map(Stream), expected_content_hash=conditions),
    _call("put_bytes", some_data),
    names.map(lambda name: Call("put", (HashOf(name), Data(name)))),
    _call("put", hashes, some_data),
    _call("put_stream", names.map(Stream), expected_content_hash=st.one_of(st.none(), names.map(HashOf))),
)
moves = st.one_of(
    _call("link_file", spellings, hashes, expected_content_hash=conditions),
    _call("copy_file", spellings, spellings, expected_content_hash=conditions),
    _call("rename_file", spellings, spellings, expected_content_hash=conditions),
)
removals = st.one_of(
    _call("delete_file", spellings),
    _call("delete_file_if_match", spellings, conditions),
    _call("delete_files", st.lists(spellings, max_size=6)),
    _call("pin", hashes),
    _call("unpin", hashes),
    _call("prune_orphan_blobs"),
)
exchanges = st.one_of(
    _call("export_file_index_manifest", pin=flags),
    _call("import_file_index_manifest", numbers.map(Ref)),
    _call(
        "import_file_index_manifest",
        numbers.map(Ref),
        expected_current=st.one_of(st.none(), numbers.map(Ref)),
    ),
)
changes = st.one_of(writes, moves, removals, exchanges)
reads = st.one_of(
    _call("get", hashes),
    _call("has", hashes),
    _call("read_file", spellings),
    _call("read_file_with_metadata", spellings),
    _call("stat_file", spellings),
    _call(
        "list_files",
        prefix=st.sampled_from(["", "a", "a/", "\u00e9", "zz"]),
        start_after=st.one_of(st.just(""), paths, st.just("a/z")),
        limit=st.one_of(st.none(), st.integers(0, 4)),
    ),
    _call("iter_files", prefix=st.sampled_from(["", "a/", "z"])),
    _call("list_pins"),
    _call("is_pinned", hashes),
    _call("audit_file_index", verify=flags),
    _call("prune_orphan_blobs", dry_run=st.just(True)),
    _call("read_file_index_manifest", numbers.map(Ref)),
    _call(
        "import_file_index_manifest",
        numbers.map(Ref),
        dry_run=st.just(True),
        expected_current=st.one_of(st.none(), numbers.map(Ref)),
    ),
)
