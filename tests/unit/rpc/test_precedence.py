from __future__ import annotations

from taskmeter.rpc.precedence import ARRIVAL_SECONDS, Precedence

TERMINATE = "/taskmeter.v1.TaskService/Terminate"


def test_a_call_that_ends_work_has_precedence_from_its_name_to_its_answer() -> None:
    precedence = Precedence(lambda: 1.0)
    claimed = [precedence.claimed]
    precedence.expect(TERMINATE)
    claimed.append(precedence.claimed)
    with precedence:
        claimed.append(precedence.claimed)
        with precedence:
            pass
        claimed.append(precedence.claimed)  # another one goes on
    claimed.append(precedence.claimed)
    assert claimed == [False, True, True, True, False]


def test_no_other_call_has_it() -> None:
    precedence = Precedence(lambda: 1.0)
    for path in ("/taskmeter.v1.TaskService/StartTask", "/taskmeter.v1.TaskService/GetTaskStatus", "", "Terminate"):
        precedence.expect(path)
        assert not precedence.claimed


def test_a_call_that_never_says_what_it_wants_holds_nobody_up() -> None:
    now = 1.0
    precedence = Precedence(lambda: now)
    precedence.expect(TERMINATE)
    now += ARRIVAL_SECONDS
    assert not precedence.claimed
