"""What ``docs/commands.md`` tells of each command, and the commands that there are."""

from __future__ import annotations

import re
from pathlib import Path

import click

from agent_world_distfs.faces.cli import cli

ROOT = Path(__file__).parent.parent.parent
ORIGINAL = ROOT / "tests" / "data" / "original-store" / "reference-store"
REFERENCE = (ROOT / "docs" / "commands.md").read_text("utf-8")
COMMANDS: dict[str, click.Command] = {}
"""Those of groups by both words."""

for _name, _command in cli.commands.items():
    _below = _command.commands if isinstance(_command, click.Group) else {}
    COMMANDS |= {f"{_name} {verb}": each for verb, each in _below.items()} or {_name: _command}
GROUPS = sorted({name.split()[0] for name in COMMANDS if " " in name})


def sections() -> dict[str, str]:
    """The sections of the reference about one command each, by its name."""
    parts = re.split(
        rf"^### `distfs ((?:(?:{'|'.join(GROUPS)}) )?[a-z-]+)[^\n]*`\n", REFERENCE, flags=re.MULTILINE
    )
    return dict(
        zip(
            parts[1::2], (re.split(r"^## ", part, flags=re.MULTILINE)[0] for part in parts[2::2]), strict=True
        )
    )
