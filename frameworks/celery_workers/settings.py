"""The numbers of elastic workers, each with its reason."""

from typing import Final

#: Names of groups become parts of ids, of Redis keys and of Celery's node names.
NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}"
#: More workers than this in one group are beyond what one look over the broker's remote control can ask.
MAX_WORKERS: Final = 1000
#: How often queues are measured and workers asked. A worker takes seconds to start, so that looking more often changes nothing.
LOOK_INTERVAL_MS: Final = 2000
#: Growing is bounded to doubling, from this: a burst that the first workers deal with meanwhile does not start them all.
LEAST_GROWTH: Final = 2
#: Between two workers that are let go: each that leaves shifts its load to those that stay, and the next look shall see that.
SHRINK_STEP_MS: Final = 10_000
#: One is let go only where the processes of those that stay were used, on average, to at most this share: fully used ones serve
#: their messages late, however few these are.
MOST_USED: Final = 0.8
#: A worker that is missed after it had gone doubles the quiet time, up to so many times it.
MAX_PATIENCE: Final = 32
#: Missed is one where more are wanted within so many quiet times, or where messages wait for too long within so many. A load that
#: comes later is another load: it may come and go with its workers.
MISSED_WITHIN: Final = 2
FORGET_AFTER: Final = 8
#: Looks remembered for the age of what waits and for the highest wish of late; at LOOK_INTERVAL_MS half an hour.
MAX_LOOKS: Final = 900
#: A worker that ends by itself before it is this old died of what is wrong with it, not of its work.
EARLY_DEATH_MS: Final = 30_000
#: Wait after the first early death, doubled with each that follows, and its bound.
FIRST_BACKOFF_MS: Final = 1000
MAX_BACKOFF_MS: Final = 300_000
#: A worker that has never answered is taken to be starting for so long; then it counts as one that is busy.
START_PATIENCE_MS: Final = 60_000
#: What is left of offers that are of no use is not to be offered again for so long.
REFUSE_MS: Final = 5000
#: A worker's kill grace beyond the application's own time for a soft shutdown: to say farewell to the broker in.
SOFT_SHUTDOWN_MARGIN_MS: Final = 15_000
#: How long workers outlive this program before they are taken for abandoned: a day, as of other frameworks.
FAILOVER_TIMEOUT_MS: Final = 86_400_000
#: The host part of the workers' node names. Not an agent's name: a worker keeps its name wherever it runs next.
NODE_HOST: Final = "mesolite"
#: Reasons of failures shown are cut to this.
MAX_REASON_LENGTH: Final = 500
