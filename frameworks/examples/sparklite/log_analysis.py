"""A log: how many events of which kind on which day, and which days were the busiest. Debian's log of packages by default.

python -m mesolite.frameworks.examples.sparklite.log_analysis
"""

import re
from collections import Counter
from pathlib import Path

from mesolite.frameworks.sparklite import SparkContext

from .checked import run

#: What dpkg did on this machine; without it, the changes to Python as its own source tells them: lines with a year in them.
LOG = Path("/var/log/dpkg.log")
SLICES = 4
SHOWN = 10
#: A day, its events, and the most frequent kind of them.
Day = tuple[str, int, str]


def log_lines() -> list[str]:
    """Read the log; where the machine has none, what the standard library says of years."""
    if LOG.is_file():
        return LOG.read_text(encoding="utf-8", errors="replace").splitlines()
    from .source_text import source_files

    dated = re.compile(r"\b(?:19|20)\d\d\b")
    return [
        f"{found.group()}-01-01 00:00:00 {module.partition('.')[0]} {line.strip()}"
        for module, text in source_files()
        for line in text.splitlines()
        if (found := dated.search(line))
    ]


def parsed(line: str) -> list[tuple[str, str]]:
    """Return (day, kind of event); nothing for a line that is none."""
    match line.split(maxsplit=3):
        case [day, _, kind, *_] if re.fullmatch(r"\d{4}-\d\d-\d\d", day):
            return [(day, kind)]
        case _:
            return []


def log_analysis(sc: SparkContext, lines: list[str]) -> tuple[int, list[Day]]:
    """Analyse on the cluster; returns how many lines were no events, too."""
    strange = sc.accumulator(0)

    def events(line: str) -> list[tuple[str, str]]:
        found = parsed(line)
        if not found:
            strange.add(1)
        return found

    kinds = sc.parallelize(lines, SLICES).flatMap(events).map(lambda event: (event, 1)).reduceByKey(lambda a, b: a + b)
    days = kinds.map(lambda each: (each[0][0], (each[1], -each[1], each[0][1]))).reduceByKey(
        lambda a, b: (a[0] + b[0], *min(a[1:], b[1:]))
    )
    busiest = days.map(lambda each: (each[0], each[1][0], each[1][2]))
    answer = busiest.takeOrdered(SHOWN, key=lambda day: (-day[1], day[0]))
    return strange.value, answer


def plain_log_analysis(lines: list[str]) -> tuple[int, list[Day]]:
    """Analyse here."""
    events = [event for line in lines for event in parsed(line)]
    per_day = Counter(day for day, _ in events)
    kinds = Counter(events)
    days = [
        (day, count, min((-times, kind) for (its, kind), times in kinds.items() if its == day)[1])
        for day, count in per_day.items()
    ]
    return len(lines) - len(events), sorted(days, key=lambda day: (-day[1], day[0]))[:SHOWN]


def main() -> None:
    """Analyse and compare."""
    lines = log_lines()
    run(
        "log analysis",
        lambda sc: log_analysis(sc, lines),
        lambda: plain_log_analysis(lines),
        lambda answer: (("day", "events", "most of them"), answer[1]),
    )


if __name__ == "__main__":
    main()
