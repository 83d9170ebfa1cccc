"""A large blob takes the place of what stands under its name, whatever becomes of that meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore

LARGE = b"large" * 10_000


def test_a_large_write_goes_on_when_the_file_it_replaces_is_taken_meanwhile(
    store: LocalCasStore, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection renames it away between the refused link and the rename that was to replace it."""
    name = store.hash_bytes(LARGE)
    stray = location / "blobs" / name[:2] / name
    stray.parent.mkdir()
    stray.write_bytes(LARGE)
    link, taken = os.link, []

    def link_and_lose(source: str, target: str) -> None:
        try:
            link(source, target)
        except FileExistsError:
            os.unlink(target)
            taken.append(target)
            raise

    monkeypatch.setattr(os, "link", link_and_lose)
    store.write_file("a", LARGE)
    assert taken == [str(stray)]
    assert store.read_file("a") == LARGE
    assert store.audit_file_index(verify=True).is_clean()
