"""The workloads that are replayed in every run: each operation that promises something about power."""

from __future__ import annotations

from replay.replaying import Workload
from replay.steps import Content, Step

SMALL, LARGE, OLD_SMALL, OLD_LARGE = (
    Content("new", 50),
    Content("new", 25_000),
    Content("old", 40),
    Content("old", 20_000),
)
NOTE = Content("note", 30)
LARGE_PUT = Content("orphan", 12_000)


def _of(
    name: str,
    *steps: Step,
    is_fresh: bool = False,
    errors: tuple[str, ...] = (),
    is_damaged: bool = False,
) -> Workload:
    actors = dict.fromkeys(step.actor for step in steps)
    opening = [] if any(step.kind == "open" for step in steps) else [Step("open", actor=a) for a in actors]
    return Workload(name, (*opening, *steps), is_fresh, errors=frozenset(errors), is_damaged=is_damaged)


WORKLOADS = [
    _of("write new", Step("write", "n/small", SMALL), Step("write", "n/large", LARGE)),
    _of("overwrite", Step("write", "old/small", SMALL), Step("write", "old/large", LARGE)),
    _of("overwrite in the other form", Step("write", "old/small", LARGE), Step("write", "old/large", SMALL)),
    _of("same bytes", Step("write", "n", OLD_SMALL), Step("write", "old/large", OLD_LARGE)),
    _of("stream", Step("stream", "n", Content("streamed", 2_500_000)), Step("stream", "old/small", SMALL)),
    _of(
        "conditional",
        Step("write if", "n", LARGE),
        Step("write if", "n", SMALL, expected=LARGE),
        Step("write if", "n", LARGE, expected=OLD_LARGE),
        errors=("!FileConflictError",),
    ),
    _of("delete", Step("delete", "old/large"), Step("delete", "old/small"), Step("put", content=LARGE)),
    _of("delete many", Step("delete many", paths=("old/large", "old/small")), Step("write", "n", NOTE)),
    _of(
        "link, copy, rename",
        Step("link", "n", OLD_LARGE),
        Step("copy", "n", target="m"),
        Step("rename", "old/large", target="old/renamed"),
    ),
    _of(
        "pin and unpin",
        Step("put", content=LARGE),
        Step("pin", content=LARGE),
        Step("unpin", content=Content("pinned", 12_000)),
    ),
    _of(
        "prune",
        Step("write", "old/large", LARGE),
        Step("write", "old/small", SMALL),
        Step("prune"),
        Step("write", "n", OLD_LARGE),
    ),
    _of("threads", Step("write together", "n/"), Step("write", "n/t0", NOTE), Step("write together", "n/")),
    _of("export and pin", Step("write", "n", LARGE), Step("export"), Step("write", "n", NOTE)),
    _of("import", Step("delete", "kept/large"), Step("import"), Step("write", "n", NOTE)),
    _of("pull", Step("pull"), Step("write", "n", NOTE)),
    _of("import a tree", Step("import tree"), Step("write", "n", NOTE)),
    _of("import a tree of large files", Step("import large tree"), Step("write", "n", NOTE)),
    _of("write many", Step("write many", "n/"), Step("write", "n/m01", NOTE)),
    _of("write many, twice", Step("write many", "n/"), Step("write many", "old/"), Step("write", "n", NOTE)),
    _of(
        "write many beside relaxed",
        Step("write many", "r/", actor="relaxed"),
        Step("write", "f", NOTE),
        Step("write many", "f/"),
    ),
    _of("make a store", Step("open"), Step("write", "n", SMALL), Step("write", "m", LARGE), is_fresh=True),
    _of(
        "open, close, open",
        Step("open"),
        Step("write", "n", LARGE),
        Step("close"),
        Step("open"),
        Step("write", "m", NOTE),
    ),
    _of(
        "the log is copied",
        Step("import big tree"),
        Step("write", "n", LARGE),
        Step("write", "n", NOTE),
        Step("write", "m", SMALL),
    ),
    _of(
        "relaxed beside full",
        Step("write", "r/large", LARGE, actor="relaxed"),
        Step("write", "r/small", SMALL, actor="relaxed"),
        Step("write", "f", NOTE),
        Step("write", "r/small", NOTE, actor="relaxed"),
        Step("write", "f", LARGE),
    ),
    _of(
        "full finds what is relaxed",
        Step("put", content=SMALL, actor="relaxed"),
        Step("put", content=SMALL),
        Step("pin", content=LARGE_PUT, actor="relaxed"),
        Step("pin", content=LARGE_PUT),
        Step("delete", "old/small", actor="relaxed"),
        Step("delete", "old/small"),
    ),
    _of(
        "relaxed prune",
        Step("write", "old/large", LARGE, actor="relaxed"),
        Step("delete", "kept/large", actor="relaxed"),
        Step("prune", actor="relaxed"),
        Step("write", "n", OLD_LARGE, actor="relaxed"),
    ),
    _of(
        "the unflushed link of another",
        Step("open", actor="stuck"),
        Step("open"),
        Step("stuck write", "s", LARGE, actor="stuck"),
        Step("write", "n", LARGE),
        Step("kill", actor="stuck"),
        Step("write", "m", LARGE),
    ),
    _of(
        "transactions",
        Step("transaction", "n", LARGE, target="moved"),
        Step("transaction again", "m", SMALL),
        Step("update", "old/small", LARGE),
        Step("session", "s", NOTE),
    ),
    _of("lease", Step("lease", "n", LARGE), Step("prune"), Step("write", "m", LARGE)),
    _of(
        "undo",
        Step("history", target="on"),
        Step("write", "old/large", LARGE),
        Step("undo"),
        Step("prune"),
        Step("undo"),
    ),
    _of(
        "history is forgotten",
        Step("history", target="on"),
        Step("write", "old/large", LARGE),
        Step("prune"),
        Step("expire"),
        Step("prune"),
        Step("delete", "old/small"),
        Step("history", target="off"),
        Step("prune"),
    ),
    _of("scrub", Step("scrub"), Step("write", "n", LARGE), Step("scrub"), Step("scrub")),
    _of("repair", Step("repair"), Step("write", "n", NOTE), is_damaged=True),
    _of(
        "backup",
        Step("backup"),
        Step("write", "old/large", LARGE),
        Step("prune"),
        Step("backup"),
        Step("write", "n", NOTE),
    ),
    _of("restore", Step("backup"), Step("restore"), Step("write", "n", NOTE)),
]
