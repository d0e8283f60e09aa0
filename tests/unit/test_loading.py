"""Finding the app: each way to name it wrongly has its own sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.errors import AppImportError, DuplicateTask
from taskq.loading import load_app

APP = "class App:\n    _is_taskq_app = True\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder to put modules into; what they import is forgotten afterwards."""
    modules, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def failure(path: str, folder: Path) -> str:
    with pytest.raises(AppImportError) as refused:
        load_app(path, folder=folder)
    return str(refused.value)


@pytest.mark.parametrize("path", ["lq_shop.app:app", "lq_shop.app.app", "lq_shop.app", "lq_shop.app:nested.app"])
def test_an_app_is_found_by_each_of_its_names(folder: Path, path: str) -> None:
    write(folder, "lq_shop/__init__.py", "")
    write(folder, "lq_shop/app.py", APP + "app = App()\nsame = app\nclass nested:\n    app = app\n")
    assert type(load_app(path, folder=folder)).__name__ == "App"


def test_a_missing_module_says_what_was_searched_and_what_is_near(folder: Path) -> None:
    write(folder, "lq_store.py", APP)
    text = failure("lq_stor:app", folder)
    assert "there is no module 'lq_stor'" in text
    assert str(folder) in text
    assert "did you mean 'lq_store'?" in text


def test_a_missing_submodule_is_looked_for_in_its_package(folder: Path) -> None:
    write(folder, "lq_pack/__init__.py", "")
    write(folder, "lq_pack/tasks.py", APP)
    text = failure("lq_pack.task:app", folder)
    assert "there is no module 'lq_pack.task'; searched the package lq_pack; did you mean 'tasks'?" in text


def test_a_module_is_no_package(folder: Path) -> None:
    write(folder, "lq_flat.py", APP + "app = App()\n")
    assert "lq_flat is a module, not a package" in failure("lq_flat.inner:app", folder)


def test_a_module_that_raises_is_not_called_missing(folder: Path) -> None:
    write(folder, "lq_broken.py", "\n\nvalue = {}['nothing']\n")
    text = failure("lq_broken:app", folder)
    assert "was found, but raised KeyError: 'nothing'" in text
    assert f"{folder / 'lq_broken.py'}:3" in text


def test_a_module_that_lacks_another_one_names_both(folder: Path) -> None:
    write(folder, "lq_needy.py", "import lq_not_installed\n")
    text = failure("lq_needy:app", folder)
    assert "the module lq_needy was found, but raised ModuleNotFoundError: No module named 'lq_not_installed'" in text
    assert "lq_needy.py:1" in text


@pytest.mark.parametrize("path", ["lq_bad:app", "lq_bad"])
def test_a_syntax_error_is_shown_with_its_place(folder: Path, path: str) -> None:
    write(folder, "lq_bad.py", "def f(:\n")
    text = failure(path, folder)
    assert "SyntaxError" in text
    assert "lq_bad.py:1" in text


def test_a_module_that_exits_does_not_end_us(folder: Path) -> None:
    write(folder, "lq_exit.py", "raise SystemExit(0)\n")
    assert "raised SystemExit" in failure("lq_exit:app", folder)


def test_an_error_of_ours_is_passed_on(folder: Path) -> None:
    write(folder, "lq_twice.py", "from taskq.errors import DuplicateTask\nraise DuplicateTask('twice')\n")
    with pytest.raises(DuplicateTask, match="twice"):
        load_app("lq_twice:app", folder=folder)


def test_a_missing_name_says_which_app_is_there(folder: Path) -> None:
    write(folder, "lq_shop2.py", APP + "queue_app = App()\n")
    text = failure("lq_shop2:queueapp", folder)
    assert "lq_shop2 has no 'queueapp'; did you mean 'queue_app'?; it holds lq_shop2:queue_app" in text


@pytest.mark.parametrize(
    ("name", "kind"), [("make", "of type function"), ("App", "a class"), ("number", "of type int")]
)
def test_what_is_no_app_is_named_for_what_it_is(folder: Path, name: str, kind: str) -> None:
    write(folder, "lq_shop3.py", APP + "def make(): ...\nnumber = 3\n")
    text = failure(f"lq_shop3:{name}", folder)
    assert f"is {kind}, not a TaskQ app; lq_shop3 holds no TaskQ app" in text


def test_a_module_alone_must_hold_one_app(folder: Path) -> None:
    write(folder, "lq_none.py", APP)
    write(folder, "lq_two.py", APP + "first = App()\nsecond = App()\n")
    assert "holds no TaskQ app" in failure("lq_none", folder)
    assert "say which: lq_two:first, lq_two:second" in failure("lq_two", folder)


@pytest.mark.parametrize("path", ["", ":", "shop:", ":app", "shop app:app", "shop..app", "shop:a:b", "shöp-x"])
def test_a_name_that_cannot_be_one_is_refused(folder: Path, path: str) -> None:
    assert "write module:attribute" in failure(path, folder)


@pytest.mark.parametrize("path", ["shop/app.py", "./shop/app.py:app", "shop.app.py"])
def test_a_file_is_not_a_module(folder: Path, path: str) -> None:
    assert "is a file; name the module and the app in it, like shop.app:app" in failure(path, folder)


def test_from_a_subfolder_the_folder_of_the_project_is_searched_too(folder: Path) -> None:
    write(folder, "pyproject.toml", '[tool.taskq]\napp = "lq_pro.tasks:app"\n')
    write(folder, "lq_pro/__init__.py", "")
    write(folder, "lq_pro/tasks.py", APP + "app = App()\n")
    below = folder / "scripts" / "deep"
    below.mkdir(parents=True)
    assert type(load_app("lq_pro.tasks:app", folder=below)).__name__ == "App"
    text = failure("lq_prx:app", below)
    assert f"searched {below}, {folder} and the installed packages; did you mean 'lq_pro'?" in text


def test_what_lies_nearer_comes_before_the_folder_of_the_project(folder: Path) -> None:
    write(folder, "pyproject.toml", '[tool.taskq]\napp = "lq_near:app"\n')
    write(folder, "lq_near.py", APP + "app = App()\n")
    write(folder, "below/lq_near.py", APP + "app = App()\napp.near = True\n")
    assert load_app("lq_near:app", folder=folder / "below").near
