"""`taskmeter retry`: run ended tasks again."""

from __future__ import annotations

import time

import click

from taskmeter.cli import exits, options
from taskmeter.cli.output import print_json


@click.command()
@click.argument("token", required=False)
@click.option("--failed", is_flag=True, help="All that failed, timed out, were killed, were lost, or did not start.")
@click.option(
    "-s",
    "--status",
    "words",
    multiple=True,
    metavar="WORD",
    help="All that ended so: failed, timeout, oom, signaled, lost, interrupted; repeatable.",
)
@options.tags("All with this tag; repeatable, all must match.")
@click.option("--project", "project_id", default="", help="All of this project.")
@click.option("--queue", default="", help="All of this queue.")
@click.option("--name", "name_prefix", default="", help="All whose name begins so.")
@click.option("--since", "since_seconds", type=options.SPAN, metavar="TIME", help="All accepted in the last so long (2h, 7d).")
@click.option("--all", "everything", is_flag=True, help="All that can be run again.")
@click.option("--as-new", is_flag=True, help="Start copies with new tokens; works for any ended task.")
@click.option("--dry-run", is_flag=True, help="Only say which tasks would be retried.")
@options.json_flag("Print the status view of the task, or of many one object: tokens, refusals, counts.")
@options.connection
def retry(
    token: str | None,
    failed: bool,
    words: tuple[str, ...],
    tags: tuple[tuple[str, str], ...],
    project_id: str,
    queue: str,
    name_prefix: str,
    since_seconds: float | None,
    everything: bool,
    as_new: bool,
    dry_run: bool,
    as_json: bool,
    target: str | None,
    state_dir: str | None,
) -> int:
    """Run a failed task again as its next attempt, or all that match filters; print the tokens of what runs.

    Tasks that succeeded or were stopped on request are refused (exit code 3); --as-new starts copies of those. Filters narrow
    each other: --failed --queue q --tag a=b retries what failed in that queue and has that tag, those accepted first before the
    others. Without --failed and --status all is meant that can be run again. With filters, refused tasks are named on stderr,
    and the exit code is 3 only if it had to stop early: then once more, later, goes on with the rest.
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.retry_many import retry_many
    from taskmeter.cli.selection import resolve

    filtered = bool(failed or words or tags or project_id or queue or name_prefix or since_seconds is not None)
    if (everything or filtered) == (token is not None):
        raise click.UsageError(
            "say which tasks: give a token, or --failed, --status, --tag, --project, --queue, --name, --since, --all"
        )
    if token is not None and dry_run:
        raise click.UsageError("--dry-run goes with filters")
    with connect(target, state_dir) as client:
        if token is not None:
            started = client.retry_task(resolve(client, token), as_new=as_new)
            if as_json:
                print_json(started.status)
            else:
                click.echo(started.token)
            return 0
        done = retry_many(
            client,
            status=(*words, "failed") if failed else words,
            tags=dict(tags),
            project_id=project_id,
            queue=queue,
            name_prefix=name_prefix,
            created_after_time=time.time() - since_seconds if since_seconds is not None else 0.0,
            everything=everything and not filtered,
            as_new=as_new,
            dry_run=dry_run,
        )
    if as_json:
        print_json(done.as_json(dry_run=dry_run))
    else:
        done.tell(dry_run=dry_run)
    return exits.REFUSED if done.stopped else 0
