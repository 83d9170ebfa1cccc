"""What is believed of the rows: the first set whose number and digest are those of the last commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent_world_distfs.catalog.checksums import Checksums, sum_up, take_from_digest
from agent_world_distfs.catalog.pages import Record
from agent_world_distfs.catalog.salvage.found import Found
from agent_world_distfs.catalog.salvage.logged import Logged
from agent_world_distfs.catalog.salvage.proving import prove_blob, prove_snapshot
from agent_world_distfs.catalog.salvage.results import Blob, Entry, Hints, Salvage
from agent_world_distfs.catalog.snapshots import snapshot_row
from agent_world_distfs.paths import is_path
from agent_world_distfs.records import FileMetadata, Snapshot


class Rows:
    """State, entries, pins and snapshots, as far as checksums prove them."""

    def __init__(self, result: Salvage, found: Found, hints: Hints, checksums: Checksums) -> None:
        self._result, self._found, self._hints, self._checksums = result, found, hints, checksums
        self._log = Logged(found, checksums)
        self._known = {*result.blobs.items(), *result.former_blobs.items()}
        self._known |= hints.blobs | self._log.blobs()
        self._known |= {(raw, 0) for raw in hints.pins - result.blobs.keys()}
        self._known |= {(bytes.fromhex(file.content_hash), file.size_bytes) for file in hints.files}
        self._by_id: dict[int, Blob] = {
            record.rowid or 0: blob
            for record in sorted(found.blobs, key=lambda record: not record.is_free)
            if (blob := prove_blob(record, checksums)) is not None
        }

    def take(self) -> None:
        """Put what is believed into the result."""
        result = self._result
        if self._log.commits:
            result.highest_sequence = max(self._log.commits)
            result.commit = self._log.commits[result.highest_sequence][0]
        self._take_settings()
        result.is_index_proven = self._take_entries()
        result.is_proven = all((self._take_pins(), self._take_snapshots(), result.is_index_proven))
        if (state := result.commit) is not None:
            result.lost_pins = max(0, state.total_pins - len(result.pins))
            result.lost_snapshots = max(0, state.total_snapshots - len(result.snapshots))

    def _take_settings(self) -> None:
        result = self._result
        for record in self._found.settings:
            match record.values:
                case (str() as name, str() as value, checksum):
                    if self._checksums.setting(name, value) == checksum:
                        result.settings[name] = value
                    else:
                        result.damaged_settings.add(name)
        result.damaged_settings -= result.settings.keys()

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
        # The newest commits may be lost: the change log without them would bring back old content.
        result.entries = used
        result.lost_files = None if state is None else max(0, state.total_files - len(used))
        result.doubtful_paths = {*others, *theirs, *self._log.changes} - used.keys()
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
        for path, file in self._log.changes.items():
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
            snapshot = prove_snapshot(record, self._checksums)
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
