"""What the shell offers."""

from __future__ import annotations

import pytest

from agent_world_distfs.faces.cli.completion import MAX_OFFERS
from cli.running import Distfs


def offers(distfs: Distfs, *words: str, incomplete: str = "") -> list[str]:
    """What bash would be offered after ``words``."""
    environment = {
        "_DISTFS_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["distfs", *words, incomplete]),
        "COMP_CWORD": str(len(words) + 1),
    }
    lines = distfs.process(env=environment).text.splitlines()
    return [line.split(",", 1)[1] for line in lines if line]


@pytest.fixture
def filled(distfs: Distfs) -> Distfs:
    """The command on a store with a few directories."""
    for path in ("docs/a", "docs/deep/b", "docs/deep/c", "docs2/d", "lone/way/down/e", "odd\x1b", "top"):
        distfs.write(path, b"")
    return distfs


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell_is_printed(distfs: Distfs, shell: str) -> None:
    assert "_DISTFS_COMPLETE" in distfs.process(env={"_DISTFS_COMPLETE": f"{shell}_source"}).text


def test_commands_and_options_are_offered(distfs: Distfs) -> None:
    assert "import-tree" in offers(distfs, incomplete="imp")
    assert "--if-match" in offers(distfs, "write", incomplete="--if")


@pytest.mark.parametrize(
    ("incomplete", "expected"),
    [
        ("", ["docs/", "docs2/", "lone/", "top"]),
        ("docs", ["docs/", "docs2/"]),
        ("docs/", ["docs/a", "docs/deep/"]),
        ("docs/de", ["docs/deep/b", "docs/deep/c"]),
        ("lo", ["lone/way/down/e"]),
        ("nowhere", []),
    ],
)
def test_paths_of_the_store_are_offered_level_by_level(
    filled: Distfs, incomplete: str, expected: list[str]
) -> None:
    assert offers(filled, "read", incomplete=incomplete) == expected


@pytest.mark.parametrize("words", [["rm", "top"], ["mv"], ["mv", "top"], ["ls"], ["checkout", "target"]])
def test_every_argument_that_is_a_path_of_the_store_is_completed(filled: Distfs, words: list[str]) -> None:
    assert offers(filled, *words, incomplete="docs2/") == ["docs2/d"]


def test_the_store_before_or_after_the_command_is_asked(filled: Distfs) -> None:
    location = str(filled.location)
    filled.location = filled.place / "elsewhere"
    assert offers(filled, "read", incomplete="docs2/") == []
    assert offers(filled, "--store", location, "read", incomplete="docs2/") == ["docs2/d"]
    assert offers(filled, "read", "--store", location, incomplete="docs2/") == ["docs2/d"]


def test_a_directory_of_many_files_costs_little(distfs: Distfs) -> None:
    with distfs.store() as store:
        content_hash = store.put_bytes(b"")
        for number in range(MAX_OFFERS * 2):
            store.link_file(f"many/{number:04}", content_hash)
            store.link_file(f"{number:04}/file", content_hash)
    assert len(offers(distfs, "read", incomplete="many/")) == MAX_OFFERS
    assert offers(distfs, "read", incomplete="")[0] == "0000/"
