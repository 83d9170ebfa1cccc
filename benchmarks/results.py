"""What was measured, kept as JSON, so that pages and plots can be made of it again."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import apsw

from benchmarks.contest import Samples

PACKAGES = ("apsw", "blake3", "diskcache", "hashfs", "dulwich", "dvc-data", "pygit2")
COMMANDS = (("git", "--version"), ("borg", "--version"), ("restic", "version"))


@dataclass(frozen=True)
class Result:
    """Of one row. ``load``: the machine's, before and after. ``missing``: who took no part, and for what."""

    rounds: int
    scale: dict[str, float]
    load: tuple[float, float]
    system: dict[str, str]
    missing: dict[str, str]
    samples: Samples


def describe_system(place: Path) -> dict[str, str]:
    """What ran where."""
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "file system": said("stat", "--file-system", "--format=%T", str(place)) or "unknown",
        "Python": platform.python_version(),
        "SQLite": apsw.sqlite_lib_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    for name, argument in COMMANDS:
        words = [word for word in said(name, argument).split() if word[0].isdigit()]
        if words:
            found[name] = words[0]
    return found


def said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def load(path: Path) -> dict[str, Result]:
    """By key of the row."""
    return {key: Result(**told) for key, told in json.loads(path.read_text("utf-8")).items()}


def save(results: dict[str, Result], path: Path) -> None:
    """Whole or not at all: a run may be interrupted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({key: asdict(one) for key, one in results.items()}, indent=1) + "\n", "utf-8")
    draft.replace(path)
