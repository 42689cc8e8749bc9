"""Judges each guarantee by name, from what clients saw, what the store says, the task directories and /proc.

Call it when everything has ended (`Rig.settle`). A guarantee that holds has an empty list of violations.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from taskmeter.executors import taskdir
from taskmeter.model.state import FREES_IDEMPOTENCY_KEY, LEGAL, TERMINAL, Outcome, State
from taskmeter.stores.stale import REFUSED
from taskmeter.v1 import task_pb2
from tests import processes
from tests.faults.history import event_fact, read_history
from tests.faults.jobs import CANARY_PREFIX, Job
from tests.faults.rig import Rig
from tests.waiting import wait_until

GONE_SECONDS = 5.0
STOP_SLACK_SECONDS = 1.0 + 5.0
"""What G7 allows beyond the grace period, and the slack of a busy machine."""
EVENTS_SECONDS = 300.0
KILLED = 9
MAY_REFUSE = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED"}
"""How a submit may fail when the daemon is away, slow, without a disk or full (G11)."""


@dataclass(slots=True)
class Evidence:
    """Everything there is to judge by."""

    rig: Rig
    children_hurt: bool = False
    """Children of supervisors were hurt before they began their commands."""
    supervisors_hurt: bool = False
    """Supervisors were killed when they had recorded how the main process ended, but not yet that its tree was gone."""
    hurt: set[str] = field(default_factory=set)
    """Tokens of tasks of which a process was killed with SIGKILL."""
    jobs: dict[str, Job] = field(default_factory=dict)
    tokens: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By a job's name, each token that was acknowledged for it."""
    stops: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By token, when its stop was acknowledged and with how much grace."""
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """By subscriber, the events it saw, in its order."""
    tasks: dict[str, task_pb2.TaskStatus] = field(default_factory=dict)
    events: list[tuple[int, str, int, int, str, int]] = field(default_factory=list)
    """As the store has them: seq, token, from, to, reason, attempt. Of those that were compacted, what a subscriber saw."""
    deleted: dict[str, int] = field(default_factory=dict)
    """Tokens that retention has deleted, and the seq of that event."""
    gone_times: dict[str, float] = field(default_factory=dict)
    """By token, when the daemon found the tree of a task's last attempt empty."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Codes and texts of submits that were not accepted."""
    head_seq: int = 0
    starts: Counter[str] = field(default_factory=Counter)
    """By TOKEN.ATTEMPT, how often its command was begun."""


def gather(rig: Rig) -> Evidence:
    """Read it all."""
    found = Evidence(rig)
    for fact in read_history(rig.directory):
        if fact["fact"] == "asked":
            job = Job.from_json(fact["job"])
            found.jobs[job.name] = job
        elif fact["fact"] == "accepted":
            found.tokens[fact["name"]].add(fact["token"])
        elif fact["fact"] == "stop accepted":
            found.stops[fact["token"]] = (fact["time"], fact["grace_seconds"])
        elif fact["fact"] == "refused":
            found.refused.append((fact["code"], fact["text"]))
        elif fact["fact"] == "event":
            found.seen[fact["client"]].append(fact)
    page_token = ""
    while True:
        page = rig.daemon.calls.ListTasks(page_size=1000, page_token=page_token)
        found.tasks.update((task.token, task) for task in page.tasks)
        page_token = page.next_page_token
        if not page_token:
            break
    _gather_events(found, rig)
    with closing(sqlite3.connect(rig.daemon.state_dir / "taskmeter.db")) as database:
        found.gone_times.update(database.execute("SELECT token, json_extract(detail, '$.gone_time') FROM tasks"))
    starts = rig.directory / "starts"
    if starts.exists():
        found.starts.update(line.split(" ")[0] for line in starts.read_text().splitlines())
    return found


def _gather_events(found: Evidence, rig: Rig) -> None:
    """The store's events, and before them those that a subscriber saw and that have been compacted since."""
    info = rig.daemon.calls.GetServerInfo()
    while (stored := _read_events(rig, info.first_seq, info.head_seq)) is None:
        info = rig.daemon.calls.GetServerInfo()
    found.head_seq = info.head_seq
    seen = [fact for fact in next(iter(found.seen.values()), []) if fact["seq"] < info.first_seq]
    for each in (*seen, *stored):
        moved = (each["before"], each["after"], each["reason"], each["attempt"])
        found.events.append((each["seq"], each["token"], *moved))
        if each["deleted"]:
            found.deleted[each["token"]] = each["seq"]


def _read_events(rig: Rig, first_seq: int, head_seq: int) -> list[dict[str, Any]] | None:
    """Read them all; None if the oldest have been compacted meanwhile."""
    events = []
    stream = rig.daemon.calls.StreamEvents(from_seq=first_seq, timeout=EVENTS_SECONDS)
    try:
        for message in stream:
            events += [event_fact(event) for event in message.events]
            if message.seq >= head_seq:
                stream.cancel()
                break
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.OUT_OF_RANGE:
            return None
        raise
    return [event for event in events if event["seq"] <= head_seq]


def g1_accepted_is_durable(found: Evidence) -> list[str]:
    """Every acknowledged task, and every event that somebody saw, is there."""
    known = found.tasks.keys() | found.deleted.keys()
    lost = [f"{name}: {token} was acknowledged" for name, tokens in found.tokens.items() for token in tokens - known]
    stored = {seq: (token, before, after) for seq, token, before, after, _, _ in found.events}
    for client, events in found.seen.items():
        lost += [
            f"{client} saw event {event['seq']} of {event['token']}; stored is {stored.get(event['seq'])}"
            for event in events
            if stored.get(event["seq"]) != (event["token"], event["before"], event["after"])
        ]
    return lost


def g2_a_key_means_one_task(found: Evidence) -> list[str]:
    """A second task of a key only after one whose outcome frees it."""
    by_name: dict[str, list[task_pb2.TaskStatus]] = defaultdict(list)
    for task in found.tasks.values():
        by_name[task.name].append(task)
    wrong = []
    for name, tasks in by_name.items():
        tasks.sort(key=lambda task: task.create_time)
        if any(Outcome(task.outcome) not in FREES_IDEMPOTENCY_KEY for task in tasks[:-1]):
            wrong.append(f"{name}: {[(task.token, task.outcome) for task in tasks]}")
    return wrong


def g3_at_most_one_start(found: Evidence) -> list[str]:
    """Each attempt was begun once at most, and nothing was begun that is not known."""
    wrong = [f"{attempt} was begun {count} times" for attempt, count in found.starts.items() if count > 1]
    known = found.tasks.keys() | found.deleted.keys()
    return wrong + [f"{attempt} is unknown" for attempt in found.starts if attempt.split(".")[0] not in known]


def g4_tasks_outlive_the_daemon(found: Evidence) -> list[str]:
    """Nothing is LOST or failed to start because a daemon died."""
    bad = {int(Outcome.LOST), int(Outcome.FAILED_TO_START), int(Outcome.INTERRUPTED)}
    return [f"{task.name} {token}: {task.exit_message}" for token, task in found.tasks.items() if task.outcome in bad]


def g5_exact_exit_truth(found: Evidence) -> list[str]:
    """How it ended is what it did, or honestly unknown."""
    wrong = []
    for token, task in found.tasks.items():
        job = found.jobs[task.name]
        begun = f"{token}.{task.attempt}" in found.starts
        if Outcome(task.outcome) is Outcome.LOST:
            continue  # whether that was right, G4 says
        if Outcome(task.outcome) is Outcome.FAILED_TO_START:
            if begun:
                wrong.append(f"{task.name} {token} ran, and is said to have failed to start: {task.exit_message}")
            continue
        if found.children_hurt and not begun and Outcome(task.outcome) in {Outcome.SIGNALED, Outcome.FAILED}:
            continue
        told = (task.outcome, task.exit_code, task.exit_signal)
        true = {
            "exit": (job.outcome, job.code, 0),
            "tree": (job.outcome, job.code, 0),
            "kill": (job.outcome, -job.code, job.code),
        }.get(job.kind)
        if token in found.hurt and (told[1:] == (-KILLED, KILLED) or told[1:] == (128 + KILLED, 0)):
            continue  # the main process was hit, or told of a child that was
        if true is not None and (told != true or not begun):
            wrong.append(f"{task.name} {token}: told {told}, true is {true}, begun: {begun}")
        if job.is_stopped and task.outcome != job.outcome and token not in found.hurt:
            wrong.append(f"{task.name} {token}: was stopped, told {told}")
    return wrong


def g6_no_orphans(found: Evidence) -> list[str]:
    """No process of any task is left."""
    state_dir = found.rig.daemon.state_dir
    try:
        wait_until(lambda: not processes.of_state_dir(state_dir), "all gone", GONE_SECONDS)
    except AssertionError:
        return [f"{pid}: {line}" for pid, line in processes.of_state_dir(state_dir).items()]
    return []


def g7_bounded_stop(found: Evidence) -> list[str]:
    """From an acknowledged stop to an empty tree, by its supervisor's record, or the daemon's if that was killed: grace + 1 s."""
    late = []
    for token, (at, grace) in found.stops.items():
        task = found.tasks.get(token)
        if task is None or Outcome(task.outcome) is Outcome.LOST or f"{token}.{task.attempt}" not in found.starts:
            continue  # what never began was always empty; when that is written down depends on when a daemon runs
        directory = taskdir.attempt_path(str(found.rig.daemon.state_dir).encode(), token, task.attempt)
        gone = taskdir.unpack_gone(Path(directory.decode(), "gone").read_bytes())
        gone_time = gone.end_realtime_ns / 1e9 if gone is not None and gone.final else 0.0
        if not gone_time and found.supervisors_hurt:  # the daemon ended its tree, and noted when that was gone
            gone_time = found.gone_times.get(token, 0.0)
        if not gone_time:
            late.append(f"{task.name} {token}: its tree was never seen empty")
        elif (seconds := gone_time - at) > grace + STOP_SLACK_SECONDS:
            late.append(f"{task.name} {token}: {seconds:.1f} s after a stop with {grace:g} s of grace")
    return late


def g8_events_without_a_gap(found: Evidence) -> list[str]:
    """The store's sequence is whole, and so is what each subscriber saw over all its streams."""
    wrong = []
    if [event[0] for event in found.events] != list(range(1, found.head_seq + 1)):
        wrong.append(f"the store has {len(found.events)} events up to {found.head_seq}")
    for client, events in found.seen.items():
        expected = 1
        for event in events:
            if event["seq"] != expected:
                wrong.append(f"{client} saw {event['seq']} after {expected - 1}")
            expected = event["seq"] + 1
        if expected <= found.rig.settled_seq:
            wrong.append(f"{client} saw events up to {expected - 1} of {found.rig.settled_seq}")
    return wrong


def g9_legal_histories(found: Evidence) -> list[str]:
    """Only moves of the table; RUNNING before the end of what ran; one end per attempt. No change was made from an old state."""
    wrong = [line for line in found.rig.daemon.log().splitlines() if REFUSED in line]
    state: dict[str, int] = {}
    passed: dict[str, set[int]] = defaultdict(set)
    ends: Counter[str] = Counter()
    for seq, token, before, after, reason, attempt in found.events:
        if found.deleted.get(token) == seq:
            if State(state.get(token, 0)) not in TERMINAL:
                wrong.append(f"event {seq}: {token} is deleted in state {state.get(token)}")
            continue
        if token not in state:
            state[token] = 0
            if (before, after, reason) != (0, 0, "accepted"):
                wrong.append(f"event {seq}: {token} begins with {before} -> {after}")
            continue
        if before != state[token] or State(after) not in LEGAL[State(before)]:
            wrong.append(f"event {seq}: {token} moves {before} -> {after} in state {state[token]}")
        state[token] = after
        passed[f"{token}.{attempt}"].add(after)
        ends[f"{token}.{attempt}"] += State(after) in TERMINAL
    for token, task in found.tasks.items():
        key = f"{token}.{task.attempt}"
        if state.get(token) != task.state or ends[key] != 1:
            wrong.append(f"{token}: status {task.state}, history {state.get(token)}, {ends[key]} ends")
        if key in found.starts and Outcome(task.outcome) is not Outcome.LOST and State.RUNNING not in passed[key]:
            wrong.append(f"{token} ran without having been RUNNING")
    return wrong


def g11_degrade_not_die(found: Evidence) -> list[str]:
    """No daemon ended by itself, and whoever was refused was told a code that says what to do: wait, or make room."""
    wrong = list(found.rig.deaths)
    wrong += [f"a submit was answered {code}: {text}" for code, text in found.refused if code not in MAY_REFUSE]
    log = found.rig.daemon.log()
    return wrong + [
        f"the log has {line[:300]}" for line in log.splitlines() if "internal error" in line or "never retrieved" in line
    ]


def g13_no_secrets(found: Evidence) -> list[str]:
    """A secret of the tasks' environment stands in no log, list or event, and in no supervisor's arguments."""
    canary = f"{CANARY_PREFIX}{found.rig.seed}"
    places = [("the log", found.rig.daemon.log())]
    places += [(f"status of {token}", str(task)) for token, task in found.tasks.items()]
    places += [(f"event {event[0]}", event[4]) for event in found.events]
    return [place for place, text in places if canary in text]


JUDGES = {
    "G1": g1_accepted_is_durable,
    "G2": g2_a_key_means_one_task,
    "G3": g3_at_most_one_start,
    "G4": g4_tasks_outlive_the_daemon,
    "G5": g5_exact_exit_truth,
    "G6": g6_no_orphans,
    "G7": g7_bounded_stop,
    "G8": g8_events_without_a_gap,
    "G9": g9_legal_histories,
    "G11": g11_degrade_not_die,
    "G13": g13_no_secrets,
}


def judge(found: Evidence, *, losses_allowed: bool = False) -> dict[str, list[str]]:
    """Return the violations by guarantee. `losses_allowed`: supervisors were hurt, so some tasks may rightly be LOST."""
    return {name: check(found) for name, check in JUDGES.items() if not (losses_allowed and name == "G4")}
