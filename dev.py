#!/usr/bin/env python3
"""All that a developer runs, from a bare Python 3.11 or newer: ``python3 dev.py COMMAND``.

    tour [DIRECTORY]   show the store at work on a real directory (default: docs)
    test [ARGS...]     the fast checks: lint, format, types, layers, tests; ARGS go to pytest
    proof [ARGS...]    the long proofs; ARGS go to pytest
    run ARGS...        the command distfs itself
    format [FILES...]  bring the code into its one format

Standard library only. The first call makes ``.venv`` beside this file and installs the project into
it. A marker, written last, says that the environment is complete, and for what. Without a marker
that fits (interrupted, moved, another Python) it is built anew; when only the requirements have
changed since, it is brought up to date.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent

SYSTEM_TOOLS = (  # command, its Debian package, the tests that need it
    ("strace", "strace", "those that watch or break single system calls: flush order, kills, full disks"),
    ("mkfs.xfs", "xfsprogs", "those that cut the power of a real XFS (as root)"),
)

APT_GET = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300")

CHECKS = (
    ("lint", ("ruff", "check", "--quiet")),
    ("format", ("ruff", "format", "--check", "--quiet")),
    ("types", ("mypy", "--no-error-summary")),
    ("layers", ("lint-imports", "--no-logo")),
)


def say(text: str) -> None:
    """Tell a person what goes on, on standard error: standard output belongs to what is run."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


# --- running things ---------------------------------------------------------------------------


def attempt(command: Sequence[str], *, inherited: Sequence[int] = ()) -> tuple[bool, str]:
    """Run to the end without a word; whether it went well, and what it said."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        pass_fds=inherited,
    )
    return done.returncode == 0, done.stdout


def foreground(command: Sequence[str]) -> int:
    """Run with this terminal; the exit code. A Ctrl-C reaches the child too, and it may end in order."""
    with subprocess.Popen(command, cwd=ROOT) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.wait()
            raise


# --- what only the system can install ---------------------------------------------------------


def root_prefix() -> list[str] | None:
    """What to put before a command to run it as root without a question; None where there is no way."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and attempt(["sudo", "-n", "true"])[0]:
        return ["sudo", "-n"]
    return None


def apt_line(packages: Sequence[str]) -> str:
    """What a person types to install Debian packages."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install {' '.join(packages)}"


def apt_install(packages: Sequence[str]) -> bool:
    """Install Debian packages; False where that cannot be done from here."""
    prefix = root_prefix()
    if prefix is None or shutil.which("apt-get") is None:
        return False
    say(f"installing {' '.join(packages)} (apt-get)")
    apt_get = [*prefix, *APT_GET]
    install = [*apt_get, "install", "--yes", "--no-install-recommends", *packages]
    if attempt(install)[0]:
        return True
    attempt([*apt_get, "update"])  # the package lists were missing or old
    is_installed, output = attempt(install)
    if not is_installed:
        say(f"apt-get could not install them:\n{output}")
    return is_installed


def has_ensurepip() -> bool:
    """Whether this Python can make an environment with pip in it; Debian's cannot without python3-venv."""
    importlib.invalidate_caches()
    return all(importlib.util.find_spec(module) for module in ("venv", "ensurepip"))


def require_ensurepip() -> None:
    """Install what ``venv`` lacks, or exit with the line that does."""
    if has_ensurepip() or (apt_install(["python3-venv"]) and has_ensurepip()):
        return
    say("this Python cannot make virtual environments. On Debian and Ubuntu this line mends it:")
    sys.exit(f"\n    {apt_line(['python3-venv'])}\n")


def has_command(command: str) -> bool:
    """Whether there is a command; a user's PATH need not reach those of the administrator."""
    return shutil.which(command) is not None or os.access(f"/usr/sbin/{command}", os.X_OK)


def require_system_tools() -> None:
    """Install the commands that tests need, or say which tests do without."""
    missing = [tool for tool in SYSTEM_TOOLS if not has_command(tool[0])]
    packages = [package for _, package, _ in missing]
    if not missing or apt_install(packages):
        return
    for command, _, tests in missing:
        say(f"no {command} here: tests are skipped (with CI=true they fail), namely {tests}")
    say(f"to run them: {apt_line(packages)}")


# --- the environment --------------------------------------------------------------------------


class Environment:
    """The virtual environment ``.venv`` of one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root / ".venv"
        self.marker = self.directory / "complete"

    def script(self, name: str) -> str:
        """The path of an installed command."""
        return str(self.directory / "bin" / name)

    def wanted(self) -> list[str]:
        """What the marker of a complete environment says: where and for whom it is, what is installed."""
        import tomllib  # here, so that an older Python still comes to the sentence in main()

        project = tomllib.loads((self.root / "pyproject.toml").read_text("utf-8"))
        installed = [project.get(table) for table in ("build-system", "project", "dependency-groups")]
        return [
            f"{self.directory} for Python {sys.version_info.major}.{sys.version_info.minor}",
            hashlib.sha256(json.dumps(installed).encode()).hexdigest(),
        ]

    def state(self) -> str:
        """``complete``, ``outdated`` (other requirements), or ``unusable``."""
        wanted = self.wanted()
        found = self.marker.read_text("utf-8").splitlines() if self.marker.exists() else []
        if found[:1] != wanted[:1] or not Path(self.script("python")).exists():
            return "unusable"
        return "complete" if found == wanted else "outdated"

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """One process at a time makes the environment; the lock is on dev.py itself, so nothing is left over.

        Those who build get the descriptor: a dev.py that was killed while its pip lives on holds it still.
        """
        with (self.root / "dev.py").open("rb+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another dev.py that makes the environment")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock.fileno()

    def make_ready(self) -> None:
        """Make or mend the environment unless it is complete. The marker goes first and comes back last."""
        with self.locked() as lock:
            state = self.state()
            if state == "complete":
                return
            self.marker.unlink(missing_ok=True)
            if state == "unusable":
                require_ensurepip()
                say("making .venv (the first time takes a minute)")
                self._build(lock, sys.executable, "-m", "venv", "--clear", str(self.directory))
            else:
                say("bringing .venv up to date")
            self._pip(lock, "--upgrade", "pip>=25.1")  # the first that knows --group
            self._pip(lock, "--group", "dev", "--editable", ".[all]")
            self.marker.write_text("\n".join(self.wanted()), "utf-8")

    def _pip(self, lock: int, *what: str) -> None:
        quiet = ("--quiet", "--no-input", "--disable-pip-version-check")
        self._build(lock, self.script("python"), "-m", "pip", "install", *quiet, *what)

    def _build(self, lock: int, *command: str) -> None:
        is_done, output = attempt(command, inherited=[lock])
        if not is_done:
            sys.exit(f"{output}\ndev.py: this failed: {' '.join(command)}")


# --- the commands -----------------------------------------------------------------------------


def passes(environment: Environment, name: str, command: Sequence[str]) -> bool:
    """Run one check; a line if it passes, all that it said if not."""
    started = time.monotonic()
    is_passed, output = attempt([environment.script(command[0]), *command[1:]])
    print(f"{name:8}{'ok' if is_passed else 'FAILED'}  {time.monotonic() - started:.1f} s", flush=True)
    if not is_passed:
        print(output, flush=True)
    return is_passed


def test(environment: Environment, arguments: Sequence[str]) -> int:
    """Run every fast check, also after one has failed."""
    started = time.monotonic()
    require_system_tools()
    failed = [name for name, command in CHECKS if not passes(environment, name, command)]
    pytest = [environment.script("pytest"), "-n", "auto", "-m", "not proof", *arguments]
    if foreground(pytest) != 0:
        failed.append("tests")
    outcome = f"failed: {', '.join(failed)}" if failed else "all checks passed"
    say(f"{outcome} ({time.monotonic() - started:.0f} s)")
    return 1 if failed else 0


def proof(environment: Environment, arguments: Sequence[str]) -> int:
    """Run the long proofs, two at a time: most of them bring their own processes."""
    require_system_tools()
    return foreground([environment.script("pytest"), "-n", "2", "-m", "proof", *arguments])


def tour(environment: Environment, arguments: Sequence[str]) -> int:
    return run(environment, ["tour", *(arguments or [str(ROOT / "docs")])])


def run(environment: Environment, arguments: Sequence[str]) -> int:
    """Become the command distfs, so that signals, pipes and the exit code are its own."""
    os.execv(environment.script("distfs"), ["distfs", *arguments])


def format_code(environment: Environment, arguments: Sequence[str]) -> int:
    ruff = environment.script("ruff")
    imports = foreground([ruff, "check", "--select", "I", "--fix", "--quiet", *arguments])
    return foreground([ruff, "format", *arguments]) or imports


COMMANDS = {"tour": tour, "test": test, "proof": proof, "run": run, "format": format_code}


def main(arguments: Sequence[str]) -> int:
    """Carry out one command; the exit code, 2 if there is none of that name."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts it with an older one should read why it fails
        sys.exit(f"dev.py needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__)
        return 0 if arguments and arguments[0] in ("-h", "--help", "help") else 2
    environment = Environment(ROOT)
    environment.make_ready()
    return COMMANDS[arguments[0]](environment, arguments[1:])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
