"""Calls of one kind that no executor has, and the executors of that kind that have room."""

from collections import OrderedDict, deque

from .engine_call import PoolCall
from .engine_executor import ExecutorEnd


class CallQueue:
    """Calls and executors of one kind."""

    __slots__ = ("dropped", "open", "waiting")

    def __init__(self) -> None:
        #: Calls that no executor has, in order.
        self.waiting: deque[PoolCall] = deque()
        #: How many of these are not wanted any more.
        self.dropped = 0
        #: Executors that had room when last looked at, the longest unconsidered first.
        self.open: OrderedDict[str, ExecutorEnd] = OrderedDict()
