"""Help and reference: each command explains itself, and docs/commands.md tells all of it and no more."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from agent_world_distfs import __version__
from agent_world_distfs.faces.cli import cli
from agent_world_distfs.faces.cli.failures import ExitCode
from agent_world_distfs.faces.cli.options import StoreCommand
from cli.reference import COMMANDS, GROUPS, ORIGINAL, REFERENCE, sections
from cli.running import Distfs

ISSUED = {
    *("init", "write", "read", "rm", "mv", "cp", "ls", "stat", "put", "get", "pin", "unpin", "pins"),
    *("update", "log", "history", "diff", "watch", "undo", "settings", "expire"),
    *("audit", "prune", "export", "import", "pull", "adopt", "import-tree", "checkout", "upgrade", "tour"),
    *("repair", "backup", "restore", "du"),
    *(f"snapshot {verb}" for verb in ("create", "list", "show", "diff", "restore", "drop", "prune", "fork")),
}
SHARED = {"--store", "--json", "--help"}


def options(command: click.Command) -> set[str]:
    """The option names that are the command's own."""
    names = {
        name for parameter in command.params if isinstance(parameter, click.Option) for name in parameter.opts
    }
    return names - SHARED


def usage(command: click.Command) -> str:
    """The arguments as the help shows them: ``PATH [SOURCE]``."""
    context = click.Context(command, info_name=command.name)
    return " ".join(
        parameter.make_metavar(context)
        for parameter in command.params
        if isinstance(parameter, click.Argument)
    )


def test_the_commands_are_those_that_are_promised() -> None:
    assert set(COMMANDS) == ISSUED


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_help_has_examples_and_both_shared_options(distfs: Distfs, name: str) -> None:
    for flag in ("--help", "-h"):
        text = distfs(*name.split(), flag).text
        assert f"Usage: distfs {name} [OPTIONS]" in text
        assert "--store LOCATION" in text
        assert "--json" in text
        assert re.search(rf"^Examples:\n  .*distfs {name}\b", text, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_examples_of_the_help_are_valid_command_lines(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, StoreCommand)
    for example in command.examples:
        plain = re.sub(r"\$\(cat [^)]*\)|\$REF|\$\(distfs export[^)]*\)", "0" * 64 + ":1", example)
        plain = re.sub(r"\$HASH|\$\([^)]*\)", "0" * 64, plain)
        for line in re.findall(r"distfs ([^|>]*)", plain):
            words = line.split()
            if words[: len(name.split())] == name.split():
                command.make_context(name, words[len(name.split()) :])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_examples_of_the_help_mean_the_same_to_every_shell(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, StoreCommand)
    for example in command.examples:  # zsh refuses a bracket that matches no file
        assert re.search(r"jq (?:-r )?[^' -]*\[", example) is None


def test_the_version_is_that_of_the_code_that_runs(distfs: Distfs, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_not_installed(name: str) -> str:  # a checkout that is on the path
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", is_not_installed)
    assert distfs("--version").text == f"distfs {__version__}\n"


def test_the_top_help_lists_every_command_in_a_section(distfs: Distfs) -> None:
    text = distfs("--help").text
    for name in cli.commands:
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE), name


@pytest.mark.parametrize("words", [[], *([name] for name in GROUPS)], ids=" ".join)
@pytest.mark.parametrize("columns", ["40", "80"])
def test_no_list_of_commands_cuts_a_sentence_off(distfs: Distfs, words: list[str], columns: str) -> None:
    text = distfs.process(*words, "--help", env={"COLUMNS": columns}).text
    assert re.search(r"\w,?\.\.\.$", text, re.MULTILINE) is None


def test_the_reference_tells_of_every_command_and_no_other() -> None:
    assert sorted(sections()) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_reference_tells_of_every_option_and_no_other(name: str) -> None:
    told = set(re.findall(r"^- `(--[a-z-]+)", sections()[name], re.MULTILINE))
    assert told == options(COMMANDS[name])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_reference_shows_the_arguments_as_the_help_does(name: str) -> None:
    heading = re.search(rf"^### `distfs {name}( [^\n]*)?`$", REFERENCE, re.MULTILINE)
    assert heading is not None
    assert (heading[1] or "").strip() == usage(COMMANDS[name])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_reference_shows_the_document_of_each_command(name: str) -> None:
    assert "```json\n" in sections()[name]


def test_the_reference_tells_of_every_exit_code_and_no_other() -> None:
    told = re.findall(r"^\| (\d+) \|", REFERENCE, re.MULTILINE)
    assert [int(code) for code in told] == sorted(ExitCode)


# --- its examples run -------------------------------------------------------------------------


def sessions() -> list[tuple[str, str]]:
    """The command lines of the reference, in order, with what they print."""
    blocks = re.findall(r"^```console\n(.*?)^```$", REFERENCE, re.MULTILINE | re.DOTALL)
    steps = re.findall(r"^\$ (.*?)\n((?:(?!\$ ).*\n)*)", "".join(blocks), re.MULTILINE)
    return [(line, printed) for line, printed in steps]


def pattern(printed: str) -> str:
    """What is printed as a regular expression; ``...`` stands for anything within a line."""
    return r"[^\n]*".join(map(re.escape, printed.split("...")))


def test_the_examples_of_the_reference_run_and_print_what_they_show(tmp_path: Path) -> None:
    steps = sessions()
    assert len(steps) > 20
    shutil.copytree(ORIGINAL, tmp_path / "old-store")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in ("DISTFS_STORE", "DISTFS_DEBUG"):
        environment.pop(name, None)
    mark = "--- end of step ---"
    script = "".join(f"{line} 2>&1; echo '{mark}'\n" for line, _ in steps)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    printed = done.stdout.split(f"{mark}\n")[:-1]
    for (line, expected), actual in zip(steps, printed, strict=True):
        assert re.fullmatch(pattern(expected), actual), f"$ {line}\n{actual}"
