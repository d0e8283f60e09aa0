"""The drawing of the house, held by reading the sources: floors, rings, ceilings, Lua heads and forbidden words.

A rule yields breaches as `"rule: subject"` and a sentence. A breach may stand only with its reason in `ALLOW`, and only
as long as it is a breach.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

# "rule: subject" -> why it may stand. The test prints the key of each breach.
ALLOW: dict[str, str] = {
    "parameters: taskq.tasks.app.TaskQ.__init__": "the one place where an app is described; all are optional",
}

ROOT = Path(__file__).parent.parent
PACKAGES = ("taskq", "workers/taskq_workers", "dashboard/taskq_dashboard")
CODE = (*PACKAGES, "tests", "benchmarks", "examples")
MODULE_LINES, FUNCTION_LINES, LUA_LINES, PARAMETERS = 400, 60, 90, 8

# Each floor, and the floors that it may import besides itself. "face" is the package root, which gathers the rest.
FLOORS: dict[str, set[str]] = {
    "ground": set(),
    "store": {"ground"},
    "tasks": {"ground", "store"},
    "events": {"ground", "store"},
    "flows": {"ground", "store", "events"},
    "bridge": {"ground", "store", "tasks", "events"},
    "operator": {"ground", "store", "tasks", "events", "flows"},
    "testing": {"ground", "store", "tasks", "events", "flows", "bridge"},
    "face": {"ground", "store", "tasks", "events", "flows", "bridge", "operator", "testing"},
    "workers": {"ground", "store", "tasks", "events", "flows", "bridge", "testing", "face"},
    "commands": {"ground", "store", "tasks", "events", "flows", "bridge", "testing", "face", "workers", "operator"},
    "dashboard": {"ground", "store", "operator"},
}
FLOOR_OF = {
    "inspector": "operator",
    "control": "operator",
    "snapshot": "operator",
    "topics": "operator",
    "topic_info": "operator",
    "topic_control": "operator",
    "topic_reading": "operator",
    "topic_looks": "operator",
    "metrics": "operator",
    "exporter": "operator",
    "desk": "operator",
    "figures": "operator",
    "watching": "operator",
    "details": "operator",
    "queue_looks": "operator",
    "asks": "operator",
    "testing": "testing",
    "bridge": "bridge",
    "pytest_plugin": "face",
    "app": "face",
}

Breach = tuple[str, str]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    path: Path
    name: str  # dotted, as it is imported; a package's own file is the package
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    def imports(self) -> Iterator[tuple[str, str]]:
        """(module, name) of every import wherever it stands; the name is empty for a plain `import`."""
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                module = ".".join([*above, *([node.module] if node.module else [])])
                yield from ((module, alias.name) for alias in node.names)


@dataclass(frozen=True)
class House:
    root: Path

    def files(self, suffix: str, folders: tuple[str, ...]) -> Iterator[Path]:
        for folder in folders:
            yield from sorted((self.root / folder).rglob(f"*{suffix}"))

    def short(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def load(self, folders: tuple[str, ...]) -> Iterator[Module]:
        for path in self.files(".py", folders):
            parts = list(path.relative_to(self.root).with_suffix("").parts)
            parts = parts[1:] if parts[0] in ("workers", "dashboard") else parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            yield Module(path, ".".join(parts), path.read_text("utf-8"))

    @cached_property
    def modules(self) -> dict[str, Module]:
        return {module.name: module for module in self.load(PACKAGES)}

    @cached_property
    def edges(self) -> dict[str, set[str]]:
        """Who imports whom among our own modules; `from package import module` counts for the module."""
        edges: dict[str, set[str]] = {}
        for module in self.modules.values():
            targets = (
                f"{base}.{name}" if f"{base}.{name}" in self.modules else base for base, name in module.imports()
            )
            edges[module.name] = {target for target in targets if target in self.modules}
        return edges


def floor(name: str) -> str:
    top, *rest = name.split(".")
    if top != "taskq":
        return "commands" if rest[:1] == ["commands"] else top.removeprefix("taskq_")
    if not rest:
        return "face"
    return rest[0] if rest[0] in FLOORS else FLOOR_OF.get(rest[0], "ground")


def functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for node in ast.iter_child_nodes(tree):
        inner = prefix
        if isinstance(node, Function | ast.ClassDef):
            inner = f"{prefix}.{node.name}"
        if isinstance(node, Function):
            yield inner, node
        yield from functions(node, inner)


# -- the rules ---------------------------------------------------------------------------------------------------------


def floors(house: House) -> Iterator[Breach]:
    for source, targets in house.edges.items():
        for target in sorted(targets):
            if floor(target) not in FLOORS[floor(source)] | {floor(source)}:
                yield f"floor: {source} -> {target}", f"{floor(source)} may not import {floor(target)}"


def rings(house: House) -> Iterator[Breach]:
    """Peel off modules that import nothing left, or are imported by nothing left: what remains stands in a ring."""
    edges = house.edges
    left = set(edges)
    while left:
        imported = {target for source in left for target in edges[source] & left}
        free = {source for source in left if not edges[source] & left or source not in imported}
        if not free:
            yield f"ring: {min(left)}", f"these import each other: {', '.join(sorted(left))}"
            return
        left -= free


def ceilings(house: House) -> Iterator[Breach]:
    for module in house.load(CODE):
        lines = module.text.count("\n")
        if lines > MODULE_LINES:
            yield f"module: {house.short(module.path)}", f"{lines} lines, at most {MODULE_LINES}"
        for name, node in functions(module.tree, module.name):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"function: {name}", f"{lines} lines, at most {FUNCTION_LINES}"
            taken = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) - 1
            if node.name in ("__init__", "__new__") and taken > PARAMETERS:
                yield f"parameters: {name}", f"{taken} parameters, at most {PARAMETERS}; more is a frozen config"


def scripts(house: House) -> Iterator[Breach]:
    for path in house.files(".lua", ("taskq",)):
        lines, short = path.read_text("utf-8").splitlines(), house.short(path)
        head = [line for i, line in enumerate(lines) if all(above.startswith("--") for above in lines[: i + 1])]
        if len(lines) > LUA_LINES:
            yield f"script: {short}", f"{len(lines)} lines, at most {LUA_LINES}"
        part = path.parent.name == "parts"  # it becomes a script only with the head and the verb that it is put around
        if part and not head:
            yield f"head: {short}", "it does not begin with what it is for"
        for word in ("KEYS", "ARGV", "Returns"):
            if not part and not any(re.match(rf"--\s*{word}\b", line) for line in head[1:]):
                yield f"head: {short}", f"its head has no line that starts with {word}"
        if any("cjson" in line for line in lines):
            yield f"cjson: {short}", "payloads stay opaque to scripts"


def border(house: House) -> Iterator[Breach]:
    """redis-py's errors are translated at one place; everywhere else only ours exist."""
    for module in house.modules.values():
        if module.name == "taskq.store.connection":
            continue
        names = {f"{base}.{name}" for base, name in module.imports()}
        names |= {ast.unparse(node) for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)}
        for name in sorted(names):
            if re.match(r"redis\.(asyncio\.)?(exceptions\b|\w*Error$)", name):
                yield f"border: {house.short(module.path)}", f"{name} belongs to taskq/store/connection.py"


def danger(house: House) -> Iterator[Breach]:
    """Nothing that runs stored data as code, and no handler that swallows what it does not know."""
    for module in house.modules.values():
        short = house.short(module.path)
        for base, _ in module.imports():
            if base.split(".")[0] in ("pickle", "marshal", "shelve", "dill", "cloudpickle"):
                yield f"danger: {short}", f"imports {base}"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                yield f"danger: {short}", f"line {node.lineno} calls {node.func.id}"
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
                if node.type is None or (broad and all(isinstance(step, ast.Pass) for step in node.body)):
                    yield f"handler: {short}", f"line {node.lineno} swallows every error"


def places(house: House) -> Iterator[Breach]:
    """The project runs anywhere: it names no package registry and no folder of one machine."""
    hosts = r"\b(pypi|pythonhosted|npmjs|crates|rubygems)\.(org|com|io)\b"
    folders = r"(?<![\w./-])/(work|root|home/\w+|Users/\w+)\b"
    kinds = {".py", ".lua", ".md", ".toml", ".cfg", ".sh", ".yml", ".yaml", ".json", ".service", ".txt", ""}
    inside = {*CODE, "workers", "dashboard", "docs", ".ci"}
    for path in sorted(house.root.rglob("*")):
        steps = path.relative_to(house.root).parts
        if (len(steps) > 1 and steps[0] not in inside) or path.suffix not in kinds or not path.is_file():
            continue
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            if found := re.search(f"{hosts}|{folders}", line):
                yield f"place: {house.short(path)}", f"line {number} names {found[0]}"


RULES: tuple[Callable[[House], Iterator[Breach]], ...] = (floors, rings, ceilings, scripts, border, danger, places)


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_stands_as_drawn(rule: Callable[[House], Iterator[Breach]], house: House) -> None:
    assert house.modules, "no sources were found"
    breaches = [f"{key}\n    {text}" for key, text in rule(house) if key not in ALLOW]
    assert not breaches, "\n" + "\n".join(breaches)


def test_no_allowance_outlives_its_breach(house: House) -> None:
    assert set(ALLOW) <= {key for rule in RULES for key, _ in rule(house)}
    assert all(len(reason) > 20 for reason in ALLOW.values()), "an allowance gives its reason in a sentence"


CROOKED = {
    "taskq/errors.py": "def go() -> None:\n    from taskq.store import keys\n",
    "taskq/store/__init__.py": "",
    "taskq/store/keys.py": "if TYPE_CHECKING:\n    from taskq.errors import TaskqError\n",
    "taskq/tasks/long.py": "x = 1\n" * 401 + "import pickle\ntry:\n    eval('1')\nexcept:\n    pass\n",
    "taskq/tasks/wide.py": "class Wide:\n    def __init__(self, a, b, c, d, e, *, f, g, h, i): ...\n",
    "taskq/tasks/deep.py": "def deep():\n" + "    pass\n" * 60,
    "taskq/store/lua/bad.lua": "-- Does a thing.\nlocal x = cjson.decode('1')\n" * 46,
    "workers/taskq_workers/loop.py": "import redis.exceptions\nimport taskq.inspector\n",
    "workers/taskq_workers/commands/fine.py": "import taskq.inspector\n",
    "dashboard/taskq_dashboard/app.py": "from ..taskq.tasks import wide\nimport taskq.tasks.wide\n",
    "taskq/inspector.py": "try:\n    import redis\nexcept Exception:\n    pass\nraise redis.ConnectionError\n",
    "docs/page.md": "see https://pypi" + ".org/project/x or run it in /" + "root/x\n",
}


def test_each_rule_finds_what_it_forbids(tmp_path: Path) -> None:
    for name, text in CROOKED.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    crooked = House(tmp_path)
    assert {key for rule in RULES for key, _ in rule(crooked)} == {
        "floor: taskq.errors -> taskq.store.keys",
        "floor: taskq_workers.loop -> taskq.inspector",
        "floor: taskq_dashboard.app -> taskq.tasks.wide",
        "ring: taskq.errors",
        "module: taskq/tasks/long.py",
        "function: taskq.tasks.deep.deep",
        "parameters: taskq.tasks.wide.Wide.__init__",
        "script: taskq/store/lua/bad.lua",
        "head: taskq/store/lua/bad.lua",
        "cjson: taskq/store/lua/bad.lua",
        "border: workers/taskq_workers/loop.py",
        "border: taskq/inspector.py",
        "danger: taskq/tasks/long.py",
        "handler: taskq/tasks/long.py",
        "handler: taskq/inspector.py",
        "place: docs/page.md",
    }
