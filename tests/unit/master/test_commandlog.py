"""Commands to one agent: numbered, kept until confirmed, sent again."""

from mesolite.ids import FrameworkId
from mesolite.master.commandlog import CommandLog
from mesolite.master.settings import COMMAND_RESEND_MS
from mesolite.protocol import Command, ShutdownFramework


def command(name: str) -> Command:
    return ShutdownFramework(FrameworkId(name))


def test_commands_are_numbered_from_one_and_sent_once() -> None:
    log = CommandLog()
    log.add(command("a"))
    log.add(command("b"))
    assert log.take(0) == (1, (command("a"), command("b")))
    assert log.take(1) == (3, ())
    log.add(command("c"))
    assert log.take(2) == (3, (command("c"),))
    log.check()


def test_what_stays_unconfirmed_is_sent_again_with_growing_pauses() -> None:
    log = CommandLog()
    log.add(command("a"))
    log.take(0)
    assert log.deadline_ms == COMMAND_RESEND_MS
    assert log.take(COMMAND_RESEND_MS) == (1, (command("a"),))
    assert log.deadline_ms == 3 * COMMAND_RESEND_MS
    log.check()


def test_confirmed_commands_are_forgotten() -> None:
    log = CommandLog()
    for name in "abc":
        log.add(command(name))
    log.take(0)
    assert log.confirm(2, 10)
    assert len(log) == 1
    assert log.confirm(2, 10), "an old confirmation is no news"
    assert log.confirm(3, 20)
    assert log.deadline_ms is None
    log.check()


def test_a_gap_sends_everything_unconfirmed_at_once() -> None:
    log = CommandLog()
    for name in "abc":
        log.add(command(name))
    log.take(0)
    log.confirm(1, 1)
    log.resend()
    assert log.take(2) == (2, (command("b"), command("c")))
    log.check()


def test_what_is_about_to_be_sent_again_can_be_confirmed_meanwhile() -> None:
    """The agent complains of a gap, finds the missing commands in its queue after all, and confirms them."""
    log = CommandLog()
    for name in "abc":
        log.add(command(name))
    log.take(0)
    log.resend()
    assert log.confirm(2, 1)
    log.check()
    assert log.take(2) == (3, (command("c"),))
    log.check()


def test_confirming_what_was_never_sent_is_refused() -> None:
    log = CommandLog()
    log.add(command("a"))
    assert not log.confirm(1, 0)
    log.take(0)
    assert not log.confirm(2, 0)
    assert log.confirm(1, 0)
