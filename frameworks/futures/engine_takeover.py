"""The client's side of a pool that outlives its client: calls that an earlier life gave away are looked for, by their names.

    looked for --an executor runs it--> given --its end is heard--> ended
        |  '---one remembers its end-------------------------------> ended
        |  '---all have answered, and are certain--> ended as REFUSED: it never began, and may be sent again
        '------all have answered or are over, and one of them may have had it--> lost

Every executor that there was in the earlier life is asked. One that answers follows this session from then on, and takes nothing
from the earlier any more, even if that lives and wakes up: so what is unknown to all of them does not begin later either.

This is a core, as `engine_core`.
"""

from collections.abc import Sequence

from mesolite.executors.python.calls import End, Outcome
from mesolite.executors.python.wire import Attach, Begun, Cancel, Earlier, Ended, ExecutorItem, Returned, Unknown

from .engine_call import Lost, PoolCall
from .engine_core import EngineCore
from .engine_estimates import UNKNOWN_US
from .engine_executor import ExecutorEnd


class _Search:
    """A call that is looked for."""

    __slots__ = ("call", "doubt", "killed", "pending", "unwanted")

    def __init__(self, call: PoolCall) -> None:
        self.call = call
        #: Who has not answered yet, by the number that the call would have there.
        self.pending: dict[int, str] = {}
        #: Somebody may have had it who cannot be asked.
        self.doubt: Lost | None = None
        #: It is to end, wherever it is found.
        self.killed = False
        #: It is to end where it has not begun.
        self.unwanted = False


class OutlivingCore(EngineCore):
    """The state of one life of a client."""

    def __init__(self) -> None:
        super().__init__()
        self._searches: dict[PoolCall, _Search] = {}
        self._by_number: dict[int, _Search] = {}

    def attach(self, calls: Sequence[PoolCall], executor_ids: Sequence[str]) -> None:
        """Look for calls that have names; nothing is started.

        Args:
            calls: Each has its end told once, as if it had been submitted.
            executor_ids: Every executor that an earlier life may have given them to.
        """
        for call in calls:
            assert call.options is not None, "it is looked for by its name"
            search = self._searches[call] = _Search(call)
            for executor_id in executor_ids:
                end = self._executors.get(executor_id)
                if end is None:
                    search.doubt = Lost(executor_id, False, "it is over")
                    continue
                number = next(self._numbers)
                search.pending[number] = executor_id
                self._by_number[number] = search
                end.say(Attach(number, call.options.name))
                self._speaking[executor_id] = end
            self._settle(search)

    def searches_in(self, executor_id: str) -> bool:
        """Whether an executor has yet to say what it knows of calls: if it is over before, the next life must know of it, too."""
        return any(executor_id in search.pending.values() for search in self._searches.values())

    def awaited(self) -> dict[str, int]:
        """Return of each executor that has something to answer the oldest number that it has not answered; none before there is
        a session."""
        awaited: dict[str, int] = {}
        for number, search in self._by_number.items() if self._session else ():
            awaited.setdefault(search.pending[number], number)
        return awaited

    @property
    def searches(self) -> int:
        """How many calls are looked for."""
        return len(self._searches)

    def cancel(self, call: PoolCall, *, kill: bool) -> bool:
        """See `EngineCore`; the end of a call that is looked for comes."""
        search = self._searches.get(call)
        if search is None:
            return super().cancel(call, kill=kill)
        search.unwanted = True
        search.killed = search.killed or kill
        return False

    def executor_over(self, executor_id: str, reason: str) -> None:
        """See `EngineCore`."""
        super().executor_over(executor_id, reason)
        for search in list(self._searches.values()):
            gone = [number for number, each in search.pending.items() if each == executor_id]
            if gone:
                for number in gone:
                    self._answer(search, number)
                search.doubt = Lost(executor_id, False, reason)
                self._settle(search)

    def check(self) -> None:
        """See `EngineCore`."""
        super().check()
        pending = {number: search for search in self._searches.values() for number in search.pending}
        assert pending == self._by_number
        assert all(search.pending for search in self._searches.values()), "what is answered is settled"
        assert all(
            executor_id in self._executors for s in self._searches.values() for executor_id in s.pending.values()
        )

    def _hear_item(self, end: ExecutorEnd, item: ExecutorItem, now_ms: float) -> None:
        if type(item) is Earlier:
            end.earlier = item.calls
        elif self._by_number and isinstance(item, Begun | Ended | Returned | Unknown):
            search = self._by_number.get(item.number)
            if search is None:
                super()._hear_item(end, item, now_ms)
            elif search.pending[item.number] == end.executor_id:
                self._found(end, search, item)
        else:
            super()._hear_item(end, item, now_ms)

    def _found(self, end: ExecutorEnd, search: _Search, item: Begun | Ended | Returned | Unknown) -> None:
        if isinstance(item, Unknown) or (isinstance(item, Ended) and not item.outcome.begun):
            # It did not begin there. It may have been taken back, and have begun elsewhere.
            self._answer(search, item.number)
            if isinstance(item, Unknown) and not item.certain:
                search.doubt = Lost(end.executor_id, False, "its executor does not remember all that it ran")
            self._settle(search)
            return
        call = search.call
        self._close(search)
        if isinstance(item, Begun):
            given = end.hold(item.number, call, UNKNOWN_US)
            given.said = given.begun = call.claimed = True
            call.number = item.number
            self._holders[item.number] = end
            if call.hears_begun:
                self._begun.append(call)
            if search.killed:
                given.unwanted = True
                end.say(Cancel(item.number, True))
                self._speaking[end.executor_id] = end
            return
        call.executor_id = end.executor_id
        if isinstance(item, Returned):
            self._returned += 1
            self._end(call, Outcome(End.RETURNED, item.payload, ran_us=item.ran_us))
        else:
            self._count(item.outcome)
            self._end(call, item.outcome)

    def _settle(self, search: _Search) -> None:
        """End what is nowhere, once all have answered."""
        if search.pending:
            return
        self._close(search)
        if search.doubt is None:
            self._end_unbegun(search)
        else:
            self._lost += 1
            self._end(search.call, search.doubt)

    def _end_unbegun(self, search: _Search) -> None:
        """No worker has begun it, and none will."""
        end = End.CANCELLED if search.unwanted else End.REFUSED
        outcome = Outcome(end, message="no worker had begun it when its client was replaced", begun=False)
        self._count(outcome)
        self._end(search.call, outcome)

    def _count(self, outcome: Outcome) -> None:
        if outcome.end is End.RETURNED:
            self._returned += 1
        else:
            self._failed += 1

    def _answer(self, search: _Search, number: int) -> None:
        del search.pending[number]
        del self._by_number[number]

    def _close(self, search: _Search) -> None:
        for number in list(search.pending):
            self._answer(search, number)
        del self._searches[search.call]
