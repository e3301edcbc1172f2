"""Every error that Mesolite raises.

    MesoliteError
    +-- BadInput                 the caller's or the peer's fault: correct it and try again
    |   +-- ConfigError          a setting is missing, unknown or out of range
    |   +-- ResourceError        a resource expression that means nothing
    |   +-- ProtocolError        bytes that are not a message of this version
    |   +-- FetchError           an URI that cannot be brought into the sandbox
    |   +-- NotFound             an id that nothing has
    |   +-- LaunchError          a container that cannot be made from what the task asked for
    +-- Unavailable              the environment's fault: it may pass by itself
    |   +-- RedisUnavailable
    |   +-- DockerUnavailable
    |   +-- MasterUnavailable    no leading master answers
    |   +-- CheckpointFailed     an agent's disk takes nothing
    +-- CommitRefused            another master took the epoch, or the store forgot a tail (DESIGN 4)
    +-- Superseded               another scheduler of this framework took over what it keeps
    +-- FrameworkError           the master ended this framework's subscription; do not retry with the same id
    +-- CallError                a call of a futures executor has no result (mesolite.frameworks.futures.errors)

Broken invariants are not here: they are `assert`s, which end the process. A class's docstring is its default message
and tells the reader what to do.
"""


class MesoliteError(Exception):
    """Mesolite failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class BadInput(MesoliteError):
    """The input is wrong; correct it and try again."""


class ConfigError(BadInput):
    """The configuration is wrong; `mesolite COMMAND --help` lists the settings."""


class ResourceError(BadInput):
    """The resources cannot be read; write them like cpus:0.5;mem:64;ports:[31000-31005]."""


class ProtocolError(BadInput):
    """The message is not one that this version understands; run the same version on both sides."""


class FetchError(BadInput):
    """The URI cannot be fetched into the sandbox; check that the agent can reach it."""


class NotFound(BadInput):
    """There is no such thing; the listings show what there is."""


class LaunchError(BadInput):
    """The container cannot be started as asked; see the task's message."""


class Unavailable(MesoliteError):
    """Something that Mesolite needs does not answer; it is tried again."""


class RedisUnavailable(Unavailable):
    """Redis does not answer; start it, or leave the address out to let mesolite start its own."""


class DockerUnavailable(Unavailable):
    """No Docker Engine answers; start it, or choose the process containerizer."""


class MasterUnavailable(Unavailable):
    """No leading master answers; start a cluster with `mesolite up`."""


class CheckpointFailed(Unavailable):
    """The agent's state cannot be written; make room on the disk of its work_dir. Running tasks are not affected."""


class CommitRefused(MesoliteError):
    """The commit was refused: another master leads, or the store lost what was committed before."""


class Superseded(MesoliteError):
    """Another scheduler of this framework has taken over; stop this one."""


class FrameworkError(MesoliteError):
    """The master ended this framework's subscription; start it again under a new id."""
