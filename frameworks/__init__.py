"""Frameworks: the scheduler driver to write one with, and those that come along.

Everything here is public, and so is each framework's own package: `from mesolite.frameworks import batch`.
"""

from .driver import (
    AsyncSchedulerDriver,
    AttributeEquals,
    Constraint,
    DriverSettings,
    DriverShell,
    FrameworkStore,
    Plan,
    Scheduler,
    SchedulerDriver,
    Want,
    demands,
    place,
)

__all__ = [
    # the driver
    "AsyncSchedulerDriver",
    "DriverSettings",
    "DriverShell",
    "FrameworkStore",
    "Scheduler",
    "SchedulerDriver",
    # placement
    "AttributeEquals",
    "Constraint",
    "Plan",
    "Want",
    "demands",
    "place",
]
