"""The root of all errors."""

from __future__ import annotations


class WorldError(Exception):
    """Anything that this package refuses or fails to do."""
