"""The examples run, at a small size."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def share_a_world(seconds: int, picture: Path) -> tuple[int, int, int]:
    """Tasks done, deaths, changes seen."""
    command = [sys.executable, str(EXAMPLES / "shared_world.py"), "--seconds", str(seconds), "--workers", "3"]
    done = subprocess.run(
        [*command, "--picture", picture], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    told = re.fullmatch(r"(\d+) tasks done, (\d+) deaths, (\d+) changes seen: .*\n", done.stdout)
    assert told is not None, done.stdout
    tasks, deaths, changes = map(int, told.groups())
    return tasks, deaths, changes


def test_a_planner_and_workers_share_a_world_although_some_die(tmp_path: Path) -> None:
    picture = tmp_path / "world.svg"
    tasks, deaths, changes = share_a_world(6, picture)
    if not (tasks and deaths):  # a slow machine
        tasks, deaths, changes = share_a_world(60, picture)
    assert tasks > 0
    assert deaths > 0
    assert changes > 2 * tasks
    lanes = {text.text for text in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")}
    assert "planner" in lanes
    assert lanes & {"worker 0", "worker 1", "worker 2"}
