"""What Flower is told of jobs, stages and tasks: Celery's events, made of a context's own.

A job is a Celery task of the driver, which appears as a worker; its stages are children of it, and their tasks children of
the stage, each at the worker that its agent appears as. Flower's ids are "application/thing", as those of agents' tasks are
"framework/task" (`agent/flower_tasks.py`).
"""

from typing import Final

from mesolite.executors.sparklite.task_data import TaskMetrics
from mesolite.ids import AgentId
from mesolite.transport.celery_events import worker_name
from mesolite.transport.event_repeats import Event

from .listener import JobBegan, StageBegan, TaskFinished, TaskStarted
from .records import DONE, JobRecord, StageRecord
from .report.figures import count, duration, size

#: Characters of a name, and of a reason, that travel to Flower, which keeps thousands of them.
MAX_NAME_CHARS: Final = 200
MAX_REASON_CHARS: Final = 2_000


class Words:
    """Words about one application.

    Args:
        app_id: Begins all ids; has no slash.
    """

    def __init__(self, app_id: str) -> None:
        self._app_id: Final = app_id

    def job_id(self, job_id: int) -> str:
        """Return a job's id in Flower."""
        return f"{self._app_id}/job-{job_id}"

    def stage_id(self, stage_id: int, attempt: int) -> str:
        """Return the id of an attempt at a stage."""
        return f"{self._app_id}/stage-{stage_id}.{attempt}"

    def task_id(self, task_id: int) -> str:
        """Return a task's id."""
        return f"{self._app_id}/task-{task_id}"

    def job_began(self, event: JobBegan) -> list[Event]:
        """Say that a job runs."""
        shown = self.job_id(event.job_id)
        about = {
            "stages": str(len(event.stage_ids)),
            "group": event.group or "",
            "description": event.description or "",
        }
        fields = _received(shown, f"sparklite job: {event.name}", event.name, about, root=shown, parent=None)
        return _begun(fields, event.at_ms)

    def stage_began(self, event: StageBegan) -> list[Event]:
        """Say that a stage runs."""
        job = self.job_id(event.job_id)
        about = {"job": str(event.job_id), "tasks": str(event.tasks), "parents": " ".join(map(str, event.parents))}
        shown = self.stage_id(event.stage_id, event.attempt)
        name = f"sparklite stage: {event.name}"
        fields = _received(shown, name, f"stage {event.stage_id}, attempt {event.attempt}", about, root=job, parent=job)
        return _begun(fields, event.at_ms)

    def task_started(self, stage: StageBegan, event: TaskStarted) -> list[Event]:
        """Say that a task was sent to its executor."""
        about = {"stage": f"{event.stage_id}.{event.stage_attempt}", "executor": event.executor_id, "host": event.host}
        about["copy"] = "speculative" if event.speculative else ""
        fields = _received(
            self.task_id(event.task_id),
            f"sparklite: {stage.name}",
            f"partition {event.partition}, attempt {event.attempt}",
            about,
            root=self.job_id(stage.job_id),
            parent=self.stage_id(stage.stage_id, stage.attempt),
        )
        return _begun(
            fields | {"retries": event.attempt, "hostname": worker_name(AgentId(event.agent_id))}, event.at_ms
        )

    def task_finished(self, started: TaskStarted, event: TaskFinished) -> Event:
        """Say how a task ended."""
        metrics = event.metrics
        run_ms = metrics.run_ms or event.at_ms - started.at_ms
        shown, hostname = self.task_id(event.task_id), worker_name(AgentId(started.agent_id))
        if event.outcome == DONE:
            kind, fields = _succeeded(_task_result(metrics))
        elif event.outcome == "killed":
            kind, fields = "task-revoked", {"terminated": True, "signum": "SIGTERM", "expired": False}
        else:
            kind, fields = _failed(event.reason if event.outcome == "failed" else f"{event.outcome}: {event.reason}")
        return kind, {**fields, "uuid": shown, "hostname": hostname, **_ended(event.at_ms, run_ms)}

    def stage_finished(self, stage: StageRecord) -> Event:
        """Say how a stage ended, by what is known of it."""
        assert stage.ended_ms is not None, "it is asked for stages that ended"
        kind, fields = _failed(stage.reason) if stage.reason else _succeeded(_stage_result(stage))
        shown = self.stage_id(stage.began.stage_id, stage.began.attempt)
        return kind, {**fields, "uuid": shown, **_ended(stage.ended_ms, stage.ended_ms - stage.began.at_ms)}

    def job_finished(self, job: JobRecord) -> Event:
        """Say how a job ended."""
        assert job.ended_ms is not None, "it is asked for jobs that ended"
        done = f"{len(job.stage_ids)} stages, {len(job.skipped)} of them skipped"
        kind, fields = _failed(job.error) if job.error else _succeeded(done)
        return kind, {**fields, "uuid": self.job_id(job.job_id), **_ended(job.ended_ms, job.ended_ms - job.began_ms)}


def _received(
    shown: str, name: str, args: str, about: dict[str, str], *, root: str, parent: str | None
) -> dict[str, object]:
    return {
        "uuid": shown,
        "name": name[:MAX_NAME_CHARS],
        "args": args[:MAX_NAME_CHARS],
        "kwargs": ", ".join(f"{name}={value[:MAX_NAME_CHARS]}" for name, value in about.items() if value),
        "root_id": root,
        "parent_id": parent,
        "retries": 0,
        "eta": None,
        "expires": None,
    }


def _begun(fields: dict[str, object], at_ms: int) -> list[Event]:
    at_s = at_ms / 1000
    started: dict[str, object] = {name: fields[name] for name in ("uuid", "hostname") if name in fields}
    return [("task-received", {**fields, "timestamp": at_s}), ("task-started", {**started, "timestamp": at_s})]


def _ended(at_ms: int, run_ms: float) -> dict[str, object]:
    return {"timestamp": at_ms / 1000, "runtime": max(0.0, run_ms / 1000)}


def _succeeded(result: str) -> Event:
    return "task-succeeded", {"result": result}


def _failed(reason: str) -> Event:
    lines = reason.strip().splitlines() or ["failed"]
    # A traceback says last what was raised.
    return "task-failed", {"exception": lines[-1][:MAX_NAME_CHARS], "traceback": reason[-MAX_REASON_CHARS:]}


def _task_result(metrics: TaskMetrics) -> str:
    figures = {
        "items in": count(metrics.items_in),
        "read": size(metrics.shuffle_read_bytes),
        "written": size(metrics.shuffle_write_bytes),
        "spilled": size(metrics.spilled_bytes),
        "peak memory": size(metrics.peak_memory_bytes),
    }
    return ", ".join(f"{name} {figure}" for name, figure in figures.items() if figure != "-") or "done"


def _stage_result(stage: StageRecord) -> str:
    sums = stage.sums
    tried = stage.ended_tasks - stage.outcomes[DONE] - stage.outcomes["killed"]
    figures = [f"{stage.outcomes[DONE]} tasks", f"{tried} failed", f"task time {duration(sums.run_ms)}"]
    figures += [f"read {size(sums.shuffle_read_bytes)}", f"written {size(sums.shuffle_write_bytes)}"]
    return ", ".join([*figures, f"spilled {size(sums.spilled_bytes)}"])
