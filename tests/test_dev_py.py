"""What dev.py decides: when an environment fits, what it runs to make one, what it says where it cannot."""

from __future__ import annotations

import ast
import fcntl
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dev
import pytest

PYPROJECT = """
[project]
name = "example"
dependencies = ["one"]
[tool.example]
line-length = 80
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with nothing in it but what dev.py reads."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "pyproject.toml").write_text(PYPROJECT)
    shutil.copy(dev.__file__, checkout / "dev.py")
    return checkout


@pytest.fixture
def environment(root: Path) -> dev.Environment:
    return dev.Environment(root)


def complete(environment: dev.Environment) -> None:
    """Leave behind what a successful installation leaves, as far as dev.py looks at it."""
    (environment.directory / "bin").mkdir(parents=True)
    Path(environment.script("python")).symlink_to(sys.executable)
    environment.marker.write_text("\n".join(environment.wanted()))


class Commands:
    """Stands in for ``dev.attempt``: notes each command, fails those that ``refuses`` says."""

    def __init__(self, refuses: Callable[[str], bool] = lambda command: False) -> None:
        self.seen: list[str] = []
        self.refuses = refuses

    def __call__(self, command: Sequence[str], *, inherited: Sequence[int] = ()) -> tuple[bool, str]:
        self.seen.append(" ".join(command))
        is_refused = self.refuses(self.seen[-1])
        return not is_refused, "what it said" if is_refused else ""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    recorded = Commands()
    monkeypatch.setattr(dev, "attempt", recorded)
    return recorded


def edit(file: Path, before: str, after: str) -> None:
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))


class TestWhetherAnEnvironmentFits:
    def test_none_is_there(self, environment: dev.Environment) -> None:
        assert environment.state() == "unusable"

    def test_what_an_installation_left_is_complete(self, environment: dev.Environment) -> None:
        complete(environment)
        assert environment.state() == "complete"

    def test_an_interrupted_installation_is_not(self, environment: dev.Environment) -> None:
        complete(environment)
        environment.marker.unlink()
        assert environment.state() == "unusable"

    def test_half_a_marker_is_none(self, environment: dev.Environment) -> None:
        complete(environment)
        environment.marker.write_text(environment.marker.read_text()[:9])
        assert environment.state() == "unusable"

    def test_other_requirements_make_it_outdated(self, environment: dev.Environment) -> None:
        complete(environment)
        edit(environment.root / "pyproject.toml", '"one"', '"one", "two"')
        assert environment.state() == "outdated"

    def test_the_settings_of_a_tool_are_not_requirements(self, environment: dev.Environment) -> None:
        complete(environment)
        edit(environment.root / "pyproject.toml", "80", "100")
        assert environment.state() == "complete"

    def test_one_that_was_moved_is_unusable(self, environment: dev.Environment, tmp_path: Path) -> None:
        complete(environment)
        environment.root.rename(tmp_path / "moved")
        assert dev.Environment(tmp_path / "moved").state() == "unusable"

    def test_one_whose_interpreter_is_gone_is_unusable(self, environment: dev.Environment) -> None:
        complete(environment)
        Path(environment.script("python")).unlink()
        Path(environment.script("python")).symlink_to("/nowhere/python3")
        assert environment.state() == "unusable"

    def test_one_of_another_python_is_unusable(self, environment: dev.Environment) -> None:
        complete(environment)
        edit(environment.marker, f"Python 3.{sys.version_info.minor}", "Python 3.1")
        assert environment.state() == "unusable"


class TestMakingOne:
    def test_a_complete_one_is_left_alone(self, environment: dev.Environment, commands: Commands) -> None:
        complete(environment)
        environment.make_ready()
        assert commands.seen == []

    def test_an_unusable_one_is_cleared_before_anything_is_installed(
        self, environment: dev.Environment, commands: Commands
    ) -> None:
        complete(environment)
        environment.marker.unlink()
        environment.make_ready()
        assert commands.seen[0] == f"{sys.executable} -m venv --clear {environment.directory}"
        assert [" pip install " in command for command in commands.seen] == [False, True, True]
        assert environment.state() == "complete"

    def test_an_outdated_one_is_kept_and_brought_up_to_date(
        self, environment: dev.Environment, commands: Commands
    ) -> None:
        complete(environment)
        edit(environment.root / "pyproject.toml", '"one"', '"one", "two"')
        environment.make_ready()
        assert [" pip install " in command for command in commands.seen] == [True, True]
        assert environment.state() == "complete"

    def test_what_is_installed_is_the_project_with_all_extras_and_the_tools(
        self, environment: dev.Environment, commands: Commands
    ) -> None:
        complete(environment)
        environment.marker.unlink()
        environment.make_ready()
        assert commands.seen[-1].endswith("--group dev --editable .[all]")
        assert all("--break-system-packages" not in command for command in commands.seen)

    def test_a_failure_shows_why_and_leaves_no_marker(
        self, environment: dev.Environment, commands: Commands
    ) -> None:
        complete(environment)
        edit(environment.root / "pyproject.toml", '"one"', '"one", "two"')
        commands.refuses = lambda command: "--group dev" in command
        with pytest.raises(SystemExit, match=r"what it said\n.*this failed: .*pip install"):
            environment.make_ready()
        assert environment.state() == "unusable"

    def test_of_two_at_once_only_one_builds(self, environment: dev.Environment) -> None:
        build = f"""
import sys, time; sys.path.insert(0, {str(environment.root)!r}); import dev
from pathlib import Path
environment = dev.Environment(Path({str(environment.root)!r}))
def attempt(command, *, inherited=()):
    print(*command, flush=True)
    time.sleep(0.2)
    Path(environment.script("python")).parent.mkdir(parents=True, exist_ok=True)
    Path(environment.script("python")).touch()
    return True, ""
dev.attempt = attempt
environment.make_ready()
"""
        command = [sys.executable, "-c", build]
        builders = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in "ab"]
        outputs = [builder.communicate(timeout=60) for builder in builders]
        assert [builder.returncode for builder in builders] == [0, 0], outputs
        assert sorted(len(output.splitlines()) for output, _ in outputs) == [0, 3]
        assert environment.state() == "complete"


class TestWhatOnlyTheSystemCanInstall:
    @pytest.fixture
    def on_debian(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = {"apt-get": "/usr/bin/apt-get", "sudo": "/usr/bin/sudo"}
        monkeypatch.setattr("shutil.which", found.get)

    @pytest.mark.usefixtures("on_debian")
    def test_root_installs_and_refreshes_the_lists_only_if_it_must(
        self, monkeypatch: pytest.MonkeyPatch, commands: Commands
    ) -> None:
        monkeypatch.setattr("os.geteuid", lambda: 0)
        assert dev.apt_install(["python3-venv"])
        assert [command.split()[-1] for command in commands.seen] == ["python3-venv"]

        commands.refuses = lambda command: not any("update" in line for line in commands.seen)
        commands.seen.clear()
        assert dev.apt_install(["python3-venv"])
        assert [command.split()[-1] for command in commands.seen] == [
            "python3-venv",
            "update",
            "python3-venv",
        ]
        assert all(
            command.startswith("env DEBIAN_FRONTEND=noninteractive apt-get ") for command in commands.seen
        )

    @pytest.mark.usefixtures("on_debian")
    def test_others_install_through_a_sudo_that_asks_nothing(
        self, monkeypatch: pytest.MonkeyPatch, commands: Commands
    ) -> None:
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        assert dev.apt_install(["strace"])
        assert commands.seen[0] == "sudo -n true"
        assert commands.seen[1].startswith("sudo -n env DEBIAN_FRONTEND=noninteractive apt-get ")

    @pytest.mark.usefixtures("on_debian")
    def test_a_sudo_that_would_ask_is_not_used(
        self, monkeypatch: pytest.MonkeyPatch, commands: Commands
    ) -> None:
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        commands.refuses = lambda command: command == "sudo -n true"
        assert not dev.apt_install(["strace"])
        assert commands.seen == ["sudo -n true"]

    def test_where_nothing_can_be_installed_the_line_is_shown(
        self, monkeypatch: pytest.MonkeyPatch, commands: Commands
    ) -> None:
        monkeypatch.setattr("shutil.which", lambda name: None)
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        monkeypatch.setattr(dev, "has_ensurepip", lambda: False)
        with pytest.raises(SystemExit, match=r"^\n    sudo apt-get install python3-venv\n$"):
            dev.require_ensurepip()
        assert commands.seen == []

    def test_missing_tools_are_named_with_the_tests_that_need_them(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("shutil.which", lambda name: None)
        monkeypatch.setattr("os.geteuid", lambda: 0)
        dev.require_system_tools()
        said = capsys.readouterr().err
        assert "no strace here: tests are skipped" in said
        assert "apt-get install strace" in said


class TestRunning:
    def test_a_check_that_passes_says_one_line(
        self, environment: dev.Environment, commands: Commands, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert dev.passes(environment, "lint", ("ruff", "check"))
        assert commands.seen == [f"{environment.script('ruff')} check"]
        assert len(capsys.readouterr().out.splitlines()) == 1

    def test_a_check_that_fails_says_all(
        self, environment: dev.Environment, commands: Commands, capsys: pytest.CaptureFixture[str]
    ) -> None:
        commands.refuses = lambda command: True
        assert not dev.passes(environment, "lint", ("ruff", "check"))
        assert "what it said" in capsys.readouterr().out

    def test_the_exit_code_of_what_ran_is_kept(self) -> None:
        assert dev.foreground([sys.executable, "-c", "raise SystemExit(5)"]) == 5

    def test_help_and_unknown_commands_touch_nothing(self, root: Path) -> None:
        for arguments, code in ([], 2), (["nonsense"], 2), (["--help"], 0):
            done = subprocess.run(
                [sys.executable, root / "dev.py", *arguments], capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (code, "")
            assert "tour [DIRECTORY]" in done.stdout
        assert sorted(path.name for path in root.iterdir()) == ["dev.py", "pyproject.toml"]

    def test_ctrl_c_ends_it_without_a_traceback(self, root: Path) -> None:
        with (root / "dev.py").open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with subprocess.Popen(
                [sys.executable, root / "dev.py", "format"], stderr=subprocess.PIPE, text=True
            ) as waiting:
                assert waiting.stderr is not None
                first = waiting.stderr.readline()
                time.sleep(0.1)  # it has said so and goes to wait
                waiting.send_signal(signal.SIGINT)
                rest = waiting.stderr.read()
        assert first == "dev.py: waiting for another dev.py that makes the environment\n"
        assert (waiting.returncode, rest) == (130, "dev.py: interrupted\n")

    def test_an_older_python_is_told_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ast.parse(Path(dev.__file__).read_text("utf-8"), feature_version=(3, 8))
        monkeypatch.setattr(sys, "version_info", (3, 10, 0))
        with pytest.raises(SystemExit, match="needs Python 3.11 or newer"):
            dev.main(["test"])
