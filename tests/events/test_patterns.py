"""Which topics a pattern means (statement 55)."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import TaskQ
from taskq.errors import InvalidName
from taskq.events.patterns import Pattern, is_pattern

TABLE = """
orders.*            orders.eu              yes
orders.*            orders.us              yes
orders.*            orders                 no
orders.*            orders.eu.new          no
orders.*            order.eu               no
orders.*            Orders.eu              no
orders.*            xorders.eu             no
orders.*            orders.e_u-1           yes
*.eu                orders.eu              yes
*.eu                eu                     no
*.eu                a.b.eu                 no
*.eu                orders.eu2             no
orders.*.eu         orders.new.eu          yes
orders.*.eu         orders.eu              no
orders.*.eu         orders.a.b.eu          no
orders.*.eu         orders.new.us          no
orders.*.*          orders.a.b             yes
orders.*.*          orders.a               no
orders.*.*          orders.a.b.c           no
*.*                 a.b                    yes
*.*                 a                      no
*.*                 a.b.c                  no
*                   orders                 yes
*                   orders.eu              no
*                   a-b_c                  yes
orders.>            orders.eu              yes
orders.>            orders.eu.new          yes
orders.>            orders.a.b.c.d         yes
orders.>            orders                 no
orders.>            ordersx.eu             no
orders.>            orders2                no
orders.#            orders.eu              yes
orders.#            orders.eu.new          yes
orders.#            orders                 no
>                   orders                 yes
>                   orders.eu.new          yes
#                   orders                 yes
#                   a.b.c                  yes
*.>                 a.b                    yes
*.>                 a.b.c                  yes
*.>                 a                      no
orders.*.>          orders.a.b             yes
orders.*.>          orders.a.b.c           yes
orders.*.>          orders.a               no
orders.*.#          orders.a.b.c           yes
a-b.*               a-b.c                  yes
a-b.*               axb.c                  no
a.b.*               a.b.c                  yes
a.b.*               axb.c                  no
a_1.*.z             a_1.2.z                yes
a.*                 a.b-                   yes
"""
CASES = TABLE.strip().splitlines()


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case.split()))
def test_s55_a_star_is_one_level_and_the_rest_is_the_rest(case: str) -> None:
    pattern, name, answer = case.split()
    assert Pattern.of(pattern).matches(name) is (answer == "yes")


def test_s55_the_table_has_fifty_cases() -> None:
    assert len(CASES) >= 50
    assert len(set(CASES)) == len(CASES)


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..*", "a.>.b", "#.a", "a*", "or*ers", "a.**", "a.>>", "{a}.*", "a b.*", "*a.b"]
)
def test_what_cannot_be_meant_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidName, match="topic pattern"):
        Pattern.of(text)


def test_a_plain_name_is_no_pattern() -> None:
    assert not is_pattern("orders.eu")
    assert is_pattern("orders.*")
    assert is_pattern(">")


def test_the_glob_of_the_server_lets_nothing_fall() -> None:
    assert Pattern.of("orders.*.>").glob == "orders.*.*"


@pytest.mark.parametrize("mode", ["partition", "key", "unordered", "global"])
def test_an_ordered_group_says_which_modes_follow_a_pattern(mode: str) -> None:
    app = TaskQ("shop")
    said: dict[str, Any] = {"group": "audit", "mode": mode}
    with pytest.raises(InvalidName, match=r"'orders\.\*' is a pattern.*mode='shared'"):
        app.subscribe("orders.*", **said)
    with pytest.raises(InvalidName, match=r"'orders\.>' is a pattern.*mode='shared'"):
        app.bridge("orders.>", group="audit", call=lambda record: None)
    app.subscribe("orders.*", group="audit", mode="shared")
    app.subscribe("orders.*", mode="broadcast")
