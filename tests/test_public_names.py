"""The public names: there for whoever asks, and nothing is loaded before."""

from __future__ import annotations

import subprocess
import sys

import pytest

import agent_world_distfs
from agent_world_distfs import public


def run(code: str) -> str:
    """What a new process prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_package_gives_every_public_name() -> None:
    assert agent_world_distfs.__all__ == public.__all__
    assert all(getattr(agent_world_distfs, name) is getattr(public, name) for name in public.__all__)
    assert set(public.__all__) | {"__version__"} <= set(dir(agent_world_distfs))


def test_a_star_gives_all_of_them() -> None:
    code = "from agent_world_distfs import *; import agent_world_distfs as all_of\n"
    assert run(code + "print({*all_of.__all__} <= {*globals()})") == "True\n"


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    for name in ("nope", "_nope", "__nope__"):
        with pytest.raises(AttributeError, match=f"'agent_world_distfs' has no attribute '{name}'"):
            getattr(agent_world_distfs, name)


def test_modules_of_the_package_are_reached_by_way_of_it() -> None:
    assert (
        run("import agent_world_distfs; print(agent_world_distfs.errors.WorldError.__name__)")
        == "WorldError\n"
    )


def test_nothing_is_loaded_before_the_first_name_is_wanted() -> None:
    count = "sum(name.startswith('agent_world_distfs') for name in sys.modules)"
    code = f"import sys, agent_world_distfs as a; print(a.__version__ and {count})"
    assert run(f"{code}; a.ABSENT; print({count} > 50)") == "1\nTrue\n"
