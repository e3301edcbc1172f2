"""Log lines: an event and its values, through Python's own logging."""

import logging

import pytest

from mesolite.logs import get_logger


def test_a_line_is_an_event_and_its_values_as_python_shows_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mesolite.test"):
        get_logger("mesolite.test").info("test.began", name="a b", count=3)
        get_logger("mesolite.test").warning("test.alone")
    assert [(each.name, each.levelname, each.getMessage()) for each in caplog.records] == [
        ("mesolite.test", "INFO", "test.began  name='a b' count=3"),
        ("mesolite.test", "WARNING", "test.alone"),
    ]


def test_what_values_hold_is_no_format(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("mesolite.test").error("test.odd", text="100 %s", event="its own", level=5)
    assert caplog.records[0].getMessage() == "test.odd  text='100 %s' event='its own' level=5"


def test_values_that_nobody_reads_are_not_made_text(caplog: pytest.LogCaptureFixture) -> None:
    class Dear:
        def __repr__(self) -> str:
            raise AssertionError("nobody asked")

    with caplog.at_level(logging.INFO, "mesolite.test"):
        get_logger("mesolite.test").debug("test.quiet", value=Dear())
    assert not caplog.records


def test_an_exception_brings_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    log = get_logger("mesolite.test")
    found = ValueError("given")
    try:
        raise KeyError("handled")
    except KeyError:
        log.exception("test.failed", what="it")
    log.error("test.failed", exc_info=found)
    log.log(logging.ERROR, "test.failed")
    handled, given, bare = caplog.records
    assert handled.exc_info is not None
    assert isinstance(handled.exc_info[1], KeyError)
    assert given.exc_info is not None
    assert given.exc_info[1] is found
    assert bare.exc_info is None
