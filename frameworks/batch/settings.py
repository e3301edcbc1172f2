"""The batch framework's numbers, each with its reason and source."""

from typing import Final

#: What a task gets where nobody says: what `mesos-execute` asks for, "cpus:1;mem:128".
DEFAULT_CPUS: Final = 1.0
DEFAULT_MEM_MIB: Final = 128.0
#: Offers that fit nothing pending are refused so long (Mesos's default); a new job asks for them again at once.
REFUSE_MS: Final = 5000
#: How long tasks outlive a batch program that went away without a word. Long enough to come back from a laptop's sleep, short
#: enough that a crashed script does not hold the cluster for a day.
FAILOVER_TIMEOUT_MS: Final = 3_600_000
#: Tasks in one job. Each is about 200 bytes here until it has ended.
MAX_TASKS_PER_JOB: Final = 1_000_000
#: How long `connect` waits for a master's answer.
CONNECT_TIMEOUT_MS: Final = 15_000
#: How long an interrupted program waits for its tasks to die before it ends the framework, which kills them too.
KILL_PATIENCE_MS: Final = 5000
#: How long a connection that failed is waited for to let go; its calls to Redis end by their own timeouts.
STOP_PATIENCE_MS: Final = 5000
