"""Power loss by replay: what a disk may hold after a power cut at any moment of a traced run.

``trace`` reads the system calls of a run, ``disk`` turns them into operations on inodes and says
which of them a power cut cannot undo, ``crashes`` makes the states that the disk may be in, ``judge``
opens each as a store and looks. ``steps`` is what the run did and what must be there after it,
``workloads`` and ``sequences`` give runs, ``bugs`` breaks them on purpose. ``replaying`` joins them.
"""
