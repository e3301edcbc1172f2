"""Stories of an allocator, as text: commands and what came of them, in files that people can read and review.

A file in `allocator/` starts with its story, in lines that begin with `#`. Then come blocks: commands, a line `----`, and
what they printed. `REWRITE=1 pytest tests/scenarios/test_allocator_scenarios.py` writes what is printed now into the files;
the difference in version control is then what to think about. The form is etcd raft's (`interaction_test.go`).

Commands (amounts like `cpus:1;mem:64`):

    agent ID TOTAL                    change-agent ID TOTAL            lose-agent ID
    framework ID [ROLE ...]           weight ROLE THOUSANDTHS          demand ID ROLE [COUNTxSHAPE ...]
    suppress ID ROLE                  revive ID ROLE                   connect ID | disconnect ID
    allocate                          advance MILLISECONDS             deadline
    decline ID [AGENT] [refuse=MS]    accept ID AGENT [USED]           finish ID AGENT ROLE USED
    explain ID

`allocate` prints a line for each grant. `advance` lets time pass and allocates wherever a deadline falls in between, as the
master does. Whatever prints nothing prints `ok`.
"""

from pathlib import Path
from typing import Final

import pytest

from mesolite.ids import FrameworkId
from mesolite.master.allocator import HierarchicalDrfAllocator
from tests.scenarios.story import check
from tests.unit.allocator.cluster import Cluster

FILES: Final = sorted((Path(__file__).parent / "allocator").glob("*.txt"))


class Stage:
    """Plays commands."""

    def __init__(self) -> None:
        self.cluster = Cluster(HierarchicalDrfAllocator())

    def play(self, command: str) -> list[str]:
        """Do one command and return what it prints."""
        verb, *words = command.split()
        options = dict(word.split("=") for word in words if "=" in word)
        words = [word for word in words if "=" not in word]
        cluster = self.cluster
        match verb, words:
            case "agent", [agent_id, total]:
                cluster.agent(agent_id, total)
            case "change-agent", [agent_id, total]:
                cluster.change_agent(agent_id, total)
            case "lose-agent", [agent_id]:
                cluster.lose_agent(agent_id)
            case "framework", [framework_id, *roles]:
                cluster.framework(framework_id, *roles)
            case "weight", [role, weight]:
                cluster.allocator.set_weight(role, int(weight))
            case "demand", [framework_id, role, *demands]:
                cluster.demand(framework_id, *(demand.replace("x", "x ", 1) for demand in demands), role=role)
            case "decline", [framework_id, *agents]:
                refuse_ms = int(options.get("refuse", 5000))
                cluster.decline(framework_id, agents[0] if agents else None, refuse_ms=refuse_ms)
            case "accept", [framework_id, agent_id, *used]:
                cluster.accept(framework_id, agent_id, used[0] if used else None)
            case "finish", [framework_id, agent_id, role, used]:
                cluster.finish(framework_id, agent_id, used, role=role)
            case _:
                return self._ask(verb, words)
        return []

    def _ask(self, verb: str, words: list[str]) -> list[str]:
        cluster = self.cluster
        match verb, words:
            case "suppress", [framework_id, role]:
                cluster.allocator.suppress(FrameworkId(framework_id), (role,))
            case "revive", [framework_id, role]:
                cluster.allocator.revive(FrameworkId(framework_id), (role,))
            case "connect", [framework_id]:
                cluster.allocator.activate_framework(FrameworkId(framework_id))
            case "disconnect", [framework_id]:
                cluster.allocator.deactivate_framework(FrameworkId(framework_id))
            case "allocate", []:
                return cluster.allocate() or ["nothing"]
            case "advance", [milliseconds]:
                return self._advance(int(milliseconds))
            case "deadline", []:
                return [str(cluster.allocator.next_deadline_ms())]
            case "explain", [framework_id]:
                return [
                    f"{why.role} {why.agent_id or 'all agents'}: {why.reason.name}: {why.message}"
                    + (f" (until {why.until_ms})" if why.until_ms is not None else "")
                    for why in cluster.explain(framework_id)
                ]
            case _:
                pytest.fail(f"no such command: {verb} {words}")
        return []

    def _advance(self, by_ms: int) -> list[str]:
        end_ms = self.cluster.now_ms + by_ms
        printed: list[str] = []
        while (deadline := self.cluster.allocator.next_deadline_ms()) is not None and deadline <= end_ms:
            self.cluster.now_ms = deadline
            printed += [f"{deadline}: {line}" for line in self.cluster.allocate()]
        self.cluster.now_ms = end_ms
        return printed


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    check(path, Stage())


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 5
