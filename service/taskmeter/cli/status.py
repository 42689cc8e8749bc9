"""`taskmeter status`: everything about one task."""

from __future__ import annotations

import click

from taskmeter.cli import options
from taskmeter.cli.output import console, print_json


@click.command()
@options.token_argument
@click.option("--plot", is_flag=True, help="Draw its use over time as well; with --json, add it as `history`.")
@click.option("--png", type=click.Path(), metavar="FILE", help="Write its use over time to FILE as a picture.")
@options.json_flag("Print the status view: one JSON object.")
@options.connection
def status(token: str, plot: bool, png: str | None, as_json: bool, target: str | None, state_dir: str | None) -> None:
    """Show everything about a task as it stands now."""
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve
    from taskmeter.cli.summary import print_summary

    with connect(target, state_dir) as client:
        found = client.get_task_status(resolve(client, token))
        history = client.metrics_history(found.token) if plot or png else None
    if history is not None and png:
        from taskmeter.cli.chart import write_chart

        write_chart(history, found, png)
    if as_json:
        print_json({**found, "history": history} if plot else found)
        return
    print_summary(found, console(), full=True)
    if history is not None and plot:
        from taskmeter.cli.plot import print_plot

        print_plot(history, found.start_time, console())
