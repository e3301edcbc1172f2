"""The agent's way to the master: what only confirms may wait for something else to say."""

from mesolite.agent.effects import SendReports
from mesolite.agent.reporter import Reporter
from mesolite.ids import AgentId, SessionId
from mesolite.protocol import AgentHeartbeat, ReportBatch, decode_reports
from mesolite.transport import MemoryBroker, MemoryStore
from mesolite.transport.contract import BEGINNING
from mesolite.transport.keys import reports_stream

DELAY_MS = 10


class Wire:
    """A reporter, and what came out of it."""

    def __init__(self, delay_ms: int = DELAY_MS) -> None:
        self._store = MemoryStore(MemoryBroker())
        self.reporter = Reporter(self._store, AgentId("a1"), SessionId("s1"), "default", confirm_delay_ms=delay_ms)

    def sent(self) -> list[ReportBatch]:
        """Every batch so far."""
        stream = reports_stream("default")
        return [decode_reports(each.payload)[0] for each in self._store.read({stream: BEGINNING}, limit=100, wait_ms=0)]


def confirms(number: int, *, gap: bool = False) -> SendReports:
    return SendReports(epoch=1, confirmed=number, gap=gap)


def test_what_only_confirms_rides_on_the_next_report_with_the_newest_number() -> None:
    wire = Wire()
    wire.reporter.send([confirms(1)], 1000)
    wire.reporter.send([confirms(2)], 1004)
    assert wire.sent() == []
    wire.reporter.send([SendReports(epoch=1, confirmed=2, reports=(AgentHeartbeat(),))], 1006)
    [batch] = wire.sent()
    assert (batch.confirmed, batch.reports) == (2, (AgentHeartbeat(),))
    wire.reporter.send_held(2000)
    assert len(wire.sent()) == 1, "nothing waits any more"


def test_what_only_confirms_leaves_by_itself_when_nothing_comes() -> None:
    wire = Wire()
    wire.reporter.send([confirms(1)], 1000)
    wire.reporter.send([confirms(3)], 1008)
    assert wire.reporter.deadline_ms == 1000 + DELAY_MS, "counted from the first that waited"
    wire.reporter.send_held(1009)
    assert wire.sent() == []
    wire.reporter.send_held(1010)
    assert [batch.confirmed for batch in wire.sent()] == [3]
    assert wire.reporter.deadline_ms is None


def test_a_missing_command_is_asked_for_at_once() -> None:
    wire = Wire()
    wire.reporter.send([confirms(1, gap=True)], 1000)
    assert [batch.gap for batch in wire.sent()] == [True]


def test_without_a_delay_everything_leaves_at_once() -> None:
    wire = Wire(0)
    wire.reporter.send([confirms(1)], 1000)
    assert [batch.confirmed for batch in wire.sent()] == [1]
