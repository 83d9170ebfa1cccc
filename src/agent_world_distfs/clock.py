"""The one place that asks what time it is. Times label files; no decision about data rests on them."""

from __future__ import annotations

import math
import sys
import time


def now_ms() -> int:
    """Milliseconds since 1970 in UTC, as the system clock says; it may go back."""
    return time.time_ns() // 1_000_000


def is_time_to_wait(seconds: float) -> bool:
    """Whether a clock can follow: not negative, no nan, no int beyond all floats; infinite is for ever."""
    return 0 <= seconds <= sys.float_info.max or seconds == math.inf
