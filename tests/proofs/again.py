"""How to run one proof again, from what it printed when it failed."""

from __future__ import annotations

from pathlib import Path


def command_of(file: str, *arguments: object) -> str:
    """The line to type: a harness with a ``run`` is a program, too, and takes the arguments of ``run``."""
    script = Path(file).resolve().relative_to(Path(__file__).resolve().parents[2])
    places = "PYTHONPATH=tests:tests/proofs"
    return f"again: {places} .venv/bin/python {script} {' '.join(map(str, arguments))}"
