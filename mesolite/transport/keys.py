"""What things are called in Redis, and how long streams may grow.

Every key of one Mesolite cluster begins with `mesolite:{NAME}:`. The braces are a Redis hash tag: they put all keys of a
cluster into one slot, which is what lets the commit script name several keys even where the server is a Redis Cluster.
They cost nothing elsewhere.

    mesolite:{default}:calls:default        stream   from frameworks
    mesolite:{default}:reports:default      stream   from agents
    mesolite:{default}:framework:<id>       stream   to one framework
    mesolite:{default}:state:<id>           hash     what one framework keeps for itself
    mesolite:{default}:dead_letters         stream   what could not be understood
    mesolite:{default}:lease                string   who leads: "EPOCH HOLDER ADDRESS", while it is renewed
    mesolite:{default}:epoch                string   grows with each new leader
    mesolite:{default}:cursor               hash     stream -> how far it is applied
    mesolite:{default}:registry             hash     the durable state
    mesolite:{default}:<anything else>      string   `Store.put`: the leader's address, and the like
    mesolite.agent.<id>                     list     one kombu queue per agent (`mesolite:{NAME}:agent:<id>` elsewhere)
"""

import re
from typing import Final

from mesolite.errors import ConfigError
from mesolite.ids import AgentId, FrameworkId

#: The principal where Redis has no access control lists (DESIGN 6).
DEFAULT_PRINCIPAL: Final = "default"
#: The cluster's name where nobody gave one.
DEFAULT_CLUSTER: Final = "default"

#: Frameworks' calls waiting for a master. A master applies thousands a second and trims behind itself, so this is reached
#: only while no master leads; 100,000 small batches are about 50 MB of Redis. Beyond it the oldest go, and the frameworks'
#: drivers send again what was never answered.
MAX_CALLS_LENGTH: Final = 100_000
#: Agents' reports waiting for a master. As above, and a larger number because there are more agents than frameworks:
#: 50,000 agents may re-register while a new master begins. Agents resend until acknowledged.
MAX_REPORTS_LENGTH: Final = 200_000
#: Events one framework has not read yet. Beyond it the oldest go, the driver sees the gap in their numbers and reconciles,
#: which costs less than reading a backlog of offers that have expired long ago. Where batches are large, fewer are kept
#: (`master/backlog.py`).
MAX_FRAMEWORK_LENGTH: Final = 10_000
#: Messages nobody could read, kept for whoever looks into it. Only a sample is needed.
MAX_DEAD_LETTERS_LENGTH: Final = 1_000

#: The stream of unreadable messages.
DEAD_LETTERS: Final = "dead_letters"

#: What the master's own commits are counted under in the cursor, as if they were a stream that it reads: "17-0" after 17. So a
#: commit that moves no other cursor cannot happen twice either, and one that a failover forgot is missed.
COMMITS: Final = "commits"

#: Keys that `Store.put` must not touch, because the scripts own them.
LEASE: Final = "lease"
EPOCH: Final = "epoch"
CURSOR: Final = "cursor"
REGISTRY: Final = "registry"
OWNED_KEYS: Final = frozenset({LEASE, EPOCH, CURSOR, REGISTRY})

#: Letters, digits, dot, dash and underscore, beginning with a letter or digit. Braces would break the hash tag, a colon
#: would let one cluster's keys begin with another's prefix, and `*`, `?` or `[` would mean something in an ACL pattern.
#: 64 characters, because the name is repeated in each key and in front of each log line.
_CLUSTER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def key_prefix(cluster: str) -> str:
    """Return what every key of a cluster begins with.

    Args:
        cluster: The cluster's name: 1 to 64 letters, digits, dots, dashes or underscores.

    Raises:
        ConfigError: The name is not one.
    """
    if not _CLUSTER_NAME.fullmatch(cluster):
        raise ConfigError(
            f"the cluster name {cluster!r} cannot be used: take 1 to 64 letters, digits, dots, dashes or underscores, "
            "beginning with a letter or digit"
        )
    return f"mesolite:{{{cluster}}}:"


def calls_stream(principal: str = DEFAULT_PRINCIPAL) -> str:
    """Return the stream on which a principal's frameworks call the master."""
    return f"calls:{principal}"


def reports_stream(principal: str = DEFAULT_PRINCIPAL) -> str:
    """Return the stream on which a principal's agents report to the master."""
    return f"reports:{principal}"


def framework_stream(framework_id: FrameworkId) -> str:
    """Return the stream on which the master writes to one framework."""
    return f"framework:{framework_id}"


def framework_state(framework_id: FrameworkId) -> str:
    """Return where a framework keeps its own values (`Store.claim_state`)."""
    return f"state:{framework_id}"


def agent_queue(agent_id: AgentId, cluster: str = DEFAULT_CLUSTER) -> str:
    """Return the kombu queue that one agent reads its commands from.

    Two clusters on one Redis may each have an agent of the same name, so every cluster but the default one puts its prefix
    in front; no agent's name can make the one kind of queue look like the other.

    Raises:
        ConfigError: The cluster's name is not one.
    """
    if cluster == DEFAULT_CLUSTER:
        return f"mesolite.agent.{agent_id}"
    return f"{key_prefix(cluster)}agent:{agent_id}"


def escape_glob(text: str) -> str:
    """Return a pattern for SCAN MATCH that matches `text` itself and nothing else (Redis `stringmatchlen`)."""
    return re.sub(r"([*?\[\\])", r"\\\1", text)
