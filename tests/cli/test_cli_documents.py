"""The documents of ``--json``: each has the fields that the reference shows, in that order, and no other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

from cli.reference import COMMANDS, GROUPS, ORIGINAL, sections
from cli.running import Distfs

_string_or_dots = re.compile(r'"(?:[^"\\]|\\.)*"|,\s*\.\.\.\s*(?=\])|\.\.\.')


def shown(section: str) -> Any:
    """The first document of a section. ``...`` becomes a field of an object, and vanishes from a list."""
    block = re.search(r"^```json\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert block is not None

    def plain(match: re.Match[str]) -> str:
        return match[0] if match[0].startswith('"') else "" if match[0].startswith(",") else '"...": 0'

    return json.loads(_string_or_dots.sub(plain, block[1]))


def differences(told: Any, printed: Any, where: str) -> Iterator[str]:
    """Fields that are only told of, or only printed, or of another type; of a list the first elements."""
    if isinstance(told, dict) and isinstance(printed, dict):
        names, is_part = [name for name in told if name != "..."], "..." in told
        if not (set(names) <= set(printed) if is_part else names == list(printed)):
            yield f"{where}: told {names}, printed {list(printed)}"
        for name in names:
            yield from differences(told[name], printed.get(name), f"{where}.{name}")
    elif isinstance(told, list) and isinstance(printed, list) and told and printed:
        yield from differences(told[0], printed[0], f"{where}[0]")
    elif None not in (told, printed) and type(told) is not type(printed):
        yield f"{where}: told {told!r}, printed {printed!r}"


RUNS = """
init
settings keep_history on
write a {tree}/e
write b {tree}/e
update b -- echo 2
read a {place}/read
stat a
cp a c
mv c d
rm d
ls
put {tree}/e
get {put[content_hash]} {place}/got
pin {put[content_hash]}
pins
unpin {put[content_hash]}
import-tree {tree} tree
checkout {place}/out
export --pin
import {export[ref]}
log
diff 1
watch --since 0 --timeout 0
history b
undo {history[changes][1][transaction_id]}
expire --max-transactions 1
snapshot create monday
snapshot list
snapshot show monday
rm a
snapshot diff monday
snapshot restore monday
snapshot fork monday {place}/fork
snapshot prune --keep-last 1
snapshot drop monday
audit
prune
du
upgrade
repair
backup {place}/backup
restore {place}/backup {place}/restored
pull {place}/backup --store {place}/copy
adopt {original} --store {place}/adopted
tour {tree}
"""
"""Every command, in an order in which each has something to say; earlier documents by the command's name."""


def documents(distfs: Distfs) -> dict[str, Any]:
    """What each command prints, by its name."""
    tree = distfs.file("tree/e", b"1").parent
    original = shutil.copytree(ORIGINAL, distfs.place / "original")
    printed: dict[str, Any] = {}
    for line in RUNS.split("\n")[1:-1]:
        words = line.format(place=distfs.place, tree=tree, original=original, **printed).split()
        name = " ".join(words[: 2 if words[0] in GROUPS else 1])
        lines = distfs("--json", *words).lines
        printed[name] = json.loads(lines[0] if name == "watch" else "".join(lines))
    return printed


def test_every_document_has_the_fields_that_the_reference_shows(distfs: Distfs) -> None:
    printed = documents(distfs)
    assert sorted(printed) == sorted(COMMANDS)
    told = {name: shown(section) for name, section in sections().items()}
    found = [line for name in COMMANDS for line in differences(told[name], printed[name], name)]
    assert found == []
