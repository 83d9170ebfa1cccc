"""What is left of a damaged catalog: the rows that their checksums prove, wherever they stand.

See decision 14 for what is believed and why. Entries are sought in tiers, the safest first, and the
first set whose number and digest are those of the last commit is the index, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from agent_world_distfs.catalog.change_format import PART_BYTES, decode_changes
from agent_world_distfs.catalog.checksums import Checksums, sum_up, take_from_digest
from agent_world_distfs.catalog.commits import Commit, Deed
from agent_world_distfs.catalog.failures import MALFORMED
from agent_world_distfs.catalog.pages import PageFile, Record
from agent_world_distfs.catalog.snapshots import snapshot_of, snapshot_row
from agent_world_distfs.paths import is_path
from agent_world_distfs.protocols import PathChange
from agent_world_distfs.records import FileMetadata, HashAlgorithm, Snapshot

_STATE, _DEED = len(fields(Commit)), len(fields(Deed))
_KEY_BYTES = 32
_LONGEST_CHANGE = 4_096 + 256

Blob = tuple[bytes, int]
"""Content hash and size."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the index."""

    content_hash: bytes
    size_bytes: int
    updated_at_ms: int
    checksum: bytes


@dataclass(slots=True)
class Hints:
    """What others know: keys of copies of this store; blobs, entries, pins and snapshots that it may have."""

    keys: list[bytes] = field(default_factory=list)
    blobs: set[Blob] = field(default_factory=set)
    files: list[FileMetadata] = field(default_factory=list)
    pins: set[bytes] = field(default_factory=set)
    snapshots: list[Snapshot] = field(default_factory=list)


@dataclass(slots=True)
class Salvage:
    """What a new catalog can be made of. ``payloads``: where the bytes of inline blobs stand.

    ``former_blobs``: rows of pages that are not in use, which may be needed all the same.
    ``commit``: the last state that is known. ``lost_files``: how many more entries there were, None if
    nothing tells; ``doubtful_paths``: what they may have been. ``is_proven``: entries, pins and snapshots
    are exactly those of the last state.
    """

    key: bytes | None
    algorithm: HashAlgorithm | None
    commit: Commit | None = None
    highest_sequence: int = 0
    highest_blob_id: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    pins: set[bytes] = field(default_factory=set)
    snapshots: list[Snapshot] = field(default_factory=list)
    blobs: dict[bytes, int] = field(default_factory=dict)
    former_blobs: dict[bytes, int] = field(default_factory=dict)
    payloads: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    schema: dict[str, str] = field(default_factory=dict)
    lost_files: int | None = None
    doubtful_paths: set[str] = field(default_factory=set)
    is_proven: bool = False


def salvage(pages: PageFile, hints: Hints, hash_of: Callable[[HashAlgorithm, bytes], bytes]) -> Salvage:
    """Read every page. The payloads are only looked up again; see ``payload_of``."""
    found = _Found()
    for record in pages.records():
        found.sort_in(record)
    key = _find_key(found, hints)
    result = Salvage(key, found.algorithm, settings=found.settings, schema=found.schema)
    result.highest_blob_id = max((record.rowid or 0 for record in found.blobs), default=0)
    _take_blobs(result, found, hash_of)
    if key is not None:
        _Rows(result, found, hints, Checksums(key)).take()
    return result


def payload_of(pages: PageFile, place: tuple[int, int]) -> bytes | None:
    """The bytes of an inline blob."""
    record = pages.record_at(place)
    payload = None if record is None or len(record.values) != 5 else record.values[4]
    return payload if isinstance(payload, bytes) else None


class _Found:
    """Records by the table that they look like."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.algorithm: HashAlgorithm | None = None
        self.commits: list[Record] = []
        self.blobs: list[Record] = []
        self.files: list[Record] = []
        self.pins: list[Record] = []
        self.snapshots: list[Record] = []
        self.settings: dict[str, str] = {}
        self.schema: dict[str, str] = {}

    def sort_in(self, record: Record) -> None:
        if record.rowid is None:
            self._sort_in_index(record)
        else:
            self._sort_in_table(record)

    def _sort_in_index(self, record: Record) -> None:
        match record.values:
            case (int(), str(), int(), int(), bytes()):
                self.files.append(record)
            case (str(), bytes(), int(), int(), int(), str(), bytes()):
                self.snapshots.append(record)
            case (str() as name, str() as value) if not record.is_free:
                self.settings[name] = value

    def _sort_in_table(self, record: Record) -> None:
        match record.values:
            case (None, bytes(), int(), bytes(), bytes() | None):
                self.blobs.append(record)
            case (None, bytes()):
                self.pins.append(record)
            case (None, str() as algorithm, bytes() as key):
                self.keys.append(key)
                if algorithm in {each.value for each in HashAlgorithm}:
                    self.algorithm = HashAlgorithm(algorithm)
            case (str(), str() as name, str(), int(), str() as sql):
                self.schema[name] = sql
            case (None, bytes(), *_) if len(record.values) == _STATE + _DEED + 2:
                self.commits.append(record)


# --- the key ------------------------------------------------------------------------------------


def _find_key(found: _Found, hints: Hints) -> bytes | None:
    """The key under which rows are right; one that a bit has flipped in is tried bit by bit."""
    whole = [key for key in [*found.keys, *hints.keys] if len(key) == _KEY_BYTES]
    for key in whole:
        if _fits(key, found):
            return key
    flipped = (_flip(key, bit) for key in found.keys if len(key) == _KEY_BYTES for bit in range(256))
    return next((key for key in flipped if _fits(key, found)), None)


def _flip(key: bytes, bit: int) -> bytes:
    return (int.from_bytes(key, "big") ^ 1 << bit).to_bytes(_KEY_BYTES, "big")


def _fits(key: bytes, found: _Found) -> bool:
    checksums = Checksums(key)
    return any(_blob(record, checksums) is not None for record in found.blobs[:20]) or any(
        _commit(record, checksums) is not None for record in found.commits[:20]
    )


# --- rows ---------------------------------------------------------------------------------------


def _blob(record: Record, checksums: Checksums) -> Blob | None:
    _, raw, size_bytes, checksum, payload = record.values
    try:
        right = checksums.blob(raw, size_bytes, is_inline=payload is not None)  # type: ignore[arg-type]
    except MALFORMED:
        return None
    return (raw, size_bytes) if right == checksum else None  # type: ignore[return-value]


def _commit(record: Record, checksums: Checksums) -> Commit | None:
    values: tuple[Any, ...] = record.values
    try:
        commit = Commit(record.rowid or 0, *values[1:_STATE])
        return commit if commit.checksum(checksums) == values[_STATE] else None
    except MALFORMED:
        return None


def _snapshot(record: Record, checksums: Checksums) -> Snapshot | None:
    try:
        snapshot = snapshot_of(record.values)
        return snapshot if checksums.snapshot(snapshot) == record.values[-1] else None
    except MALFORMED:
        return None


def _deed(record: Record, checksums: Checksums) -> Deed | None:
    values: tuple[Any, ...] = record.values
    try:
        deed = Deed(*values[_STATE + 1 : -1])
        is_right = deed.checksum(checksums, record.rowid or 0, further_parts=0) == values[-1]
        return deed if is_right else None
    except MALFORMED:
        return None


def _take_blobs(result: Salvage, found: _Found, hash_of: Callable[[HashAlgorithm, bytes], bytes]) -> None:
    """Rows that their checksum or, of inline ones, their content proves."""
    checksums = None if result.key is None else Checksums(result.key)
    for record in sorted(found.blobs, key=lambda record: record.is_free):  # those in use first
        raw, payload = record.values[1], record.values[4]
        assert isinstance(raw, bytes)
        blob = None if checksums is None else _blob(record, checksums)
        if isinstance(payload, bytes):
            algorithm = _algorithm_of(raw, payload, hash_of)
            if algorithm is not None:
                result.algorithm = result.algorithm or algorithm
                result.payloads.setdefault(raw, record.place)
                blob = raw, len(payload)
        if blob is not None:
            (result.former_blobs if record.is_free else result.blobs).setdefault(raw, blob[1])


def _algorithm_of(
    raw: bytes, payload: bytes, hash_of: Callable[[HashAlgorithm, bytes], bytes]
) -> HashAlgorithm | None:
    return next((each for each in HashAlgorithm if hash_of(each, payload) == raw), None)


class _Rows:
    """State, entries and pins, as far as checksums prove them."""

    def __init__(self, result: Salvage, found: _Found, hints: Hints, checksums: Checksums) -> None:
        self._result, self._found, self._hints, self._checksums = result, found, hints, checksums
        self._commits = {
            record.rowid or 0: (commit, record)
            for record in found.commits
            if (commit := _commit(record, checksums)) is not None
        }
        self._logged = dict(self._last_changes())
        self._known = {*result.blobs.items(), *result.former_blobs.items()}
        self._known |= hints.blobs | self._logged_blobs()
        self._known |= {(raw, 0) for raw in hints.pins - result.blobs.keys()}
        self._known |= {(bytes.fromhex(file.content_hash), file.size_bytes) for file in hints.files}
        self._by_id: dict[int, Blob] = {
            record.rowid or 0: blob
            for record in sorted(found.blobs, key=lambda record: not record.is_free)
            if (blob := _blob(record, checksums)) is not None
        }

    def take(self) -> None:
        result = self._result
        if self._commits:
            result.highest_sequence = max(self._commits)
            result.commit = self._commits[result.highest_sequence][0]
        is_whole = self._take_entries()
        result.is_proven = all((self._take_pins(), self._take_snapshots(), is_whole))

    # --- the change log

    def _last_changes(self) -> Iterator[tuple[str, FileMetadata | None]]:
        """What became of each path last, as far back as the log is unbroken. Older ones come first."""
        steps: list[list[PathChange]] = []
        sequence = max(self._commits, default=-1)
        while sequence in self._commits:
            changes = self._changes_of(self._commits[sequence][1])
            if changes is None:
                break
            steps.append(changes)
            sequence -= 1
        for changes in reversed(steps):
            for change in changes:
                yield change.path, change.after

    def _changes_of(self, record: Record) -> list[PathChange] | None:
        """None where they are not known, or not all of them."""
        if record.values[_STATE + 1] is None:
            return []
        deed = _deed(record, self._checksums)
        if deed is None or deed.imported is not None or len(deed.changes) + _LONGEST_CHANGE > PART_BYTES:
            return None
        try:
            return list(decode_changes(deed.changes))
        except MALFORMED:
            return None

    def _logged_blobs(self) -> set[Blob]:
        files = (file for file in self._logged.values() if file is not None)
        return {(bytes.fromhex(file.content_hash), file.size_bytes) for file in files}

    # --- entries

    def _take_entries(self) -> bool:
        """Whether they are exactly those of the last state."""
        used, others = self._entries_of_rows()
        logged = self._with_log(used)
        theirs = {file.path: self._entry(file) for file in self._hints.files}
        tiers: list[Callable[[], dict[str, Entry]]] = [
            lambda: used,
            lambda: logged,
            lambda: others | used,
            lambda: self._with_log(others | used),
            lambda: theirs | used,
            lambda: self._with_log(theirs | used),
            lambda: self._with_one_more(logged, [*others.items(), *theirs.items()]),
        ]
        result = self._result
        state = result.commit
        for tier in tiers if state is not None else []:
            entries = tier()
            if sum_up(entry.checksum for entry in entries.values()) == (state.total_files, state.digest):  # type: ignore[union-attr]
                result.entries, result.lost_files = entries, 0
                return True
        # The newest commits may be lost: the log without them would bring back old content.
        result.entries = used
        result.lost_files = None if state is None else max(0, state.total_files - len(used))
        result.doubtful_paths = {*others, *theirs, *self._logged} - used.keys()
        return False

    def _entries_of_rows(self) -> tuple[dict[str, Entry], dict[str, Entry]]:
        """Those of pages in use and of the index; and all others that were right at some time."""
        used: dict[str, Entry] = {}
        others: dict[str, Entry] = {}
        generation = self._generation()
        for record in self._found.files:
            is_used = not record.is_free and record.values[0] == generation
            resolved = self._resolve(record, self._known if is_used else set())
            if resolved is not None:
                path, entry = resolved
                (used if is_used else others)[path] = entry
        return used, others

    def _generation(self) -> int:
        if self._result.commit is not None:
            return self._result.commit.generation
        return max((int(record.values[0] or 0) for record in self._found.files), default=1)

    def _resolve(self, record: Record, known: set[Blob]) -> tuple[str, Entry] | None:
        """The entry of a row; its blob is the one, of those ``known``, that makes the checksum right."""
        _, path, blob_id, updated_at_ms, checksum = record.values
        assert isinstance(path, str)
        assert isinstance(blob_id, int)
        assert isinstance(updated_at_ms, int)
        assert isinstance(checksum, bytes)
        if not is_path(path):
            return None
        meant = self._by_id.get(blob_id)
        for blob in [*([] if meant is None else [meant]), *known]:
            if self._checksums.file(path, *blob, updated_at_ms) == checksum:
                return path, Entry(*blob, updated_at_ms, checksum)
        return None

    def _entry(self, file: FileMetadata) -> Entry:
        raw = bytes.fromhex(file.content_hash)
        checksum = self._checksums.file(file.path, raw, file.size_bytes, file.updated_at_ms)
        return Entry(raw, file.size_bytes, file.updated_at_ms, checksum)

    def _with_log(self, entries: dict[str, Entry]) -> dict[str, Entry]:
        changed = dict(entries)
        for path, file in self._logged.items():
            if file is None:
                changed.pop(path, None)
            else:
                changed[path] = self._entry(file)
        return changed

    def _with_one_more(
        self, entries: dict[str, Entry], pool: Iterable[tuple[str, Entry]]
    ) -> dict[str, Entry]:
        """Where just one is missing, the digest says which it is."""
        state = self._result.commit
        count, digest = sum_up(entry.checksum for entry in entries.values())
        if state is None or state.total_files != count + 1:
            return entries
        wanted = take_from_digest(state.digest, digest)
        more = next(((path, entry) for path, entry in pool if entry.checksum == wanted), None)
        return entries if more is None else entries | dict([more])

    # --- pins

    def _take_pins(self) -> bool:
        by_checksum = {self._checksums.pin(raw): raw for raw, _ in self._known}
        used, others = set[bytes](), set[bytes]()
        for record in self._found.pins:
            checksum = record.values[1]
            if isinstance(checksum, bytes) and checksum in by_checksum:
                (others if record.is_free else used).add(checksum)
        state = self._result.commit
        right, is_proven = used, False
        theirs = {self._checksums.pin(raw) for raw in self._hints.pins} & by_checksum.keys()
        for tier in (used, used | others, used | theirs, self._with_one_more_pin(used, by_checksum)):
            if state is not None and sum_up(tier) == (state.total_pins, state.pin_digest):
                right, is_proven = tier, True
                break
        self._result.pins = {by_checksum[checksum] for checksum in right}
        return is_proven

    def _with_one_more_pin(self, pins: set[bytes], known: dict[bytes, bytes]) -> set[bytes]:
        state = self._result.commit
        count, digest = sum_up(pins)
        if state is None or state.total_pins != count + 1:
            return pins
        wanted = take_from_digest(state.pin_digest, digest)
        return pins | ({wanted} & known.keys())

    # --- snapshots

    def _take_snapshots(self) -> bool:
        """Whether they are exactly those of the last state; a dropped one only comes back if they are."""
        used, others = dict[str, Snapshot](), dict[str, Snapshot]()
        for record in self._found.snapshots:
            snapshot = _snapshot(record, self._checksums)
            if snapshot is not None:
                (others if record.is_free else used)[snapshot.name] = snapshot
        theirs = {each.name: each for each in self._hints.snapshots}
        state = self._result.commit
        for tier in (used, others | used, theirs | used):
            rows = [snapshot_row(each, self._checksums) for each in tier.values()]
            found = sum_up(row[-1] for row in rows)
            if state is not None and found == (state.total_snapshots, state.snapshot_digest):
                self._result.snapshots = list(tier.values())
                return True
        self._result.snapshots = list(used.values())
        return False
