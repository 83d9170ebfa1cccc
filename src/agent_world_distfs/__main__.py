"""The command ``distfs``, also as ``python -m agent_world_distfs``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit; without its packages, say what to install and exit 1."""
    try:
        from agent_world_distfs.faces.cli import main as run_command_line
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(f'distfs: {error.name} is not installed: pip install "agent-world-distfs[cli]"')
    except KeyboardInterrupt:  # while it was loading
        sys.exit(130)
    run_command_line()


if __name__ == "__main__":
    main()
