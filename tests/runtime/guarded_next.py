"""The app of `guarded` one release later: `added` is new, `gated` is gone."""

from __future__ import annotations

from tests.runtime import guarded

app = guarded.app
# A release is a set of registered tasks; there is no public way to take one away.
for name in [name for name in app.tasks if not name.endswith((".quick", ".aquick"))]:
    del app._registry._by_name[name]


@app.task(queue="work", name="tests.runtime.guarded.added")
def added(tag: str) -> str:
    guarded.say("start", tag)
    return tag
