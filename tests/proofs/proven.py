"""Which operation of the store each harness has: found out by carrying out what the harness carries out.

    PYTHONPATH=tests:tests/proofs .venv/bin/python tests/proofs/proven.py

prints the table of docs/proofs.md.

Whatever a class or the package offers in public is here an operation, unless it is told to change
nothing. So one that is new has a row without a mark, and the test of the table fails.
"""

from __future__ import annotations

import ast
import inspect
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import operations
import schedule_scenarios
import test_interrupts
from crowd import place_for
from replay.replaying import prepare_disk
from replay.steps import Scene, act
from replay.workloads import WORKLOADS

from agent_world_distfs import AgentSession, BlobLease, LocalCasStore, Transaction, WorldError

HERE = Path(__file__).parent

READS = frozenset(
    {
        "changes", "diff", "find_snapshot", "get", "get_verified", "has", "has_raised", "hash_bytes",
        "history", "is_pinned", "iter_files", "last_seq", "list_files", "list_files_at", "list_pins",
        "list_snapshots", "log_range", "open_blob", "open_file", "read_file", "read_file_at",
        "read_file_index_manifest", "read_file_with_metadata", "settings", "stat_file", "stat_file_at",
        "usage", "was_committed", "watch",
    }
)  # fmt: skip
"""What changes nothing: judged where somebody reads beside others, in its own tests, and by the model."""

FUNCTIONS = ("adopt_original", "repair_store", "restore_backup", "upgrade_store")
OWNERS: dict[str, type] = {
    "": LocalCasStore,
    "session.": AgentSession,
    "lease.": BlobLease,
    "tx.": Transaction,
}

LIKE = {
    "put": "write_file",
    "put_bytes": "write_file",
    "put_stream": "write_file_stream",
    "delete_files": "delete_file",
    "unpin": "pin",
    "import_tree": "write_files",
    "pull_manifest": "pull_index",
    "pull_index": "import_file_index_manifest",
    "adopt_original": "import_file_index_manifest",
    "undo_session": "undo_transaction",
    "checkout": "backup",
    "drop_snapshots": "drop_snapshot",
    "prune_snapshots": "drop_snapshot",
    "session.delete_file": "session.write_file",
    "session.overwrite_file": "session.write_file",
    "session.rename_file": "session.write_file",
    "lease.keep": "lease.put_bytes",
    "lease.put_stream": "lease.put_bytes",
    "tx.delete_file": "tx.write_file",
    "tx.delete_file_if_match": "tx.write_file",
    "tx.write_file_if_match": "tx.write_file",
    "tx.rename_file": "tx.write_file",
    "repair_store": "repair",
    "restore_backup": "backup",
}
"""Where a harness does not have the first, the second stands for it: its steps on disk and among others
are the same. Faults want each by itself."""

EXCUSED = {
    "pull_manifest": "faults have pull_index, which is the same with a manifest that it asks the source for",
    "upgrade_store": "there has been one format so far: it has nothing to change",
}
"""What a harness lacks that should have it, and why."""

REQUIRED = ("faults", "power loss", "schedules")


def names() -> list[str]:
    """All operations that change something."""
    found = [
        prefix + name
        for prefix, owner in OWNERS.items()
        for name, member in inspect.getmembers(owner, inspect.isfunction)
        if not name.startswith("_") and name not in READS
    ]
    return [*found, *FUNCTIONS]


# --- what is called -----------------------------------------------------------------------------------


@contextmanager
def heard() -> Iterator[set[str]]:
    """The operations that are called meanwhile, by whoever."""
    called: set[str] = set()
    honest: list[tuple[type, str, Any]] = []
    try:
        for prefix, owner in OWNERS.items():
            for name, member in inspect.getmembers(owner, inspect.isfunction):
                if prefix + name in names():
                    honest.append((owner, name, owner.__dict__.get(name)))
                    setattr(owner, name, _listening(member, prefix + name, called))
        yield called
    finally:
        for owner, name, member in honest:
            if member is None:
                delattr(owner, name)
            else:
                setattr(owner, name, member)


def _listening(member: Callable[..., Any], name: str, called: set[str]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        called.add(name)
        return member(*args, **kwargs)

    return method


def written_in(*modules: str) -> set[str]:
    """The operations whose names are called in the source of modules, for harnesses that draw by chance."""
    called = set()
    for module in modules:
        for node in ast.walk(ast.parse((HERE / f"{module}.py").read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                called.add(f"{owner}.{node.func.attr}" if f"{owner}." in OWNERS else node.func.attr)
    return called & set(names())


# --- what the harnesses carry out -----------------------------------------------------------------------


def of_operations(chosen: Iterable[str]) -> set[str]:
    """What these of ``operations.OPERATIONS`` call."""
    with place_for("proven", in_memory=True) as place:
        operations.prepare(place / "template")
        with heard() as called:
            for name in chosen:
                root = place / name
                for suffix in ("", ".other", ".tree"):
                    shutil.copytree(f"{place}/template{suffix}", f"{root}{suffix}")
                with LocalCasStore(root) as store:
                    operations.OPERATIONS[name].act(store, root)
    return called | ({"adopt_original"} & set(chosen))


def of_workloads() -> set[str]:
    """What the workloads of the replay call: one after the other on one disk, where some steps fail."""
    with place_for("proven", in_memory=True) as place, heard() as called:
        root = place / "disk"
        root.mkdir()
        prepare_disk(root)
        for workload in WORKLOADS:
            scenes = {step.actor: Scene(root, "relaxed") for step in workload.steps}
            for step in workload.steps:
                if step.kind not in ("stuck write", "import big tree", "hurt", "rebuild", "rebuild in part"):
                    act(scenes[step.actor], step)
            for scene in scenes.values():
                scene.close()
    kinds = {step.kind for workload in WORKLOADS for step in workload.steps}
    functions = {"restore": "restore_backup", "rebuild": "repair_store"}
    return called | {name for kind, name in functions.items() if kind in kinds}


def of_schedules() -> set[str]:
    """What the parts of forced schedules call."""
    scenarios = schedule_scenarios.TWO | schedule_scenarios.LONG | schedule_scenarios.THREE
    parts = {part: name for name, parts in scenarios.items() for part in parts}
    with place_for("proven", in_memory=True) as place:
        for name in set(parts.values()):
            schedule_scenarios.make_template(place / name, name)
        with heard() as called:
            for part, name in parts.items():
                with LocalCasStore(place / name) as store, suppress(WorldError):
                    part.act(store)
    return called


_RECOVERIES = {name.replace("-", "_") for name in operations.RECOVERIES} - {"restore"} | {"restore_backup"}

HARNESSES: dict[str, Callable[[], set[str]]] = {
    "faults": lambda: of_operations(operations.OPERATIONS) | _RECOVERIES | {"adopt_original"},
    "interrupts": lambda: of_operations(test_interrupts.NAMES),
    "power loss": of_workloads,
    "schedules": of_schedules,
    "by chance": lambda: written_in(
        "kill_work", "soak_work", "serial_work", "bank", "histories", "test_model"
    ),
}
"""What each has. The last one counts what its source calls: it draws what it does."""


def table() -> list[str]:
    """Lines of Markdown."""
    called = {harness: find() for harness, find in HARNESSES.items()}
    lines = [f"| Operation | {' | '.join(called)} |", f"| --- {'| --- ' * len(called)}|"]
    for name in dict.fromkeys(names()):
        cells = [_cell(name, harness, has) for harness, has in called.items()]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def _cell(name: str, harness: str, has: set[str]) -> str:
    if name in has:
        return "yes"
    other = LIKE.get(name, "")
    while harness != "faults" and other and other not in has:
        other = LIKE.get(other, "")
    return f"as `{other}`" if other and other in has and harness != "faults" else ""


if __name__ == "__main__":
    print("\n".join(table()))
