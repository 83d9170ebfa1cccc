"""The rows, a module for each subject, in the order in which they are run and shown."""
# ruff: noqa: I001 - the order has a meaning

from benchmarks.rows import writes as writes
from benchmarks.rows import threads as threads
from benchmarks.rows import processes as processes
from benchmarks.rows import trees as trees
from benchmarks.rows import reading as reading
from benchmarks.rows import removing as removing
from benchmarks.rows import large as large
from benchmarks.rows import many as many
