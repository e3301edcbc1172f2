"""The life of an executor and of its tasks, line by line: every phase, every cause."""

import pytest

from mesolite.agent.executor_lifecycle import (
    CLOSING_PHASES,
    EXECUTOR_TABLE,
    ExecutorCause,
    ExecutorFollowUp,
    ExecutorPhase,
    executor_step,
)
from mesolite.agent.executor_task_lifecycle import TASK_TABLE, TaskCause, TaskFollowUp, task_step
from mesolite.agent.lifecycle import Phase

P, C, F = ExecutorPhase, ExecutorCause, ExecutorFollowUp
_tried: set[tuple[ExecutorPhase, ExecutorCause]] = set()
_tried_of_tasks: set[tuple[Phase, TaskCause]] = set()


def legal(phase: ExecutorPhase, cause: ExecutorCause, after: ExecutorPhase, *follow_ups: ExecutorFollowUp) -> None:
    _tried.add((phase, cause))
    assert executor_step(phase, cause) == (after, follow_ups)


def illegal(phase: ExecutorPhase, *causes: ExecutorCause) -> None:
    for cause in causes:
        _tried.add((phase, cause))
        assert executor_step(phase, cause) == (phase, (F.REFUSE,))


def legal_task(phase: Phase, cause: TaskCause, after: Phase, *follow_ups: TaskFollowUp) -> None:
    _tried_of_tasks.add((phase, cause))
    assert task_step(phase, cause) == (after, follow_ups)


def illegal_task(phase: Phase, *causes: TaskCause) -> None:
    for cause in causes:
        _tried_of_tasks.add((phase, cause))
        assert task_step(phase, cause) == (phase, (TaskFollowUp.REFUSE,))


def test_every_step_of_an_executor() -> None:
    _tried.clear()

    legal(P.LAUNCHING, C.PREPARING, P.LAUNCHING, F.SHOW_PREPARING)
    legal(P.LAUNCHING, C.STARTED, P.REGISTERING, F.AWAIT_REGISTRATION)
    legal(P.LAUNCHING, C.SUBSCRIBED, P.RUNNING, F.TELL_TASKS)
    legal(P.LAUNCHING, C.SHUTDOWN, P.ENDING, F.KILL_CONTAINER)
    legal(P.LAUNCHING, C.ADOPTED, P.REGISTERING, F.AWAIT_REGISTRATION)
    legal(P.LAUNCHING, C.LAUNCH_FAILED, P.ENDED, F.CONCLUDE)
    legal(P.LAUNCHING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.LAUNCHING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.LAUNCHING, C.HUNG_UP, C.OVERDUE)

    legal(P.REGISTERING, C.SUBSCRIBED, P.RUNNING, F.TELL_TASKS)
    legal(P.REGISTERING, C.SHUTDOWN, P.ENDING, F.KILL_CONTAINER)
    legal(P.REGISTERING, C.OVERDUE, P.ENDING, F.KILL_CONTAINER)
    legal(P.REGISTERING, C.ADOPTED, P.REGISTERING, F.AWAIT_REGISTRATION)
    legal(P.REGISTERING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.REGISTERING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.REGISTERING, C.PREPARING, C.STARTED, C.HUNG_UP, C.LAUNCH_FAILED)

    legal(P.RUNNING, C.STARTED, P.RUNNING)
    legal(P.RUNNING, C.SUBSCRIBED, P.RUNNING, F.TELL_TASKS)
    legal(P.RUNNING, C.HUNG_UP, P.REREGISTERING, F.AWAIT_RETURN)
    legal(P.RUNNING, C.SHUTDOWN, P.STOPPING, F.TELL_SHUTDOWN, F.AWAIT_END)
    legal(P.RUNNING, C.ADOPTED, P.REREGISTERING, F.AWAIT_REREGISTRATION)
    legal(P.RUNNING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.RUNNING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.RUNNING, C.PREPARING, C.OVERDUE, C.LAUNCH_FAILED)

    legal(P.REREGISTERING, C.STARTED, P.REREGISTERING)
    legal(P.REREGISTERING, C.SUBSCRIBED, P.RUNNING, F.TELL_TASKS)
    legal(P.REREGISTERING, C.SHUTDOWN, P.STOPPING, F.AWAIT_END)
    legal(P.REREGISTERING, C.OVERDUE, P.ENDING, F.KILL_CONTAINER)
    legal(P.REREGISTERING, C.ADOPTED, P.REREGISTERING, F.AWAIT_REREGISTRATION)
    legal(P.REREGISTERING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.REREGISTERING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.REREGISTERING, C.PREPARING, C.HUNG_UP, C.LAUNCH_FAILED)

    legal(P.STOPPING, C.STARTED, P.STOPPING)
    legal(P.STOPPING, C.SUBSCRIBED, P.STOPPING, F.TELL_SHUTDOWN)
    legal(P.STOPPING, C.HUNG_UP, P.STOPPING)
    legal(P.STOPPING, C.SHUTDOWN, P.STOPPING)
    legal(P.STOPPING, C.OVERDUE, P.ENDING, F.KILL_CONTAINER)
    legal(P.STOPPING, C.ADOPTED, P.STOPPING, F.AWAIT_END)
    legal(P.STOPPING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.STOPPING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.STOPPING, C.PREPARING, C.LAUNCH_FAILED)

    legal(P.ENDING, C.PREPARING, P.ENDING)
    legal(P.ENDING, C.STARTED, P.ENDING, F.KILL_CONTAINER)
    legal(P.ENDING, C.SUBSCRIBED, P.ENDING)
    legal(P.ENDING, C.HUNG_UP, P.ENDING)
    legal(P.ENDING, C.SHUTDOWN, P.ENDING)
    legal(P.ENDING, C.ADOPTED, P.ENDING, F.KILL_CONTAINER)
    legal(P.ENDING, C.LAUNCH_FAILED, P.ENDED, F.CONCLUDE)
    legal(P.ENDING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.ENDING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.ENDING, C.OVERDUE)

    illegal(P.ENDED, *C)

    assert _tried == {(phase, cause) for phase in P for cause in C}, "a line is missing here"


@pytest.mark.parametrize("phase", [phase for phase in P if phase is not P.ENDED])
def test_from_every_phase_a_shutdown_the_end_of_the_grace_and_an_exit_lead_to_the_end(phase: ExecutorPhase) -> None:
    """Liveness: nothing that is shut down and whose container goes can stay."""
    phase = executor_step(phase, C.SHUTDOWN).phase
    assert phase in CLOSING_PHASES
    if phase is P.STOPPING:
        assert executor_step(phase, C.OVERDUE).phase is P.ENDING
    assert executor_step(phase, C.EXITED).phase is P.ENDED


def test_an_executor_ends_only_with_its_conclusion() -> None:
    lines = [line for rows in EXECUTOR_TABLE.values() for line in rows.values()]
    assert all((line.phase is P.ENDED) == (F.CONCLUDE in line.follow_ups) for line in lines)


def test_every_step_of_an_executors_task() -> None:
    p, c, f = Phase, TaskCause, TaskFollowUp
    _tried_of_tasks.clear()

    legal_task(p.STAGING, c.PREPARING, p.STAGING, f.SHOW_STARTING)
    legal_task(p.STAGING, c.TOLD, p.SENT, f.ARM_TIME_LIMIT)
    legal_task(p.STAGING, c.KILL, p.ENDED, f.CONCLUDE)
    legal_task(p.STAGING, c.SHUTDOWN, p.ENDED, f.CONCLUDE)
    legal_task(p.STAGING, c.EXECUTOR_ENDED, p.ENDED, f.CONCLUDE)
    illegal_task(p.STAGING, c.SAID, c.SAID_LAST, c.EXPIRED, c.MISSING)

    legal_task(p.SENT, c.SAID, p.RUNNING, f.FORWARD)
    legal_task(p.SENT, c.SAID_LAST, p.ENDED, f.CONCLUDE_AS_SAID)
    legal_task(p.SENT, c.KILL, p.KILLING, f.TELL_KILL)
    legal_task(p.SENT, c.SHUTDOWN, p.KILLING)
    legal_task(p.SENT, c.EXPIRED, p.KILLING, f.TELL_KILL)
    legal_task(p.SENT, c.MISSING, p.ENDED, f.CONCLUDE)
    legal_task(p.SENT, c.EXECUTOR_ENDED, p.ENDED, f.CONCLUDE)
    illegal_task(p.SENT, c.PREPARING, c.TOLD)

    legal_task(p.RUNNING, c.SAID, p.RUNNING, f.FORWARD)
    legal_task(p.RUNNING, c.SAID_LAST, p.ENDED, f.CONCLUDE_AS_SAID)
    legal_task(p.RUNNING, c.KILL, p.KILLING, f.TELL_KILL)
    legal_task(p.RUNNING, c.SHUTDOWN, p.KILLING)
    legal_task(p.RUNNING, c.EXPIRED, p.KILLING, f.TELL_KILL)
    legal_task(p.RUNNING, c.EXECUTOR_ENDED, p.ENDED, f.CONCLUDE)
    illegal_task(p.RUNNING, c.PREPARING, c.TOLD, c.MISSING)

    legal_task(p.KILLING, c.SAID, p.KILLING, f.FORWARD)
    legal_task(p.KILLING, c.SAID_LAST, p.ENDED, f.CONCLUDE_AS_SAID)
    legal_task(p.KILLING, c.KILL, p.KILLING, f.TELL_KILL)
    legal_task(p.KILLING, c.SHUTDOWN, p.KILLING)
    legal_task(p.KILLING, c.MISSING, p.ENDED, f.CONCLUDE)
    legal_task(p.KILLING, c.EXECUTOR_ENDED, p.ENDED, f.CONCLUDE)
    illegal_task(p.KILLING, c.PREPARING, c.TOLD, c.EXPIRED)

    legal_task(p.ENDED, c.KILL, p.ENDED)
    illegal_task(p.ENDED, *(cause for cause in c if cause is not c.KILL))
    illegal_task(p.STARTING, *c)
    illegal_task(p.ABORTING, *c)

    assert _tried_of_tasks == {(phase, cause) for phase in p for cause in c}, "a line is missing here"


def test_a_task_ends_only_with_a_last_word_and_with_its_executor_from_everywhere() -> None:
    concluding = {TaskFollowUp.CONCLUDE, TaskFollowUp.CONCLUDE_AS_SAID}
    lines = [line for phase, rows in TASK_TABLE.items() if phase is not Phase.ENDED for line in rows.values()]
    assert all((line.phase is Phase.ENDED) == bool(concluding & set(line.follow_ups)) for line in lines)
    for phase in (Phase.STAGING, Phase.SENT, Phase.RUNNING, Phase.KILLING):
        assert task_step(phase, TaskCause.EXECUTOR_ENDED).phase is Phase.ENDED
