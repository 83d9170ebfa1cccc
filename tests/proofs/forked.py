"""Work in a forked child, so that what it does to its process (limits, users, crashes) ends with it."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")

PATIENCE_S = 60


class ChildDiedError(Exception):
    """The child was killed by a signal: SIGALRM means that it hung."""


class ChildRaisedError(Exception):
    """The work raised what is told here."""


def in_child(work: Callable[[], T], patience_s: int = PATIENCE_S) -> T:
    """What ``work`` gives, which can be pickled, when it is done in a child.

    Raises:
        ChildDiedError: it crashed, or took longer than ``patience_s``.
        ChildRaisedError: it raised.
    """
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        _work_and_exit(work, said, patience_s)
    os.close(said)
    with os.fdopen(heard, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise ChildDiedError(signal.Signals(os.WTERMSIG(status)).name)
    answer: T
    answer, trouble = pickle.loads(told)
    if trouble:
        raise ChildRaisedError(trouble)
    return answer


def _work_and_exit(work: Callable[[], object], said: int, patience_s: int) -> NoReturn:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(patience_s)
        try:
            told: tuple[object, str] = (work(), "")
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent shall hear of it
            import traceback

            told = (None, f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        with os.fdopen(said, "wb") as pipe:
            pipe.write(pickle.dumps(told))
    finally:
        os._exit(0)
