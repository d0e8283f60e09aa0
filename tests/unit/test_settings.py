"""Project settings and the choice of the broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskq import TaskQ
from taskq.errors import BrokerUnavailable, ConfigError
from taskq.settings import Settings, broker_url, read_settings
from taskq.testing import memory


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pyproject.toml"
    path.write_text(text)
    return path


def test_the_nearest_pyproject_upwards_is_the_project(tmp_path: Path) -> None:
    write(tmp_path, '[tool.taskq]\napp = "outer:app"\n')
    source = write(
        tmp_path / "my shop", '[tool.taskq]\napp = "shop:app"\nurl = "redis://h"\n[tool.taskq.worker]\nx = 1\n'
    )
    deep = tmp_path / "my shop" / "src" / "deep"
    deep.mkdir(parents=True)
    settings = read_settings(deep)
    assert (settings.app, settings.url, settings.project_root) == ("shop:app", "redis://h", source.parent)
    assert settings.source == source
    assert settings.values["worker"] == {"x": 1}


def test_a_pyproject_without_our_table_still_marks_the_project(tmp_path: Path) -> None:
    source = write(tmp_path, "[project]\nname = 'x'\n")
    assert read_settings(tmp_path) == Settings(tmp_path, source, None, None, {})


def test_without_a_pyproject_the_project_is_where_we_are(tmp_path: Path) -> None:
    settings = read_settings(tmp_path)
    assert (settings.project_root, settings.source, settings.app) == (tmp_path, None, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[tool.taskq", "cannot be read"),
        ("[tool.taskq]\napp = 3\n", "app must be a text"),
        ("[tool.taskq]\nurl = ' '\n", "url must be a text that is not empty"),
        ("[tool]\ntaskq = 1\n", "not a table"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, why: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=why) as refused:
        read_settings(tmp_path)
    assert str(path) in str(refused.value)


def test_settings_do_not_show_their_url(tmp_path: Path) -> None:
    assert "hush" not in repr(Settings(tmp_path, None, None, "redis://:hush@h", {"url": "redis://:hush@h"}))
    assert "hush" not in repr(broker_url("redis://:hush@h", {}, None, Settings(tmp_path)))


def test_the_broker_is_taken_from_the_first_place_that_names_one(tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path / "pyproject.toml", None, "redis://project")
    env = {"TASKQ_URL": "redis://environment"}

    def attach(root: Path) -> str | None:
        return "unix:///embedded"

    order = [
        broker_url("redis://option", env, "redis://app", settings, attach),
        broker_url(None, env, "redis://app", settings, attach),
        broker_url(None, {}, "redis://app", settings, attach),
        broker_url(None, {"TASKQ_URL": ""}, None, settings, attach),
        broker_url(None, {}, None, Settings(tmp_path), attach),
    ]
    assert [choice.url for choice in order] == [
        "redis://option",
        "redis://environment",
        "redis://app",
        "redis://project",
        "unix:///embedded",
    ]
    assert [choice.source.split(" ")[0] for choice in order] == ["--url", "TASKQ_URL", "url=", "url", "the"]


def test_without_any_broker_the_error_names_three_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        broker_url(None, {}, None, Settings(tmp_path), lambda root: None)
    for way in (str(tmp_path), "TASKQ_URL", "[tool.taskq]", "taskq dev", "taskq server start"):
        assert way in str(refused.value)


def test_a_project_whose_server_is_not_running_says_so(tmp_path: Path) -> None:
    (tmp_path / ".taskq").mkdir()
    with pytest.raises(
        BrokerUnavailable, match="the server of this project is not running: `taskq server start`"
    ) as no:
        broker_url(None, {}, None, Settings(tmp_path), lambda root: None)
    assert no.value.sent is False
    with pytest.raises(ConfigError, match="did you mean TASKQ_URL"):
        broker_url(None, {"TASKQ_ULR": "redis://h"}, None, Settings(tmp_path), lambda root: None)


def test_memory_needs_no_server_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASKQ_URL", raising=False)
    (tmp_path / ".taskq").mkdir()
    with memory(TaskQ("shop")) as q:
        assert q.enqueued == []
