"""The numbers of futures, each with its reason."""

from typing import Final

#: What a call gets where nobody says: one worker process on one CPU, as in a process pool.
DEFAULT_CPUS: Final = 1.0
#: A Python process with NumPy and pandas imported is about 100 MiB.
DEFAULT_MEM_MIB: Final = 256
#: What the executor itself takes on each agent beside its workers: its main process and the zygote that workers are forked
#: from. Usually no CPUs of its own, or an agent of two CPUs would hold one worker of one CPU: it lives on its workers' share.
EXECUTOR_MEM_MIB: Final = 48
#: Calls and workers with fewer CPUs give their executor too little to live on: at a hundredth of a CPU Python takes ten
#: seconds to start. So the executor of such gets some of its own.
SMALL_CPUS_MILLI: Final = 500
EXECUTOR_CPUS_FOR_SMALL: Final = 0.5
#: The smallest result that must not travel is worth raising a setting for.
DEFAULT_MAX_RESULT_BYTES: Final = 64 * 1024 * 1024
#: Arguments that must not travel are worth raising a setting for: they are in the program's memory until the call has ended.
DEFAULT_MAX_ARGUMENT_BYTES: Final = 512 * 1024 * 1024
#: What a task carries through Redis, the master and a queue of the agent's; larger arguments go to a block store.
MAX_TASK_DATA_BYTES: Final = 512 * 1024
#: Functions are never put into block stores. That of a task leaves room for where its arguments are; that of a pool's call
#: travels in an entry of a stream.
MAX_TASK_FUNCTION_BYTES: Final = MAX_TASK_DATA_BYTES - 16 * 1024
MAX_POOL_FUNCTION_BYTES: Final = 32 * 1024 * 1024
#: Questions for block stores are tasks beside those of calls, and are numbered from here on, where no call's number comes.
FIRST_QUESTION: Final = 10**15
#: How often a question is asked again that got lost: nothing runs twice by it.
QUESTION_RETRIES: Final = 3
#: Workers of one pool; beyond it one program is a cluster's whole load.
MAX_WORKERS: Final = 10_000
#: Calls in all that have been submitted and not ended. Each is about a kilobyte here, beside its arguments.
MAX_OUTSTANDING: Final = 1_000_000
#: Workers without a call are given back after so long: a pause of a program that looks at a result costs no cold start,
#: and nobody waits long for what is not used.
IDLE_MS: Final = 10_000
#: How often it is looked whether fewer calls are outstanding: nothing but giving workers back depends on it.
LOOK_MS: Final = 1_000
#: An executor without workers, or without calls, is shut down after so long. It holds little memory and takes a while to
#: start.
EXECUTOR_IDLE_MS: Final = 30_000
#: How often an executor that was asked to end and is not known to be over is asked again: the word to it, or that of its end, may
#: have been lost, and the master answers for one that is not there.
SHUTDOWN_AGAIN_MS: Final = 5_000
#: An executor of an earlier life that says nothing of the calls that it is asked for is shut down after so long: it answers
#: within seconds, also when its machine is busy and Redis is another. An outage of Redis does not count.
SILENCE_PATIENCE_MS: Final = 30_000
#: It is over, for us, when nobody has confirmed that after so long again: longer than any usual grace of a shutdown.
SILENT_OVER_MS: Final = 30_000
#: How long an executor that is too old works on while no other can take its place: where there is no room for two, it must
#: make room itself.
REPLACE_PATIENCE_MS: Final = 60_000
#: While calls come one by one an offer is kept at hand for the next, for so long after the last. It keeps one call's
#: resources from others, so it is short; a round trip is some milliseconds.
WARM_MS: Final = 2_000
#: How long resources on which nothing fits are not offered again.
REFUSE_MS: Final = 1_000
#: Tasks in one ACCEPT; what is over waits for the next. A batch of calls of the driver weighs 4,000 at most.
MAX_TASKS_PER_LAUNCH: Final = 2_000
#: How often a call is launched again that certainly never started (an offer was rescinded, a launch was lost). Twenty
#: times in a row is something else.
MAX_UNSTARTED: Final = 20
#: How long a call on an agent that nobody sees is waited for before it counts as lost.
UNREACHABLE_MS: Final = 60_000
#: How long the tasks of a program that went without a word go on: their results are for nobody. Long enough for a
#: suspended laptop's network to come back.
FAILOVER_TIMEOUT_MS: Final = 60_000
#: How long the first call waits for a master before the pool is broken.
CONNECT_TIMEOUT_MS: Final = 15_000
#: How long a worker whose slot is given back may go on with the call that it has: as long as calls take, within reason.
SLOT_GRACE_MS: Final = 86_400_000
#: Executors of one kind that end one after the other before any call of theirs ends: the reason is not the agent.
MAX_FAILED_EXECUTORS: Final = 3
#: See `DriverSettings`: programs that await one call before they make the next make it within this.
ACKNOWLEDGEMENT_DELAY_MS: Final = 5
