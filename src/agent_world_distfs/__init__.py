"""DistFS: the file layer that many processes share.

Bytes are stored once under their hash; a mutable index of paths lies over them; a write or delete
can demand the version it has seen, so that nobody's work is silently overwritten.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from agent_world_distfs.public import *  # noqa: F403 - what it exports is listed there
    from agent_world_distfs.public import __all__ as __all__
else:
    # Loaded when the first name is wanted: the command is below this package, and cannot catch a Ctrl-C that
    # comes before its own first line.

    def __getattr__(name: str) -> object:
        if name == "__all__" or not name.startswith("_"):
            _load()
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        _load()
        return sorted(globals())

    def _load() -> None:
        from importlib import import_module

        public = import_module("agent_world_distfs.public")
        globals().update({name: getattr(public, name) for name in ("__all__", *public.__all__)})
