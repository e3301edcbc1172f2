"""One fault under load, and the verdict: short tasks flow, ten long ones run, something dies, and then the books are opened."""

import sys
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import docker
import pytest

from mesolite import TaskId
from mesolite.errors import MesoliteError
from mesolite.operator import OperatorClient
from tests.source_tree import listed
from tests.waiting import eventually

from . import judge, witness
from .load import CPUS, LONGS, MEM_MIB, LoadProcess
from .load_journal import now_ms
from .story import Story

#: Short tasks that flow while something dies.
WAVE: Final = 200
#: Of them, so many are done when it dies: everything is in motion then.
IN_MOTION: Final = 15
#: Two idle processors start four containers a second and more; busy ones a fifth of that, and outages come on top.
WAVE_TIMEOUT_S: Final = 360.0
#: For masters, agents and Flower to agree again. Agents register within 10 s of a new master, Flower looks every few seconds.
TRUTH_TIMEOUT_S: Final = 60.0


class Site(Protocol):
    """A cluster that trials are held on."""

    @property
    def redis_url(self) -> str:
        """As settings write it."""
        ...

    @property
    def cluster(self) -> str:
        """Its name."""
        ...

    @property
    def flower_url(self) -> str:
        """Where Flower is."""
        ...

    def masters(self) -> Mapping[str, Collection[str]]:
        """The masters: the URL to ask each at, and "host:port" of that and of where others are sent to it."""
        ...

    def agent_ids(self) -> Collection[str]:
        """The agents that there are to be."""
        ...

    def work_dirs(self) -> Sequence[Path]:
        """Each agent's folder."""
        ...


@dataclass(slots=True)
class Fault:
    """What a trial is told by whoever breaks something."""

    #: When it broke.
    struck_ms: int
    #: Flower and the agents were started again too, so that they need not know what ended before this.
    flower_began_ms: int = 0
    #: Further things to report, in words.
    remarks: list[str] = field(default_factory=list[str])


class Trials:
    """Trials on one cluster with one load, one after another: what one leaves behind, the next one finds."""

    def __init__(self, site: Site, load: LoadProcess, engine: docker.DockerClient) -> None:
        self.site: Final = site
        self.load: Final = load
        self._engine = engine
        #: The long tasks, and the containers that they began in.
        self._longs: Mapping[TaskId, judge.Container] = {}
        self._flower_began_ms = 0

    def begin(self) -> None:
        """Start the load and wait for its long tasks; from then on their containers must stay."""
        self.load.start()
        longs = self.load.wait_for_longs(within_s=WAVE_TIMEOUT_S)
        self._longs = witness.containers_of(self._engine, self.load.story(), longs)
        assert len(self._longs) == LONGS, f"the engine shows containers for {sorted(self._longs)}"
        for task_id, container in self._longs.items():
            assert container.mem_bytes == MEM_MIB * 2**20, task_id
            assert container.cpus_milli == round(CPUS * 1000), task_id

    @contextmanager
    def of(self, what: str, capsys: pytest.CaptureFixture[str], *, wave: int = WAVE) -> Generator[Fault]:
        """Hold a trial; the block breaks something and mends it.

        Args:
            what: In words, for the report.
            capsys: To report past pytest.
            wave: Short tasks that flow meanwhile.
        """
        began_s = time.monotonic()
        works = self.load.push(wave)
        self.load.wait_for(works, min(IN_MOTION, wave), within_s=WAVE_TIMEOUT_S)
        fault = Fault(now_ms())
        yield fault
        mended_ms = now_ms()
        self._flower_began_ms = max(self._flower_began_ms, fault.flower_began_ms)
        # More may have been asked for meanwhile.
        works = range(works.start, self.load.goal)
        self.load.wait_for(works, len(works), within_s=WAVE_TIMEOUT_S)
        flowed_ms = now_ms()
        story = self._rest()
        gap_ms = story.longest_gap_ms(fault.struck_ms, max(_last_start_ms(story), fault.struck_ms))
        offers = self._verdict()
        took_s = time.monotonic() - began_s
        remarks = [
            f"{took_s:.1f} s",
            f"broken for {(mended_ms - fault.struck_ms) / 1000:.1f} s",
            f"{len(works)} short tasks in {(flowed_ms - fault.struck_ms) / 1000:.1f} s from the fault on",
            f"longest gap between two starts {gap_ms / 1000:.2f} s",
            f"{len(story.tasks)} tasks so far, {sum(judge.lost_attempts(story).values())} lost and tried again "
            f"{dict(judge.lost_attempts(story)) or ''}",
            f"{judge.repeats(story)} last words heard again",
            f"{offers} offers outstanding at rest",
            f"{len(self._longs)} containers untouched",
            *fault.remarks,
        ]
        with capsys.disabled():
            sys.stdout.write(f"\n  {what}: " + "; ".join(remarks) + "\n")

    def _rest(self) -> Story:
        """Wait until nothing short is on its way, and return the story."""

        def at_rest() -> Story | None:
            story = self.load.story()
            busy = [
                task for task in story.tasks.values() if not task.last_words() and not task.work.startswith("long-")
            ]
            return None if busy else story

        story = self.load.watched(at_rest, within_s=TRUTH_TIMEOUT_S)
        assert story is not None
        return story

    def _verdict(self) -> int:
        """Complain about everything at once; returns the number of offers that the books had."""
        site, load = self.site, self.load
        self._settles("the masters agree", self._leadership)
        self._settles("the books are right", self._books)
        offers = self._offers()
        self._settles("Flower shows the truth", self._flower)
        story = load.story()
        ran = witness.lines_that_ran(site.work_dirs(), load.framework_id)
        complaints = judge.final_words(story, range(load.goal))
        complaints += judge.began_once(story, ran)
        complaints += judge.doubled_offers(story)
        complaints += judge.undisturbed(self._longs, witness.containers_of(self._engine, story, self._longs))
        for task_id in self._longs:
            # One line in two seconds; half of them is what a busy machine must have managed.
            due = (now_ms() - (story.tasks[task_id].started_ms() or now_ms())) // 4000
            output = witness.output_of(site.work_dirs(), load.framework_id, task_id)
            complaints += judge.unbroken_output(task_id, output, due)
        assert not complaints, listed(complaints)
        return offers

    def _leadership(self) -> list[str]:
        masters = self.site.masters()
        names = {name: url for url, names in masters.items() for name in names}
        return judge.one_leader({url: names.get(witness.leader_named_by(url)) for url in masters})

    def _operator(self) -> OperatorClient:
        return OperatorClient(",".join(self.site.masters()))

    def _books(self) -> list[str]:
        operator, story = self._operator(), self.load.story()
        agents = operator.agents()
        missing = set(self.site.agent_ids()) - {agent.agent_id for agent in agents}
        complaints = [f"the master does not list {agent_id}" for agent_id in sorted(missing)]
        return complaints + judge.books(agents, operator.offers(), witness.used_by(story, cpus=CPUS, mem_mib=MEM_MIB))

    def _offers(self) -> int:
        """Take every offer there is: all that is free must come, once."""
        counts: list[int] = []
        with witness.taking_all_offers(self.site.redis_url, self.site.cluster) as taker:

            def complaints() -> list[str]:
                operator = self._operator()
                offers = operator.offers()
                counts.append(len(offers))
                return judge.all_is_offered(operator.agents(), offers, taker.now_held()) + self._books()

            self._settles("all that is free is on offer, once", complaints)
        return counts[-1]

    def _flower(self) -> list[str]:
        flower = witness.FlowerApi(self.site.flower_url)
        story, framework_id = self.load.story(), self.load.framework_id
        tasks, workers, agents = flower.tasks(), flower.workers(), self.site.agent_ids()
        return judge.flower_truth(story, framework_id, tasks, workers, agents, began_ms=self._flower_began_ms)

    def _settles(self, what: str, complaints: Callable[[], list[str]]) -> None:
        """Wait until there is nothing to complain about; at the deadline, complain."""
        last: list[str] = ["nobody answered"]

        def silent() -> bool:
            try:
                last[:] = complaints()
            except MesoliteError as away:
                last[:] = [str(away)]
            return not last

        try:
            self.load.watched(silent, within_s=TRUTH_TIMEOUT_S)
        except AssertionError:
            raise AssertionError(f"not so within {TRUTH_TIMEOUT_S:g} s: {what}{listed(last)}") from None


def lasts(seconds: float) -> None:
    """Let something last: the fault itself, never a wait for what should follow."""
    end_s = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= end_s, within_s=seconds + 5)


def _last_start_ms(story: Story) -> int:
    return max((task.started_ms() or 0 for task in story.tasks.values()), default=0)
