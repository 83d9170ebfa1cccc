"""The tour: the store at work on a real directory, promise by promise, with figures read back from it.

Uses what any user has: the names of the top level and, to break a copy, the documented place of a blob's
file. Prints nothing: facts are records; the guide of the tour puts them into words.

- ``walk``: ``run_tour``, the steps in their order.
- ``facts``: what each step found out, and which findings break its promise.
- ``storing``, ``comparing``: the directory into the first store, and the second against it. ``disk``:
  the directory. ``race``, ``contender``: two processes and one counter. ``breaking``: the broken copy.
"""

from __future__ import annotations

from agent_world_distfs.faces.tour.facts import Step, StepReport, TourReport
from agent_world_distfs.faces.tour.walk import COPY, PREFIX, STEPS, WORLD, run_tour

__all__ = [
    "COPY",
    "PREFIX",
    "STEPS",
    "WORLD",
    "Step",
    "StepReport",
    "TourReport",
    "run_tour",
]
