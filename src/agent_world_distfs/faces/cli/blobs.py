"""Commands on blobs, the bytes under their hash: put get pin unpin pins."""

from __future__ import annotations

import click

from agent_world_distfs import NotFoundError
from agent_world_distfs.faces.cli.files import require_target
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import command, takes_hash, takes_source, takes_target
from agent_world_distfs.faces.cli.streams import STANDARD, copy, open_source, open_target, watched


@command("put", "distfs put photo.jpg", "distfs pin $(distfs put photo.jpg)")
@takes_source()
@pass_invocation
def put(invocation: Invocation, source: str) -> None:
    """Store the bytes of SOURCE and print their content hash.

    SOURCE is a file; without it, or as -, standard input. No path names the bytes yet: a prune removes them
    unless they are pinned. The store is created if it is missing.
    """
    with (
        open_source(source) as reader,
        invocation.make_store() as store,
        invocation.watching("put", beside=reader) as progress,
    ):
        blob = store.put_stream(watched(reader, progress))
    invocation.answer(blob, [blob.content_hash])


@command("get", "distfs get $HASH", "distfs get $HASH photo.jpg")
@takes_hash()
@takes_target()
@pass_invocation
def get(invocation: Invocation, content_hash: str, target: str) -> None:
    """Write the bytes whose content hash is HASH to TARGET.

    TARGET is a file; without it, or as -, standard output. The bytes are verified against the hash. A file is
    replaced in one step, after the bytes were verified; on any error it is untouched.
    """
    require_target(invocation, target)
    with (
        invocation.read_store() as store,
        store.open_blob(content_hash) as reader,
        open_target(target) as writer,
        invocation.watching("get", beside=writer) as progress,
    ):
        copy(reader, writer, progress, reader.size_bytes)
    if target != STANDARD:
        document = {"content_hash": content_hash, "size_bytes": reader.size_bytes, "target": target}
        invocation.answer(document)


@command("pin", "distfs pin $HASH")
@takes_hash()
@pass_invocation
def pin(invocation: Invocation, content_hash: str) -> None:
    """Keep the bytes of HASH even if no path names them.

    Pins are a set, not counted: pinning twice is the same as pinning once.
    """
    with invocation.open_store() as store:
        store.pin(content_hash)
    invocation.answer({"content_hash": content_hash})


@command("unpin", "distfs unpin $HASH", "distfs unpin $HASH --ignore-missing")
@takes_hash()
@click.option("--ignore-missing", is_flag=True, help="Accept a HASH that is not pinned.")
@pass_invocation
def unpin(invocation: Invocation, *, content_hash: str, ignore_missing: bool) -> None:
    """Remove the pin of HASH. The bytes stay until a prune finds that nothing names them."""
    with invocation.open_store() as store:
        is_removed = store.unpin(content_hash)
    if not (is_removed or ignore_missing):
        raise NotFoundError(content_hash, "no such pin")
    invocation.answer({"content_hash": content_hash, "removed": is_removed})


@command("pins", "distfs pins", "distfs pins | xargs -n 1 distfs unpin")
@pass_invocation
def pins(invocation: Invocation) -> None:
    """List the pinned content hashes, ascending."""
    with invocation.read_store() as store:
        hashes = store.list_pins()
    invocation.answer({"pins": hashes}, hashes)
