"""The names that programs may rely on. Adding one is a promise, taking one away breaks somebody: both show here."""

import importlib

import pytest

PUBLIC_NAMES: dict[str, list[str]] = {
    "mesolite": [
        "AgentId",
        "AgentInfo",
        "Attribute",
        "BadInput",
        "CommandInfo",
        "ConfigError",
        "ContainerId",
        "ContainerInfo",
        "ContainerStatus",
        "Demand",
        "DockerUnavailable",
        "ExecutorId",
        "ExecutorInfo",
        "FetchError",
        "Filters",
        "FrameworkError",
        "FrameworkId",
        "FrameworkInfo",
        "KillPolicy",
        "LaunchError",
        "MasterUnavailable",
        "MesoliteError",
        "Network",
        "NotFound",
        "Offer",
        "OfferId",
        "ProtocolError",
        "Quantities",
        "Range",
        "Reason",
        "RedisUnavailable",
        "Resource",
        "ResourceError",
        "ResourceType",
        "Resources",
        "SessionId",
        "Source",
        "TERMINAL_STATES",
        "TaskId",
        "TaskInfo",
        "TaskState",
        "TaskStatus",
        "Unavailable",
        "Uri",
        "Volume",
        "scalars",
    ],
    "mesolite.frameworks": [
        "AsyncSchedulerDriver",
        "AttributeEquals",
        "Constraint",
        "DriverSettings",
        "DriverShell",
        "FrameworkStore",
        "Plan",
        "Scheduler",
        "SchedulerDriver",
        "Want",
        "demands",
        "place",
    ],
    "mesolite.frameworks.futures": [
        "ArgumentsTooLarge",
        "Backend",
        "BackendListener",
        "BlockLost",
        "CallError",
        "CallKilled",
        "CallLost",
        "CallOptions",
        "CallTimedOut",
        "CannotRun",
        "ClusterFuture",
        "Executor",
        "ExecutorBroken",
        "ExecutorView",
        "ImageWithoutPython",
        "InProcessPool",
        "NotPicklable",
        "OutOfMemory",
        "PythonMismatch",
        "RemoteError",
        "RemoteTraceback",
        "ResultTooLarge",
        "TooLargeForCluster",
        "Work",
        "WorkerDied",
    ],
    "mesolite.executors": [
        "ENDS",
        "Executor",
        "ExecutorDriver",
        "ExecutorError",
        "Loop",
        "NoAgent",
        "Reason",
        "State",
        "Subscribed",
        "Task",
        "Timer",
        "TooLarge",
    ],
}


@pytest.mark.parametrize("package", PUBLIC_NAMES)
def test_public_names_are_those_pinned_here(package: str) -> None:
    assert sorted(importlib.import_module(package).__all__) == sorted(PUBLIC_NAMES[package])


@pytest.mark.parametrize("package", PUBLIC_NAMES)
def test_every_public_name_can_be_imported_and_says_what_it_is(package: str) -> None:
    module = importlib.import_module(package)
    things = {name: getattr(module, name) for name in module.__all__}
    undocumented = {name for name, thing in things.items() if callable(thing) and not (thing.__doc__ or "").strip()}
    assert undocumented == set()
