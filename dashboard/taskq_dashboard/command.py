"""`taskq dashboard`."""

from __future__ import annotations

import math
from pathlib import Path

import click

from taskq.desk import open_desk
from taskq.errors import InvalidName
from taskq.names import check_name
from taskq.settings import URL_VARIABLE


def _finite(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """NaN is in every range, since it compares with nothing."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds", ctx, param)
    return value


def _namespace(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refused here, so that the error can say where it comes from."""
    try:
        return check_name(value, "namespace") if value else None
    except InvalidName as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command()
@click.option("--once", is_flag=True, help="Print one plain screen and end; so it does without a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one look as JSON, for scripts.")
@click.option(
    "--svg",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write one screen there; - is standard output.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3_600.0),
    callback=_finite,
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="The time between two looks.",
)
@click.option("--read-only", is_flag=True, help="Take no key that changes anything.")
@click.option("--no-color", is_flag=True, help="No colours; NO_COLOR does the same.")
@click.option("--ascii", "only_ascii", is_flag=True, help="No signs but ASCII; so it is where the locale has no UTF-8.")
@click.option(
    "--namespace",
    metavar="NAME",
    envvar=["TASKQ_NAMESPACE"],
    callback=_namespace,
    help="The namespace; else the app's, or namespace in [tool.taskq].",
)
@click.option("--app", metavar="MODULE:APP", help="The app whose broker is meant.")
@click.option("--url", metavar="URL", help=f"The broker; else {URL_VARIABLE}, the app, the project.")
@click.pass_context
def dashboard(
    ctx: click.Context,
    once: bool,
    as_json: bool,
    svg: Path | None,
    interval: float,
    read_only: bool,
    no_color: bool,
    only_ascii: bool,
    namespace: str | None,
    app: str | None,
    url: str | None,
) -> int:
    """Watch queues, workers and dead letters live, and deal with them; `?` shows the keys.

    It reads with one short round trip per look, whatever the queues hold. Exit code 0 after q, 130 after Ctrl+C.
    """
    if as_json and svg is not None:
        raise click.UsageError("--json and --svg are two things: give one of them")
    # rich comes with these, and help needs none of it.
    from taskq_dashboard.source import Live
    from taskq_dashboard.start import Wishes, start

    with open_desk(ctx.obj, url, app, namespace) as desk:
        desk.inspector.server_ms()  # a wrong address is an error; an outage later is one line on the screen
        return start(Live(desk), Wishes(once, as_json, svg, interval, read_only, no_color, only_ascii))
