"""Job descriptions as bytes and back, for the journal. Equal descriptions give equal bytes."""

import msgspec
from msgspec import Struct

from mesolite.errors import ConfigError
from mesolite.protocol import KillPolicy, Network, Reason, TaskState, Uri, Volume

from ..driver.placement import AttributeEquals
from .job import JobSpec
from .retry import RetryPolicy
from .task import TaskSpec


class _KeptTask(Struct, frozen=True, kw_only=True):
    """A `TaskSpec`."""

    command: str | tuple[str, ...]
    cpus: float
    mem_mib: float
    disk_mib: float
    gpus: float
    image: str | None
    env: dict[str, str]
    uris: tuple[Uri, ...]
    volumes: tuple[Volume, ...]
    network: Network
    user: str | None
    kill_policy: KillPolicy | None
    max_time_ms: int | None
    role: str
    #: Names and texts of attributes.
    constraints: tuple[tuple[str, str], ...]
    labels: dict[str, str]


class _KeptRetry(Struct, frozen=True, kw_only=True):
    """A `RetryPolicy`, its sets in order, because equal descriptions must give equal bytes."""

    max_attempts: int
    exit_codes: tuple[int, ...] | None
    reasons: tuple[Reason, ...] | None
    max_losses: int
    unreachable_ms: int
    backoff_ms: int
    backoff_cap_ms: int
    states: tuple[TaskState, ...]


class _KeptJob(Struct, frozen=True, kw_only=True):
    """A `JobSpec`."""

    job_id: str
    name: str
    count: int
    retry: _KeptRetry
    after: tuple[str, ...]
    task: _KeptTask


# Environments and labels in the order of their names, for the same reason.
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(_KeptJob)


def encode_spec(spec: JobSpec) -> bytes:
    """Return a job's description as bytes.

    Raises:
        ConfigError: It has a constraint of the program's own making, which cannot be kept.
    """
    task = spec.task
    constraints: list[tuple[str, str]] = []
    for constraint in task.constraints:
        if not isinstance(constraint, AttributeEquals):
            raise ConfigError(f"a journal cannot keep the constraint {constraint!r}; only AttributeEquals")
        constraints.append((constraint.name, constraint.text))
    kept = _KeptTask(
        command=task.command if isinstance(task.command, str) else tuple(task.command),
        cpus=float(task.cpus),
        mem_mib=float(task.mem_mib),
        disk_mib=float(task.disk_mib),
        gpus=float(task.gpus),
        image=task.image,
        env=dict(task.env),
        uris=tuple(Uri(uri) if isinstance(uri, str) else uri for uri in task.uris),
        volumes=tuple(task.volumes),
        network=task.network,
        user=task.user,
        kill_policy=task.kill_policy,
        max_time_ms=task.max_time_ms,
        role=task.role,
        constraints=tuple(constraints),
        labels=dict(task.labels),
    )
    return _encoder.encode(
        _KeptJob(
            job_id=spec.job_id,
            name=spec.name,
            count=spec.count,
            retry=_kept_retry(spec.retry),
            after=tuple(spec.after),
            task=kept,
        )
    )


def decode_spec(payload: bytes) -> JobSpec:
    """Return the job that bytes describe.

    Raises:
        msgspec.MsgspecError: They describe none.
    """
    job = _decoder.decode(payload)
    task = job.task
    return JobSpec(
        job_id=job.job_id,
        name=job.name,
        count=job.count,
        retry=_retry(job.retry),
        after=job.after,
        task=TaskSpec(
            command=task.command,
            cpus=task.cpus,
            mem_mib=task.mem_mib,
            disk_mib=task.disk_mib,
            gpus=task.gpus,
            image=task.image,
            env=task.env,
            uris=task.uris,
            volumes=task.volumes,
            network=task.network,
            user=task.user,
            kill_policy=task.kill_policy,
            max_time_ms=task.max_time_ms,
            role=task.role,
            constraints=tuple(AttributeEquals(name, text) for name, text in task.constraints),
            labels=task.labels,
        ),
    )


def _kept_retry(retry: RetryPolicy) -> _KeptRetry:
    return _KeptRetry(
        max_attempts=retry.max_attempts,
        exit_codes=tuple(sorted(retry.exit_codes)) if retry.exit_codes is not None else None,
        reasons=tuple(sorted(retry.reasons, key=lambda each: each.value)) if retry.reasons is not None else None,
        max_losses=retry.max_losses,
        unreachable_ms=retry.unreachable_ms,
        backoff_ms=retry.backoff_ms,
        backoff_cap_ms=retry.backoff_cap_ms,
        states=tuple(sorted(retry.states, key=lambda each: each.value)),
    )


def _retry(kept: _KeptRetry) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=kept.max_attempts,
        exit_codes=frozenset(kept.exit_codes) if kept.exit_codes is not None else None,
        reasons=frozenset(kept.reasons) if kept.reasons is not None else None,
        max_losses=kept.max_losses,
        unreachable_ms=kept.unreachable_ms,
        backoff_ms=kept.backoff_ms,
        backoff_cap_ms=kept.backoff_cap_ms,
        states=frozenset(kept.states),
    )
