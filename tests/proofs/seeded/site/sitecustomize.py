"""Python runs this when it starts with this directory on PYTHONPATH: puts in the bug that is asked for."""

from __future__ import annotations

import os

if name := os.environ.get("SEEDED_BUG"):
    from seeded.table import SEEDED

    SEEDED[name].bug()
