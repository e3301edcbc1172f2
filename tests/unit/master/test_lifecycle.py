"""The life of a task in the master's books, line by line."""

import pytest

from mesolite.master.lifecycle import Step, ended_by_master, lost_sight, reported
from mesolite.protocol import TERMINAL_STATES, TaskState

S = TaskState
_ENDS = [state for state in TaskState if state in TERMINAL_STATES]
_LIVE = (S.STAGING, S.STARTING, S.RUNNING, S.KILLING)


def moves(current: TaskState, latest: TaskState, step: Step) -> None:
    assert reported(current, latest) == step


def ignored(current: TaskState, latest: TaskState) -> None:
    assert reported(current, latest) == Step(current)


def test_reports_move_a_task_forward_and_never_back() -> None:
    moves(S.STAGING, S.STARTING, Step(S.STARTING))
    moves(S.STAGING, S.RUNNING, Step(S.RUNNING))
    moves(S.STAGING, S.KILLING, Step(S.KILLING))
    moves(S.STAGING, S.FINISHED, Step(S.FINISHED, releases=True))
    moves(S.STARTING, S.RUNNING, Step(S.RUNNING))
    moves(S.STARTING, S.FAILED, Step(S.FAILED, releases=True))
    moves(S.RUNNING, S.KILLING, Step(S.KILLING))
    moves(S.RUNNING, S.FINISHED, Step(S.FINISHED, releases=True))
    moves(S.KILLING, S.KILLED, Step(S.KILLED, releases=True))
    ignored(S.RUNNING, S.STAGING)
    ignored(S.RUNNING, S.STARTING)
    ignored(S.RUNNING, S.RUNNING)
    ignored(S.KILLING, S.RUNNING)


@pytest.mark.parametrize("current", _ENDS)
@pytest.mark.parametrize("latest", list(TaskState))
def test_nothing_follows_a_terminal_state(current: TaskState, latest: TaskState) -> None:
    ignored(current, latest)


@pytest.mark.parametrize("current", _LIVE)
@pytest.mark.parametrize("final", _ENDS)
def test_every_end_releases_resources_exactly_once(current: TaskState, final: TaskState) -> None:
    first = reported(current, final)
    assert first == Step(final, releases=True)
    assert not reported(first.state, final).releases


@pytest.mark.parametrize("current", [*_LIVE, S.UNREACHABLE])
def test_an_agent_cannot_claim_what_is_not_its_to_say(current: TaskState) -> None:
    ignored(current, S.UNREACHABLE)
    ignored(current, S.UNKNOWN)


@pytest.mark.parametrize("current", _LIVE)
def test_a_lost_agents_tasks_are_unreachable_and_hold_nothing(current: TaskState) -> None:
    assert lost_sight(current) == Step(S.UNREACHABLE, releases=True)
    assert lost_sight(S.UNREACHABLE) == Step(S.UNREACHABLE)
    assert lost_sight(S.FINISHED) == Step(S.FINISHED)


def test_an_unreachable_task_returns_to_what_its_agent_says() -> None:
    moves(S.UNREACHABLE, S.RUNNING, Step(S.RUNNING, reclaims=True))
    moves(S.UNREACHABLE, S.STAGING, Step(S.STAGING, reclaims=True))
    moves(S.UNREACHABLE, S.FINISHED, Step(S.FINISHED))


def test_the_master_ends_a_task_once() -> None:
    assert ended_by_master(S.RUNNING, S.GONE) == Step(S.GONE, releases=True)
    assert ended_by_master(S.UNREACHABLE, S.GONE_BY_OPERATOR) == Step(S.GONE_BY_OPERATOR)
    assert ended_by_master(S.FINISHED, S.GONE) == Step(S.FINISHED)
