"""Where no more files can be opened, each call says that, and works again once they can."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore, UnavailableError
from agent_world_distfs.local import catalog_of


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """No more than so many can be had."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 30, before[1]))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def reason(call: Callable[[], object]) -> str:
    """Why it is unavailable, if it is."""
    try:
        call()
    except UnavailableError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("count", range(10))
def test_too_few_descriptors_are_unavailable_whoever_lacks_them(location: Path, count: int) -> None:
    LocalCasStore(location).close()
    with contextlib.suppress(UnavailableError), descriptors(count), LocalCasStore(location) as store:
        store.write_file("a", b"x")
    with LocalCasStore(location) as store:
        catalog = catalog_of(store)
        loan = catalog._readers.take()  # so that the next needs one of its own
        with descriptors(count):
            said = [reason(lambda: store.stat_file("a")), reason(lambda: store.write_file("a", b"x"))]
        catalog._readers.give_back(loan)
        assert all(not text or text.startswith(str(location)) for text in said)
        assert all(not text or text.endswith("too many open files") for text in said)
        store.write_file("a", b"x")
        assert store.audit_file_index(verify=True).is_sound()
