"""When a worker of Celery tasks ends after a task."""

import json

import pytest

from mesolite.executors.celery.protocol import RecycleRules
from mesolite.executors.celery.recycling import rules_from, why_end

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (RecycleRules(), ""),
        (RecycleRules(max_tasks=11, max_age_s=61, max_mem_mib=101), ""),
        (RecycleRules(max_tasks=10), "10 tasks"),
        (RecycleRules(max_age_s=60), "60 s old"),
        (RecycleRules(max_mem_mib=99), "100 MiB"),
        (RecycleRules(max_mem_mib=100), ""),
    ],
)
def test_each_rule_ends_a_worker_by_itself_and_says_why(rules: RecycleRules, says: str) -> None:
    why = why_end(rules, tasks=10, age_s=60.0, resident_bytes=100 * MEBIBYTE)
    assert bool(why) == bool(says)
    assert says in why


def test_rules_are_read_from_json_and_what_is_unknown_is_left_alone() -> None:
    assert rules_from("") == RecycleRules()
    assert rules_from(json.dumps(RecycleRules(5, 300, 60)._asdict())) == RecycleRules(5, 300, 60)
    assert rules_from('{"max_tasks": 7, "max_moons": 1}') == RecycleRules(max_tasks=7)


@pytest.mark.parametrize("text", ["{", "[]", '{"max_tasks": "7"}', '{"max_age_s": -1}', '{"max_mem_mib": true}'])
def test_rules_that_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        rules_from(text)
