"""Workers are killed while calls flow: every call has one end, and none is begun twice."""

import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path

from mesolite.executors.python.calls import End
from tests.integration.call_rig import call_rig

CALLS = 3_000
KILLS = 25


def mark(path: str, number: int) -> int:
    """Write down that this call runs, in one write that others cannot cut in two."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"%d\n" % number)
    os.close(fd)
    return number


def test_every_call_has_one_end_and_none_is_begun_twice_whatever_worker_is_killed_when(tmp_path: Path) -> None:
    """Method: each call leaves its mark when it begins; marks and ends are compared when everything is over."""
    dice = random.Random(4)
    marks = tmp_path / "marks"
    with call_rig(tmp_path, workers=3) as rig:
        keys = [rig.submit(mark, str(marks), number, key=("call", number)) for number in range(CALLS)]
        for round_number in range(1, KILLS + 1):
            enough = round_number * CALLS // (KILLS + 1)
            rig.until_ended(enough)
            for pid in dice.sample(rig.pids(), k=min(2, len(rig.pids()))):
                with contextlib.suppress(ProcessLookupError):  # it may have been killed before, and not been missed yet
                    os.kill(pid, signal.SIGKILL)
        os.kill(rig.zygote.pid, signal.SIGKILL)
        outcomes = rig.wait_all([*keys])
    begun = Counter(int(line) for line in marks.read_text().split())
    assert set(rig.times_done.values()) == {1}
    assert max(begun.values()) == 1
    assert {outcome.end for outcome in outcomes} <= {End.RETURNED, End.DIED}
    returned = {number for number, outcome in enumerate(outcomes) if outcome.end is End.RETURNED}
    assert returned <= begun.keys()
    # What is no mark and no result was taken by a worker that was killed before its first instruction: at most one for each kill.
    assert CALLS - len(returned) <= 2 * KILLS + 3
