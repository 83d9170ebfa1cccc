"""The command line ``distfs``: a thin face over the library that adds no behaviour of its own to a store.

Where things are:

- ``app``: the command itself, its sections, and how it ends (exit codes, Ctrl-C, closed pipes).
- The commands: ``files`` (write read rm mv cp ls stat), ``update``, ``blobs`` (put get pin unpin pins),
  ``trees`` (import-tree checkout), ``exchange`` (export import pull adopt), ``history`` (log history diff
  watch undo), ``settings`` (settings expire), ``snapshots`` (snapshot and its subcommands), ``upkeep`` (init
  audit prune upgrade), ``recovery`` (repair backup restore du), ``tour``.
- ``findings`` and ``tour_words``: the sentences of an audit and of the tour.
- ``options``: arguments and options that several commands share. ``completion``: shell completion of paths.
- ``invocation``: which store, text or JSON. ``output``: how results are written. ``failures``: how errors
  are.
- ``streams``: SOURCE and TARGET. ``reader_gone``: who waits ends when nobody reads any more. ``progress``:
  the bar on a terminal.

``docs/commands.md`` is the reference for users.
"""

from __future__ import annotations

from agent_world_distfs.faces.cli.app import cli, main

__all__ = ["cli", "main"]
