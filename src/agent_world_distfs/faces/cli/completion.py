"""Shell completion of store paths: the index, one directory level at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import click
from click.shell_completion import CompletionItem

from agent_world_distfs import LocalCasStore, WorldError, open_store
from agent_world_distfs.faces.cli.invocation import Invocation

MAX_OFFERS = 100
_AFTER_ALL_OF_IT = "\U0010ffff"


def complete_path(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Paths of the store that begin with ``incomplete``; nothing if there is no store to ask."""
    location = context.find_root().ensure_object(Invocation).location
    if not location:
        return []
    try:
        with open_store(location, create=False, read_only=True) as store:
            return [CompletionItem(offer) for offer in _offers(store, incomplete)]
    except WorldError:
        return []  # the command itself will say what is wrong; here it would only garble the prompt


def _offers(store: LocalCasStore, incomplete: str) -> list[str]:
    """The next steps from ``incomplete``; a lone directory is walked into."""
    offers = list(islice(_next_steps(store, incomplete), MAX_OFFERS))
    while len(offers) == 1 and offers[0].endswith("/"):
        offers = list(islice(_next_steps(store, offers[0]), MAX_OFFERS))
    return offers


def _next_steps(store: LocalCasStore, incomplete: str) -> Iterator[str]:
    """Names that begin so, each up to its next ``/``; one look-up for each, however much lies below it."""
    start_after = ""
    while found := store.list_files(prefix=incomplete, start_after=start_after, limit=1):
        path = found[0].path
        slash = path.find("/", len(incomplete))
        step = path if slash < 0 else path[: slash + 1]
        start_after = step if slash < 0 else step + _AFTER_ALL_OF_IT
        if step.isprintable():  # the shell's protocol is lines, and its prompt is a terminal
            yield step
