"""Flushing, where the system has a call that goes down to the medium."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from agent_world_distfs import flushing

FULL_FLUSH = 51  # its number on macOS


@pytest.mark.parametrize("refused", [None, errno.ENOTSUP])
def test_the_medium_is_flushed_and_at_least_the_drive(
    refused: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[object] = []

    def control(descriptor: int, command: int) -> None:
        called.append(command)
        if refused is not None:
            raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(flushing, "_FULL_FLUSH", FULL_FLUSH)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda _: called.append("fsync"))
    flushing.flush_directory(str(tmp_path))
    assert called == [FULL_FLUSH] if refused is None else [FULL_FLUSH, "fsync"]


def test_a_flush_that_fails_is_not_tried_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def control(*_: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(flushing, "_FULL_FLUSH", FULL_FLUSH)
    monkeypatch.setattr(fcntl, "fcntl", control)
    with pytest.raises(OSError, match="I/O error"):
        flushing.flush_directory(str(tmp_path))
