"""The life of a task on its agent, line by line: every phase, every cause."""

import pytest

from mesolite.agent.lifecycle import SHOWN_STATES, TABLE, Cause, FollowUp, Phase, step

P, C, F = Phase, Cause, FollowUp
_tried: set[tuple[Phase, Cause]] = set()


def legal(phase: Phase, cause: Cause, after: Phase, *follow_ups: FollowUp) -> None:
    _tried.add((phase, cause))
    assert step(phase, cause) == (after, follow_ups)


def illegal(phase: Phase, *causes: Cause) -> None:
    for cause in causes:
        _tried.add((phase, cause))
        assert step(phase, cause) == (phase, (F.REFUSE,))


def test_every_step() -> None:
    _tried.clear()

    legal(P.STAGING, C.PREPARING, P.STARTING, F.REPORT)
    legal(P.STAGING, C.STARTED, P.RUNNING, F.REPORT, F.ARM_TIME_LIMIT)
    legal(P.STAGING, C.LAUNCH_FAILED, P.ENDED, F.CONCLUDE)
    legal(P.STAGING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.STAGING, C.KILL, P.ABORTING, F.REPORT, F.KILL_CONTAINER)
    legal(P.STAGING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.STAGING, C.EXPIRED)

    legal(P.STARTING, C.STARTED, P.RUNNING, F.REPORT, F.ARM_TIME_LIMIT)
    legal(P.STARTING, C.LAUNCH_FAILED, P.ENDED, F.CONCLUDE)
    legal(P.STARTING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.STARTING, C.KILL, P.ABORTING, F.REPORT, F.KILL_CONTAINER)
    legal(P.STARTING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.STARTING, C.PREPARING, C.EXPIRED)

    legal(P.RUNNING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.RUNNING, C.KILL, P.KILLING, F.REPORT, F.KILL_CONTAINER)
    legal(P.RUNNING, C.EXPIRED, P.KILLING, F.REPORT, F.KILL_CONTAINER)
    legal(P.RUNNING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.RUNNING, C.PREPARING, C.STARTED, C.LAUNCH_FAILED)

    legal(P.ABORTING, C.PREPARING, P.ABORTING)
    legal(P.ABORTING, C.STARTED, P.KILLING, F.KILL_CONTAINER)
    legal(P.ABORTING, C.LAUNCH_FAILED, P.ENDED, F.CONCLUDE)
    legal(P.ABORTING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.ABORTING, C.KILL, P.ABORTING, F.KILL_CONTAINER)
    legal(P.ABORTING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.ABORTING, C.EXPIRED)

    legal(P.KILLING, C.EXITED, P.ENDED, F.CONCLUDE)
    legal(P.KILLING, C.KILL, P.KILLING, F.KILL_CONTAINER)
    legal(P.KILLING, C.LOST, P.ENDED, F.CONCLUDE)
    illegal(P.KILLING, C.PREPARING, C.STARTED, C.LAUNCH_FAILED, C.EXPIRED)

    legal(P.ENDED, C.KILL, P.ENDED)
    illegal(P.ENDED, C.PREPARING, C.STARTED, C.LAUNCH_FAILED, C.EXITED, C.EXPIRED, C.LOST)

    illegal(P.SENT, *C)

    assert _tried == {(phase, cause) for phase in Phase for cause in Cause}, "a line is missing here"


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in (Phase.ENDED, Phase.SENT)])
def test_from_every_phase_a_kill_and_an_exit_lead_to_the_end(phase: Phase) -> None:
    """Liveness: nothing that is killed and whose container goes can stay."""
    assert step(step(phase, C.KILL).phase, C.EXITED).phase is P.ENDED


def test_the_end_is_entered_only_with_a_last_word() -> None:
    entering = [line for phase, lines in TABLE.items() if phase is not P.ENDED for line in lines.values()]
    assert all((line.phase is P.ENDED) == (F.CONCLUDE in line.follow_ups) for line in entering)


def test_every_phase_but_the_end_has_a_state_to_show() -> None:
    assert set(SHOWN_STATES) == set(Phase) - {P.ENDED}
