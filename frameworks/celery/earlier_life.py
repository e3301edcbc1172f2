"""What a dispatcher does where the last one of its name had another broker.

Who it is on the cluster goes by its name alone, so it is about to have the framework and the workers of that one. That is right
where the broker has moved, and wrong where two applications were given one name. Nobody can tell which, but for one case: an
earlier life that still lives is another application's, since a broker that moved took its dispatcher along. So that case is
refused, and the others are told.

Where the brokers are the same, this is not asked: there the name is leased (Redis), or the newest has it (elsewhere). One Redis
that has two addresses is no other case: who comes here has the lease of its name, so the other has left, or is silent.
"""

import threading
import time
from contextlib import closing
from typing import Final, NamedTuple

from mesolite.errors import ConfigError, MasterUnavailable
from mesolite.ids import FrameworkId
from mesolite.logs import get_logger
from mesolite.operator import OperatorClient

from ..futures.connection import ClusterPlace
from .broker_address import BrokerAddress, decode_address
from .identity import KeptIdentity
from .parts import KIND
from .settings import DispatchSettings

#: Schedulers speak every 5 s, and count as disconnected after 15 s of silence, where nobody set it otherwise.
PATIENCE_S: Final = 20.0
_LOOK_EVERY_S: Final = 0.5
#: The master is on the cluster's network, which may be closed to dispatchers.
_ANSWER_S: Final = 3.0

_log = get_logger("mesolite.celery")


class Sighting(NamedTuple):
    """What the master knows of the scheduler of a framework."""

    connected: bool
    last_heard_ms: int


def lives(first: Sighting | None, now: Sighting | None) -> bool | None:
    """Say whether an earlier life goes on; None where that cannot be told yet.

    Args:
        first: What the master knew at first.
        now: What it knows now; None: no such framework. One that was killed counts as connected for a while, and says nothing.
    """
    if first is None or now is None or not now.connected:
        return False
    return True if now.last_heard_ms > first.last_heard_ms else None


def meet(settings: DispatchSettings, broker: BrokerAddress, *, patience_s: float = PATIENCE_S) -> None:
    """Compare the broker with the last life's, and keep it for the next.

    Args:
        settings: Of the dispatcher.
        broker: Its own.
        patience_s: How long a last life is listened for that may have died just now.

    Raises:
        ConfigError: The last life had another, and lives.
        RedisUnavailable: The cluster's Redis does not answer.
        Superseded: Another dispatcher of this name starts at this moment.
    """
    with closing(settings.place.open_store()) as store:
        identity = KeptIdentity(store, KIND, settings.name)
        before = decode_address(identity.broker)
        if before is not None and not before.is_same(broker):
            if _still_lives(settings, identity.framework_id, patience_s):
                raise ConfigError(
                    f"a dispatcher named {settings.name!r} runs on this cluster for the broker {before}; this one is for "
                    f"{broker}: give it another --name, or end the other first"
                )
            _tell(settings.name, before, broker)
        if before != broker:
            identity.keep_broker(broker.encode())


def _tell(name: str, before: BrokerAddress, now: BrokerAddress) -> None:
    _log.warning(
        "celery.other_broker",
        name=name,
        before=str(before),
        now=str(now),
        reason="the last dispatcher of this name had another broker; this one has taken over its framework and workers. If this "
        "is another application, give it a --name of its own. If the broker has moved, all is well; messages that are owned "
        f"at the old one stay there until `mesolite celery-aside --broker OLD --release {name}`",
    )


def _still_lives(settings: DispatchSettings, framework_id: FrameworkId, patience_s: float) -> bool:
    """Listen for an earlier life; False where nobody can tell. One that counts as connected to the end is taken for alive."""
    pause, until_s = threading.Event(), time.monotonic() + patience_s
    try:
        first = now = _sighting(settings.place, framework_id)
        if lives(first, now) is None:
            _log.warning(
                "celery.listens",
                name=settings.name,
                reason="the last dispatcher of this name had another broker, and counts as connected",
            )
        while (found := lives(first, now)) is None and time.monotonic() < until_s:
            pause.wait(_LOOK_EVERY_S)
            now = _sighting(settings.place, framework_id)
    except MasterUnavailable as unavailable:
        _log.warning("celery.earlier_life_unknown", name=settings.name, reason=str(unavailable))
        return False
    return found is not False


def _sighting(place: ClusterPlace, framework_id: FrameworkId) -> Sighting | None:
    with closing(place.open_store()) as store:
        lease = store.lease().lease
    if lease is None:
        raise MasterUnavailable("no master leads, so nobody can say whether the other dispatcher lives")
    rows = OperatorClient(lease.address, timeout_s=_ANSWER_S).frameworks()
    row = next((each for each in rows if each.framework_id == framework_id), None)
    return None if row is None else Sighting(row.status == "connected", row.last_heard_ms)
