"""The command line ``distfs``: a thin face over the library that adds no behaviour of its own to a store.

Where things are:

- ``app``: the command itself, its sections, and how it ends (exit codes, Ctrl-C, closed pipes).
- ``files`` (write read rm mv cp ls stat), ``blobs`` (put get pin unpin pins), ``upkeep`` (init audit
  prune upgrade), ``exchange`` (export import pull adopt), ``trees`` (import-tree checkout), ``tour``: the
  commands. ``findings`` and ``tour_words``: what an audit and the tour have to tell.
- ``options``: what several commands take. ``completion``: what the shell offers for it.
- ``invocation``: which store, text or JSON. ``output``: how both are written. ``failures``: how errors are.
- ``streams``: SOURCE and TARGET. ``progress``: the bar on a terminal.

``docs/commands.md`` is the reference for users.
"""

from __future__ import annotations

from agent_world_distfs.faces.cli.app import cli, main

__all__ = ["cli", "main"]
