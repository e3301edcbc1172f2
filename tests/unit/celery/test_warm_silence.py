"""Who counts as silent, and whose time does not count."""

from mesolite.frameworks.celery.warm_silence import MAX_LOOK_PAUSE_MS, Silences
from mesolite.frameworks.futures.settings import SILENCE_PATIENCE_MS

LOOK_MS = 1_000


def silent_at(silences: Silences, awaited: dict[str, int], since_ms: int, until_ms: int) -> list[tuple[int, str]]:
    """Look each second; return who was found to be silent, and when."""
    return [
        (now_ms - since_ms, name)
        for now_ms in range(since_ms, until_ms + 1, LOOK_MS)
        for name in silences.look(now_ms, awaited)
    ]


def test_who_has_not_answered_the_same_question_for_long_is_silent_once_in_each_patience() -> None:
    found = silent_at(Silences(), {"a": 7}, 500_000, 500_000 + 2 * SILENCE_PATIENCE_MS)
    assert found == [(SILENCE_PATIENCE_MS, "a"), (2 * SILENCE_PATIENCE_MS, "a")]


def test_who_answers_one_after_another_is_not_silent_and_who_answers_none_beside_it_is() -> None:
    silences = Silences()
    found = [
        name
        for second in range(SILENCE_PATIENCE_MS // LOOK_MS + 1)
        for name in silences.look(second * LOOK_MS, {"busy": second + 10, "silent": 1})
    ]
    assert found == ["silent"]


def test_an_outage_and_a_pause_of_the_process_begin_patience_anew() -> None:
    almost_ms = SILENCE_PATIENCE_MS - LOOK_MS
    silences = Silences()
    assert silent_at(silences, {"a": 1}, 0, almost_ms) == []
    silences.look(SILENCE_PATIENCE_MS, {})
    resumed_ms = SILENCE_PATIENCE_MS + LOOK_MS
    assert silent_at(silences, {"a": 1}, resumed_ms, resumed_ms + almost_ms) == []
    paused_ms = resumed_ms + almost_ms + MAX_LOOK_PAUSE_MS + 1
    assert silent_at(silences, {"a": 1}, paused_ms, paused_ms + almost_ms) == []
    silences.forget()
    assert silences.look(paused_ms + SILENCE_PATIENCE_MS, {"a": 1}) == ()
