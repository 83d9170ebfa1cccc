"""The directory into the store: in one step, or, if not all of it can be read, what can be."""

from __future__ import annotations

from agent_world_distfs import (
    LocalCasStore,
    PathInvalidError,
    Progress,
    StorageError,
    StorageFullError,
    TreeImportReport,
    UnavailableError,
    WorldError,
)
from agent_world_distfs.faces.tour.disk import Disk, as_told
from agent_world_distfs.faces.tour.facts import Stored


def store_tree(store: LocalCasStore, prefix: str, directory: str, progress: Progress | None) -> Stored:
    """Bring the directory in; progress in files."""
    refused_because = None
    try:
        report = store.import_tree(directory, prefix.rstrip("/"), progress=progress)
    except StorageFullError:
        raise
    except (StorageError, UnavailableError) as refusal:
        refused_because = str(refusal)
        report = store_file_by_file(store, prefix, directory, progress)
    sizes = [file.size_bytes for file in store.iter_files(prefix=prefix)]
    return Stored(
        len(sizes),
        sum(sizes),
        report.total_files,
        report.total_bytes,
        tuple(path.removeprefix(prefix) for path in report.skipped_paths),
        refused_because,
    )


def store_file_by_file(
    store: LocalCasStore, prefix: str, directory: str, progress: Progress | None
) -> TreeImportReport:
    """Store what can be read, and leave out the rest; progress in files."""
    total_files = total_bytes = 0
    skipped_paths = []
    with Disk(directory) as disk:
        for path, is_file in disk.walk():
            size_bytes = _store_file(store, prefix, disk, path) if is_file else None
            if size_bytes is None:
                skipped_paths.append(prefix + as_told(path))
                continue
            total_files, total_bytes = total_files + 1, total_bytes + size_bytes
            if progress is not None:
                progress(total_files, None)
    return TreeImportReport(total_files, total_bytes, total_files, 0, 0, tuple(sorted(skipped_paths)))


def _store_file(store: LocalCasStore, prefix: str, disk: Disk, path: str) -> int | None:
    """Its size; None if it cannot be read, or its name not be stored."""
    try:
        with disk.open(path) as source:
            return store.write_file_stream(prefix + path, source).size_bytes
    except PathInvalidError:
        return None
    except WorldError:
        raise
    except OSError:
        return None
