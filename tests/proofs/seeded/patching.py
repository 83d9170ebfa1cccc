"""Putting something else under a name, in this process alone."""

from __future__ import annotations

from typing import Any


def replace(owner: Any, name: str, new: Any) -> Any:
    """Let ``owner`` have something else under ``name``; what was there. A name that is gone is an error."""
    honest = getattr(owner, name)
    setattr(owner, name, new)
    return honest
