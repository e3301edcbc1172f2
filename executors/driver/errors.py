"""What goes wrong around an executor, for its author.

ExecutorError
+-- NoAgent      the program was not started by an agent, or its directory of sockets is gone
+-- TooLarge     data of an update or a message is beyond what the protocol carries
"""


class ExecutorError(Exception):
    """The executor cannot do what its author wants. The message says why, and what to do."""


class NoAgent(ExecutorError):
    """There is no agent's socket here. An executor is started by an agent, which names its socket in MESOS_DOMAIN_SOCKET."""


class TooLarge(ExecutorError, ValueError):
    """More than one update or message carries. Put it where the scheduler can fetch it, and send its name."""
