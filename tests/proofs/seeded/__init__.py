"""Bugs that are put into the store on purpose, each to be caught by the harness that claims it.

``table`` says which bug, which harness, in which form, and what it then says; the other modules have
the bugs. Nothing in the package knows of them: the variable SEEDED_BUG is read by ``site/sitecustomize.py``,
which Python runs at its start if that directory is on PYTHONPATH. So a bug reaches every process that a
harness starts, and no harness has to know of bugs.
"""
