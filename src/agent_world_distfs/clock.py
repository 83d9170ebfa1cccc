"""The one place that asks what time it is. Times label files; no decision about data rests on them."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since 1970 in UTC, as the system clock says; it may go back."""
    return time.time_ns() // 1_000_000
