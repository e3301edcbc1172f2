"""The scheduler driver: everything about being a framework that does not depend on what the framework does.

`frameworks/README.md` shows how to write a framework on it.
"""

from .asynchronous import AsyncSchedulerDriver
from .driver import Action, SchedulerDriver
from .effects import (
    DeliverCongestion,
    DeliverDisconnected,
    DeliverError,
    DeliverFailure,
    DeliverMessage,
    DeliverOffers,
    DeliverRescinded,
    DeliverSubscribed,
    DeliverUnsatisfiable,
    DeliverUpdates,
    DeliverWakeup,
    Delivery,
)
from .framework_store import FrameworkStore
from .placement import AttributeEquals, Constraint, Fill, Placement, Plan, Want, demands, place
from .scheduler import Scheduler
from .settings import DriverSettings
from .shell import DriverShell

__all__ = [
    # the driver
    "Action",
    "AsyncSchedulerDriver",
    "DriverSettings",
    "DriverShell",
    "FrameworkStore",
    "Scheduler",
    "SchedulerDriver",
    # placement
    "AttributeEquals",
    "Constraint",
    "Fill",
    "Placement",
    "Plan",
    "Want",
    "demands",
    "place",
    # what an asyncio program iterates over
    "DeliverCongestion",
    "DeliverDisconnected",
    "DeliverError",
    "DeliverFailure",
    "DeliverMessage",
    "DeliverOffers",
    "DeliverRescinded",
    "DeliverSubscribed",
    "DeliverUnsatisfiable",
    "DeliverUpdates",
    "DeliverWakeup",
    "Delivery",
]
