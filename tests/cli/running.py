"""How the tests run ``distfs``: in this process for most, as a real process where that is the point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from click.testing import CliRunner

from agent_world_distfs import LocalCasStore
from agent_world_distfs.faces.cli import cli


class Process(subprocess.Popen[bytes]):
    """Killed where the test that started it fails: nothing else would end it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, error, trace)


@dataclass(frozen=True)
class Outcome:
    """What one run of the command left."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """The one JSON error on standard error."""
        document = json.loads(self.stderr)
        assert list(document) == ["error"]
        error: dict[str, Any] = document["error"]
        assert list(error)[:2] == ["kind", "message"]
        return error


class Distfs:
    """Runs ``distfs`` on one store; ``place`` is where the caller's own files are."""

    def __init__(self, location: Path, place: Path) -> None:
        self.location = location
        self.place = place
        self.environment = {"DISTFS_STORE": str(location), "DISTFS_DEBUG": None}

    def __call__(self, *arguments: str | Path, stdin: bytes = b"", code: int = 0) -> Outcome:
        """Run in this process and expect the exit code."""
        words = [str(argument) for argument in arguments]
        result = CliRunner().invoke(cli, words, input=stdin, env=self.environment, catch_exceptions=False)
        outcome = Outcome(result.exit_code, result.stdout_bytes, result.stderr)
        assert outcome.code == code, outcome
        return outcome

    def json(self, *arguments: str | Path, stdin: bytes = b"", code: int = 0) -> Any:
        """Run with ``--json`` and return the document."""
        outcome = self(*arguments, "--json", stdin=stdin, code=code)
        assert outcome.stderr == ""
        return outcome.document

    def error(self, *arguments: str | Path, stdin: bytes = b"", code: int) -> dict[str, Any]:
        """Run with ``--json`` and return the error."""
        outcome = self(*arguments, "--json", stdin=stdin, code=code)
        assert outcome.stdout == b""
        return outcome.error

    def write(self, path: str, data: bytes) -> str:
        """Write ``data`` to ``path`` and return its hash."""
        return self("write", path, stdin=data).text.strip()

    def file(self, name: str, data: bytes) -> Path:
        """A file of the caller."""
        file = self.place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def store(self) -> LocalCasStore:
        """The store, opened beside the command."""
        return LocalCasStore(self.location)

    def start(self, *arguments: str | Path, **settings: Any) -> Process:
        """Start a real process; its streams are pipes unless ``settings`` say otherwise."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DISTFS")}
        environment |= {"DISTFS_STORE": str(self.location), "PYTHONFAULTHANDLER": "1"}
        environment |= settings.pop("env", {})
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        words = [sys.executable, "-m", "agent_world_distfs", *map(str, arguments)]
        return Process(words, cwd=self.place, env=environment, **(streams | settings))

    def process(self, *arguments: str | Path, stdin: bytes = b"", code: int = 0, **settings: Any) -> Outcome:
        """Run a real process to its end and expect the exit code."""
        with self.start(*arguments, **settings) as process:
            stdout, stderr = process.communicate(stdin, timeout=120)
        outcome = Outcome(process.returncode, stdout or b"", (stderr or b"").decode())
        assert outcome.code == code, outcome
        return outcome
