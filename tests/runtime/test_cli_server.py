"""The `taskq` command as it is typed: help, settings, exit codes, and its commands about the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from taskq_workers import cli
from tests.runtime import shell as shells
from tests.runtime.old_server import server_that_says
from tests.runtime.shell import ROOT, ROOTS, Shell, one_error
from tests.servers import RealServer, free_port

shell = shells.shell


# -- the group


def test_help_lists_what_exists_and_imports_nothing_heavy(shell: Shell) -> None:
    probe = (
        "import sys; from taskq_workers.cli import run; run(['--help'])\n"
        "print(*sorted({'redis', 'rich', 'croniter', 'taskq_workers.commands.server'} & set(sys.modules)), 'heavy')"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, env=shell.env, check=True
    )
    assert done.stdout.splitlines()[-1] == "heavy"
    assert "Start, stop and show the project's embedded server." in done.stdout


def test_only_commands_that_exist_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "fly", ("taskq_workers.commands.no_such_module:fly", "Fly."))
    monkeypatch.setitem(cli.COMMANDS, "swim", ("no_such_package.inner:swim", "Swim."))
    with cli.taskq.make_context("taskq", ["doctor"]) as ctx:
        names = cli.taskq.list_commands(ctx)
    assert "server" in names
    assert not {"fly", "swim"} & set(names)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["helth"], 2, "did you mean 'health'"),
        (["server", "start", "--no-such-option"], 2, "No such option"),
        (["health", "--timeout", "0"], 2, "--timeout"),
        (["health", "--url", "http://x"], 2, "unknown scheme"),
        (["health"], 2, "no broker is set"),
        (["health", "--app", "nowhere:app"], 4, "there is no module 'nowhere'"),
    ],
)
def test_each_kind_of_mistake_has_its_exit_code(shell: Shell, arguments: list[str], code: int, said: str) -> None:
    done = shell.typed(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert said in done.stderr


def test_help_works_beside_a_broken_project_file_and_commands_name_it(shell: Shell) -> None:
    (shell.folder / "pyproject.toml").write_text("[tool.taskq\n")
    assert shell("--help").returncode == 0
    done = shell.typed("health")
    assert done.returncode == 2
    assert "pyproject.toml cannot be read" in one_error(done)


def test_an_unknown_setting_is_refused_with_the_nearest(shell: Shell) -> None:
    (shell.folder / "pyproject.toml").write_text("[tool.taskq]\nulr = 'redis://h'\n")
    assert "unknown setting 'ulr' in [tool.taskq]; did you mean 'url'?" in one_error(shell.typed("health"))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            "[tool.taskq.dead.ls]\nlimitt = 3",
            "unknown setting 'limitt' in [tool.taskq.dead.ls] (did you mean 'limit'",
        ),
        ("[tool.taskq.dead]\nlss = {}", "unknown setting 'lss' in [tool.taskq.dead] (did you mean 'ls'?)"),
        ("[tool.taskq.dead]\nls = 3", "[tool.taskq.dead] ls is a table: write [tool.taskq.dead.ls]"),
    ],
)
def test_an_unknown_setting_of_a_command_is_refused_with_the_nearest(shell: Shell, table: str, said: str) -> None:
    (shell.folder / "pyproject.toml").write_text(f"{table}\n")
    done = shell.typed("dead", "ls", "--namespace", "shop")
    assert (done.returncode, said in one_error(done)) == (2, True), done.stderr


def test_what_cannot_be_meant_is_told_with_its_source(shell: Shell) -> None:
    project = shell.folder / "pyproject.toml"
    line = ("queue", "ls", "--namespace", "shop")
    said = one_error(shell.typed(*line, TASKQ_URL="redis:/x"))
    assert "TASKQ_URL: broker URL 'redis:/x': after its scheme the // is missing" in said
    project.write_text("[tool.taskq]\nurl = 'redis:/x'\n")
    assert f"url in [tool.taskq] of {project}: broker URL 'redis:/x'" in one_error(shell.typed(*line))
    project.write_text("[tool.taskq]\nnamespace = 'a b'\n")
    for command in (("queue", "ls"), ("dashboard", "--once")):
        said = one_error(shell.typed(*command))
        assert f"namespace in [tool.taskq] of {project}: namespace name 'a b' is not valid" in said
        done = shell.typed(*command, TASKQ_NAMESPACE="a b")
        assert done.returncode == 2
        assert "Invalid value for TASKQ_NAMESPACE: namespace name 'a b' is not valid" in done.stderr


def test_a_number_that_is_none_is_told_what_is_wanted(shell: Shell) -> None:
    for given in ("x", "0"):
        said = shell.typed("dead", "ls", "--limit", given).stderr
        assert f"Invalid value for '--limit': '{given}': give a whole number from 1 to 10000" in said
        said = shell.typed("dead", "retry", "--all", "--rate", given).stderr
        assert f"Invalid value for '--rate': '{given}': give a number above 0" in said
    assert "'x': give a number of at least 0.05" in shell.typed("health", "--timeout", "x").stderr


def test_options_come_from_the_command_line_the_environment_and_the_project(shell: Shell) -> None:
    nobody = f"redis://127.0.0.1:{free_port()}"
    (shell.folder / "pyproject.toml").write_text(f"[tool.taskq]\nurl = '{nobody}'\n[tool.taskq.health]\ntimeout = 0\n")
    assert "timeout" in shell.typed("health").stderr
    assert shell.typed("health").returncode == 2
    assert shell.typed("health", TASKQ_HEALTH_TIMEOUT="0.5").returncode == 3
    assert shell.typed("health", "--timeout", "0.5", TASKQ_HEALTH_TIMEOUT="0").returncode == 3


def test_a_project_whose_server_is_not_running_is_told_how_to_start_it(shell: Shell) -> None:
    (shell.folder / ".taskq").mkdir()
    for line in (["health"], ["queue", "ls", "--namespace", "shop"], ["stats", "--namespace", "shop"]):
        done = shell.typed(*line)
        assert done.returncode == 3
        assert "the server of this project is not running: `taskq server start` (or `taskq dev`)" in one_error(done)


def test_an_interruption_while_it_is_still_imported_is_answered_as_later(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    module, _, name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["taskq"].partition(":")
    script = f"import sys; from {module} import {name}; sys.exit({name}())"  # what an installer makes of it
    for way in (["-m", "taskq"], ["-m", "taskq_workers"], ["-c", script]):
        done = subprocess.run(
            [sys.executable, *way, "health"],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), ROOTS])},
            check=False,
        )
        assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


@pytest.mark.parametrize(
    ("table", "env", "named"),
    [
        ("", {"TASKQ_WORKER_PROCESSES": "abc"}, "Invalid value for TASKQ_WORKER_PROCESSES: 'abc'"),
        (
            "[tool.taskq.worker]\nconcurrency = 'x'",
            {},
            "Invalid value for concurrency in [tool.taskq.worker] of {}: 'x'",
        ),
        ("[tool.taskq.dead.ls]\nlimit = 'x'", {}, "Invalid value for limit in [tool.taskq.dead.ls] of {}: 'x'"),
    ],
)
def test_a_value_that_cannot_be_meant_is_told_with_its_source(
    shell: Shell, table: str, env: dict[str, str], named: str
) -> None:
    project = shell.folder / "pyproject.toml"
    project.write_text(table)
    done = shell.typed(*(["dead", "ls"] if "dead" in table else ["worker", "shop:app"]), **env)
    assert done.returncode == 2
    assert named.format(project) in done.stderr


def test_a_variable_that_no_option_reads_is_told_with_the_nearest(shell: Shell) -> None:
    strays = {"TASKQ_WORKER_PROCESS": "3", "TASKQ_WORKER_SERVICE_HOST": "10.0.0.1", "TASKQ_WORKER_APP": "shop:app"}
    done = shell("worker", TASKQ_WORKER_BURST="1", **strays)
    assert done.returncode == 4
    (line,) = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert "TASKQ_WORKER_PROCESS is set, and no option" in line
    assert line.endswith("(did you mean TASKQ_WORKER_PROCESSES?)")


# -- taskq server


def test_the_server_is_started_shown_and_stopped(shell: Shell) -> None:
    assert shell("server", "status").returncode == 3
    started = shell("server", "start", "--json")
    assert started.returncode == 0, started.stderr
    facts = json.loads(started.stdout)
    assert (facts["running"], facts["data"]) == (True, str(shell.folder / ".taskq"))
    assert json.loads(shell("server", "status", "--json").stdout)["pid"] == facts["pid"]
    assert facts["server"].split()[0] in ("redis", "valkey")
    # A folder further down belongs to the same project, and finds the same server.
    inner = Shell(shell.folder / "src", shell.env)
    inner.folder.mkdir()
    assert inner("health").returncode == 0
    assert shell("server", "stop").stdout == "stopped\n"
    assert "no server was running" in shell("server", "stop").stdout


def test_without_a_server_program_the_way_to_get_one_is_named(shell: Shell) -> None:
    done = shell.typed("server", "start", TASKQ_SERVER_BINARY="/bin/echo")
    assert done.returncode == 2
    assert "TASKQ_SERVER_BINARY" in one_error(done)


# -- taskq health


def test_health_tells_up_from_down_from_not_ready(shell: Shell, start_server: Callable[..., RealServer]) -> None:
    server = start_server(requirepass="s3cr3t")
    up = shell("health", "--json", TASKQ_URL=server.tcp_url)
    assert up.returncode == 0
    assert json.loads(up.stdout)["broker"] == f"redis://:***@127.0.0.1:{server.port}"
    wrong = ("--url", server.tcp_url.replace("s3cr3t", "wrong"))
    for command, code in (("health", 6), ("doctor", 6), ("queue ls --namespace shop", 3)):
        refused = shell.typed(*command.split(), *wrong)
        assert refused.returncode == code
        assert "does not accept" in refused.stdout + refused.stderr
    server.kill9()
    down = shell("health", "--json", TASKQ_URL=server.tcp_url)
    assert down.returncode == 3
    assert "s3cr3t" not in down.stdout + down.stderr


@pytest.mark.crash
def test_health_does_not_wait_for_a_server_that_hangs(shell: Shell, start_server: Callable[..., RealServer]) -> None:
    server = start_server()
    server.sigstop()
    done = shell("health", "--timeout", "0.2", "--url", server.tcp_url)
    assert done.returncode == 3
    assert "in time" in one_error(done)


@pytest.mark.parametrize("command", ["health", "doctor"])
@pytest.mark.parametrize(
    ("info", "said"),
    [
        ("redis_version:6.0.16", "is redis 6.0.16; taskq needs at least Redis 6.2 or Valkey 7.2"),
        ("redis_version:7.2.4\r\nvalkey_version:7.1.9", "is valkey 7.1.9"),
        ("redis_version:7.0.0\r\nredis_mode:sentinel", "is a Sentinel"),
    ],
)
def test_a_server_that_is_too_old_or_none_fails_the_check(shell: Shell, command: str, info: str, said: str) -> None:
    with server_that_says(info) as url:
        done = shell.typed(command, "--url", url)
    assert done.returncode == 6
    assert said in (one_error(done) if command == "health" else done.stdout)


# -- taskq doctor


def test_python_knows_the_command_by_the_name_of_the_library(tmp_path: Path) -> None:
    def told(*line: str) -> tuple[int, str, str]:
        command, env = [sys.executable, "-m", *line], os.environ | {"PYTHONPATH": ROOTS}
        ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
        return ended.returncode, ended.stdout, ended.stderr

    assert told("taskq", "--version") == told("taskq_workers", "--version")
    assert told("taskq", "--version")[0] == 0
    code, _, said = told("taskq", "wroker")
    assert (code, "did you mean 'worker'?" in said) == (2, True)
