"""However the dashboard ends, and whatever happens meanwhile: the terminal is whole afterwards."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from taskq import TaskQ
from tests.dashboard.glass import OTHER_SCREEN, ROOTS, Glass
from tests.dashboard.scene import Scene
from tests.runtime.operating import ROOT
from tests.servers import RealServer

FAILING = Path(__file__).with_name("failing.py")


def made_up(tmp_path: Path, size: tuple[int, int] = (80, 24)) -> Glass:
    """The dashboard over a made-up source."""
    glass = Glass([sys.executable, str(FAILING), str(tmp_path / "break")], size, cwd=ROOT)
    glass.see("live", "queues 5")
    assert OTHER_SCREEN in glass.screen.mode
    assert glass.screen.cursor.hidden
    assert termios.tcgetattr(glass.slave) != glass.before
    return glass


def test_q_leaves_with_code_0(tmp_path: Path) -> None:
    with made_up(tmp_path) as glass:
        glass.press("q")
        assert glass.end() == 0
        glass.check_whole()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_128_and_its_number(tmp_path: Path, number: signal.Signals) -> None:
    with made_up(tmp_path) as glass:
        glass.process.send_signal(number)
        assert glass.end() == 128 + number
        glass.check_whole()


def test_a_mistake_of_ours_is_told_on_the_first_screen(tmp_path: Path) -> None:
    with made_up(tmp_path) as glass:
        (tmp_path / "break").touch()
        assert glass.end() == 1
        glass.see("ZeroDivisionError: a mistake of ours")
        glass.check_whole()


def test_a_new_size_is_taken_at_once(tmp_path: Path) -> None:
    with made_up(tmp_path) as glass:
        assert "next schedules" not in glass.text()
        glass.resize(160, 48)
        glass.see("recent failures", "next schedules 10", "q quit")
        glass.resize(60, 15)
        glass.gone("next schedules")
        glass.see("queues 5", "q quit")
        glass.resize(20, 5)
        glass.see("too small")
        glass.press("q")
        assert glass.end() == 0
        glass.check_whole()


def test_stopped_and_continued_from_outside_it_draws_again(tmp_path: Path) -> None:
    with made_up(tmp_path) as glass:
        glass.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, glass.process.pid, os.WSTOPPED | os.WNOWAIT)
        os.write(glass.slave, b"\x1b[2J\x1b[?25h\x1b[5;5Hsomebody else wrote this")
        glass.see("somebody else wrote this")
        glass.process.send_signal(signal.SIGCONT)
        glass.see("queues 5", "q quit")
        glass.gone("somebody else")
        assert glass.screen.cursor.hidden
        glass.press("q")
        assert glass.end() == 0
        glass.check_whole()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash to stop it from")
def test_ctrl_z_gives_the_shell_its_terminal_and_fg_goes_on(tmp_path: Path) -> None:
    shell = ["bash", "--norc", "--noprofile", "-i"]
    with Glass(shell, (80, 24), cwd=ROOT, env={"PS1": "shell% ", "HISTFILE": ""}) as glass:
        glass.see("shell%")
        glass.press(shlex.join([sys.executable, str(FAILING), str(tmp_path / "break")]) + "\r")
        glass.see("live", "queues 5")
        for _ in range(2):
            glass.press("ctrl-z")
            glass.see("Stopped", "shell%")
            assert OTHER_SCREEN not in glass.screen.mode
            assert not glass.screen.cursor.hidden
            glass.press("clear; stty -a | tr ' ' '\\n' | grep -x -e icanon -e echo -e ixon | xargs echo is\r")
            glass.see("is")
            glass.match(r"is (ixon|icanon|echo) (ixon|icanon|echo) (ixon|icanon|echo)")
            glass.press("fg\r")
            glass.see("live", "queues 5", "q quit")
            assert glass.screen.cursor.hidden
        glass.press("2")
        glass.gone("flow")
        glass.press("q")
        glass.see("shell%")
        glass.press("echo code=$?\r")
        glass.see("code=0")
        assert OTHER_SCREEN not in glass.screen.mode
        glass.press("exit\r")
        assert glass.end() == 0
        assert termios.tcgetattr(glass.slave) == glass.before


def test_ctrl_c_is_a_signal_and_ends_it_with_130(scene: Scene) -> None:
    with scene.open() as glass:
        glass.see("live")
        glass.press("ctrl-c")
        assert glass.end() == 130
        glass.see("interrupted")
        glass.check_whole()


def test_a_terminal_that_hangs_up_leaves_nothing_behind(tmp_path: Path) -> None:
    with made_up(tmp_path) as glass:
        glass.hang_up()
        assert glass.end() in (0, 129)


def test_an_outage_is_said_and_survived(scene: Scene, server: RealServer) -> None:
    scene.shop.enqueue(3)
    with scene.open() as glass:
        glass.see("live", "mail")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            text = glass.see("no broker since")
            assert text.count("no broker since") == 1
            assert "mail" in text
            glass.press("2")
            glass.gone("flow")  # keys still work
        finally:
            os.kill(server.pid, signal.SIGCONT)
        glass.see("live")
        glass.gone("no broker")
        glass.press("q")
        assert glass.end() == 0
        glass.check_whole()


# -- without a terminal


def once(scene: Scene, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        scene.command("--interval", "0.1", *options),
        cwd=scene.operator.folder,
        env=scene.operator.env | {"PYTHONPATH": ROOTS, "PYTHONUTF8": "1"} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("options", [(), ("--once",)])
def test_without_a_terminal_it_prints_one_plain_screen(scene: Scene, options: tuple[str, ...]) -> None:
    scene.shop.enqueue(3)
    done = once(scene, *options, COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    assert "mail" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) in range(90, 101)


@pytest.mark.topics
def test_one_look_is_one_json_object(scene: Scene) -> None:
    scene.shop.enqueue(3)
    with TaskQ(scene.shop.app.namespace, url=scene.url) as app:
        app.topic("orders", partitions=2).publish("one")
    (told,) = scene.operator.objects("dashboard")
    assert [(one["topic"], one["appended"], len(one["partitions"])) for one in told["topics"]] == [("orders", 1, 2)]
    assert told["namespace"] == scene.shop.app.namespace
    assert told["queues"][0]["counters"] == {"enqueued": 3}


def test_a_picture_is_written_to_a_file(scene: Scene) -> None:
    scene.shop.enqueue(3)
    done = once(scene, "--svg", "screen.svg", COLUMNS="160")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (scene.operator.folder / "screen.svg").read_text("utf-8").startswith("<svg")


def test_a_picture_goes_to_standard_output_too(scene: Scene) -> None:
    done = once(scene, "--svg", "-", COLUMNS="160", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("<svg")
    assert done.stdout.endswith("</svg>\n")
    assert not (scene.operator.folder / "-").exists()


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0"])
def test_an_interval_that_is_no_time_is_refused(scene: Scene, value: str) -> None:
    done = once(scene, "--once", f"--interval={value}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--interval" in done.stderr


def test_json_and_a_picture_are_two_wishes(scene: Scene) -> None:
    done = once(scene, "--json", "--svg", "screen.svg")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--json and --svg" in done.stderr
    assert not (scene.operator.folder / "screen.svg").exists()


@pytest.mark.parametrize("option", ["--once", "--json"])
def test_a_closed_standard_output_is_borne(scene: Scene, option: str) -> None:
    line = " ".join(shlex.quote(part) for part in scene.command("--interval", "0.1", option))
    done = subprocess.run(
        ["sh", "-c", f"exec {line} >&-"],
        cwd=scene.operator.folder,
        env=scene.operator.env | {"PYTHONPATH": ROOTS},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_broker_that_is_not_there_is_an_error_at_the_start(scene: Scene) -> None:
    done = once(scene, "--url", "redis://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (3, "")
    assert "cannot reach" in done.stderr
    assert "Traceback" not in done.stderr
