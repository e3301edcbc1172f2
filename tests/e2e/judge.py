"""Whether a cluster kept its promises, from facts that were collected after a fault. Pure: each function returns complaints.

What is promised is DESIGN 5, as far as it can be seen from outside: one final word for each task, no task started twice, running
tasks undisturbed, resources neither lost nor given to two, one leader, and a Flower that shows what is so.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from mesolite import OfferId, TaskId, TaskState
from mesolite.views import AgentRow, Amounts, OfferRow

from .story import Story, TaskStory

#: What a last word says of how often the task's command began. FAILED, GONE and the like come before or after it.
_BEGAN: dict[TaskState, frozenset[int]] = {TaskState.FINISHED: frozenset({1}), TaskState.DROPPED: frozenset({0})}
_BEGAN_AT_MOST_ONCE = frozenset({0, 1})
#: What Flower calls a task that has not ended.
_FLOWER_ALIVE = frozenset({"PENDING", "RECEIVED", "STARTED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as the engine describes it."""

    engine_id: str
    started_at: str
    running: bool
    mem_bytes: int
    cpus_milli: int


def final_words(story: Story, works: Iterable[int]) -> list[str]:
    """Each short task has one last word and none after it; each piece of work was finished by one task; longs have none."""
    complaints = [
        f"{word.task_id}, which was never launched, is said to be {word.state.name}" for word in story.strangers
    ]
    complaints += [f"the master refused the load: {refusal}" for refusal in story.refusals]
    finished: Counter[str] = Counter()
    for task in story.tasks.values():
        states = {word.state for word in task.last_words()}
        if task.work.startswith("long-"):
            complaints += [f"{task.task_id} was to run on and is {state.name}" for state in sorted(states, key=str)]
            continue
        if len(states) != 1:
            words = ", ".join(sorted(state.name for state in states)) or "none"
            complaints.append(f"{task.task_id} has last words: {words}; heard last: {_newest(task)}")
        elif task.heard[-1].state not in states:
            complaints.append(f"{task.task_id} ended and was then said to be {task.heard[-1].state.name}")
        finished[task.work] += TaskState.FINISHED in states
    for number in works:
        if finished[f"short-{number}"] != 1:
            complaints.append(f"short-{number} was finished {finished[f'short-{number}']} times")
    return complaints


def _newest(task: TaskStory) -> str:
    return task.heard[-1].state.name if task.heard else "nothing"


def repeats(story: Story) -> int:
    """How many last words were delivered again: allowed after a crash, but counted."""
    return sum(max(0, len(task.last_words()) - 1) for task in story.tasks.values())


def lost_attempts(story: Story) -> Counter[str]:
    """Tasks that did not finish, by how they ended: their work was tried again."""
    ends: Counter[str] = Counter()
    for task in story.tasks.values():
        ends.update({word.state.name for word in task.last_words() if word.state is not TaskState.FINISHED})
    return ends


def began_once(story: Story, ran: Mapping[TaskId, Sequence[str]]) -> list[str]:
    """What tasks left in their sandboxes, of all agents and all containers, says that each began as often as it should.

    Args:
        story: The load's.
        ran: Per task the lines that all of its containers wrote.
    """
    complaints = [f"{task_id} ran and was never launched" for task_id in sorted(ran.keys() - story.tasks.keys())]
    for task_id, task in story.tasks.items():
        lines = ran.get(task_id, ())
        words = task.last_words()
        if words:
            allowed = _BEGAN.get(words[-1].state, _BEGAN_AT_MOST_ONCE)
        else:
            allowed = frozenset({1}) if task.runs() else _BEGAN_AT_MOST_ONCE
        if len(lines) not in allowed:
            complaints.append(f"{task_id}, {words[-1].state.name if words else 'not ended'}, began {len(lines)} times")
        complaints += [f"{task_id} found {line!r} in its sandbox" for line in lines if line != task_id]
    return complaints


def undisturbed(before: Mapping[TaskId, Container], after: Mapping[TaskId, Container]) -> list[str]:
    """The same containers run, started when they were, with the limits they had."""
    complaints: list[str] = []
    for task_id, was in before.items():
        now = after.get(task_id)
        if now is None:
            complaints.append(f"{task_id} has no container any more")
        elif now != was:
            complaints.append(f"{task_id} ran in {was} and is now in {now}")
    complaints += [f"{task_id} has a container that it had not" for task_id in sorted(after.keys() - before.keys())]
    complaints += [
        f"{task_id} does not run: {container}" for task_id, container in after.items() if not container.running
    ]
    return complaints


def unbroken_output(task_id: TaskId, output: str, at_least: int) -> list[str]:
    """A long task's output has every line from the first on, and goes on."""
    ticks = [int(line.removeprefix("tick ")) for line in output.splitlines() if line.startswith("tick ")]
    if ticks != list(range(1, len(ticks) + 1)):
        odd = next(index for index, tick in enumerate(ticks) if tick != index + 1)
        return [f"the output of {task_id} has {ticks[odd]} after {ticks[odd - 1] if odd else 'nothing'}"]
    if len(ticks) < at_least:
        return [f"the output of {task_id} ends at {len(ticks)}; {at_least} and more were written"]
    return []


def books(agents: Sequence[AgentRow], offers: Sequence[OfferRow], used: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The master's books at rest: every agent is there, used is what runs, nothing is promised twice.

    Args:
        agents: As listed.
        offers: As listed at the same moment.
        used: What runs on each agent, in thousandths.
    """
    complaints: list[str] = []
    for agent in agents:
        if agent.status != "active":
            complaints.append(f"{agent.agent_id} is {agent.status}")
        total, taken, offered = (_milli(amounts) for amounts in (agent.total, agent.used, agent.offered))
        complaints += [
            f"{agent.agent_id} has {total[name]} {name}, {taken[name]} in use and {offered[name]} on offer"
            for name in sorted(total | taken | offered)
            if taken[name] + offered[name] > total[name]
        ]
        runs = Counter(used.get(agent.agent_id, {}))
        if +taken != +runs:
            complaints.append(f"{agent.agent_id} is said to use {dict(taken)}; what runs there is {dict(runs)}")
        complaints += _offers_of(agent, [offer for offer in offers if offer.agent_id == agent.agent_id])
    known = {agent.agent_id for agent in agents}
    complaints += [
        f"{offer.offer_id} is on {offer.agent_id}, which is not listed"
        for offer in offers
        if offer.agent_id not in known
    ]
    return complaints


def _offers_of(agent: AgentRow, offers: Sequence[OfferRow]) -> list[str]:
    complaints: list[str] = []
    added: Counter[str] = Counter()
    for offer in offers:
        added += _milli(offer.resources)
    if added != +_milli(agent.offered):
        complaints.append(
            f"{agent.agent_id} has {dict(_milli(agent.offered))} on offer; its offers add up to {dict(added)}"
        )
    for one, other in combinations(offers, 2):
        for name, text in one.resources.items():
            if isinstance(text, str) and _overlap(text, str(other.resources.get(name, ""))):
                complaints.append(f"{one.offer_id} and {other.offer_id} both offer {name} of {text}")
    return complaints


def all_is_offered(agents: Sequence[AgentRow], offers: Sequence[OfferRow], held: Collection[OfferId]) -> list[str]:
    """With a framework that takes all it gets: what does not run is on offer, and the offers are those that it has heard of."""
    complaints: list[str] = []
    for agent in agents:
        total, taken, offered = (_milli(amounts) for amounts in (agent.total, agent.used, agent.offered))
        if total != taken + offered:
            complaints.append(f"{agent.agent_id}: {dict(total)} in all, {dict(taken)} used, {dict(offered)} on offer")
    listed = {offer.offer_id for offer in offers}
    complaints += [f"offer {each} is in the books, and nobody holds it" for each in sorted(listed - set(held))]
    complaints += [f"offer {each} is held, and not in the books" for each in sorted(set(held) - listed)]
    return complaints


def doubled_offers(story: Story) -> list[str]:
    """No offer was delivered twice to the scheduler."""
    return [f"offer {offer_id} was delivered {count} times" for offer_id, count in story.offers.items() if count > 1]


def one_leader(answers: Mapping[str, str | None]) -> list[str]:
    """All masters name the same leader, and it is there.

    Args:
        answers: Per master, whom it takes for the leader.
    """
    named = set(answers.values())
    if not answers or None in named or len(named) != 1:
        return [f"the masters name as leader: {dict(answers)}"]
    return []


def flower_truth(
    story: Story,
    framework_id: str,
    tasks: Mapping[str, str],
    workers: Mapping[str, bool],
    agents: Collection[str],
    *,
    began_ms: int = 0,
) -> list[str]:
    """Flower shows tasks as they are: what runs STARTED, what finished SUCCESS, nothing else of the load alive.

    Args:
        story: The load's.
        framework_id: The load's: Flower knows a task as "framework id/task id".
        tasks: Flower's state of each task it lists.
        workers: Flower's workers, and whether each is online.
        agents: Those that there are.
        began_ms: When Flower and the agents began their present lives; what ended before, none of them needs to know.
    """
    complaints: list[str] = []
    for task_id, task in story.tasks.items():
        words = task.last_words()
        state = tasks.get(f"{framework_id}/{task_id}")
        if not words and task.runs():
            complaints += [] if state == "STARTED" else [f"Flower shows {task_id}, which runs, as {state}"]
        elif words and words[-1].state is TaskState.FINISHED:
            forgotten = state is None and words[-1].made_ms < began_ms
            complaints += (
                [] if state == "SUCCESS" or forgotten else [f"Flower shows {task_id}, which finished, as {state}"]
            )
        elif words and state in _FLOWER_ALIVE:
            complaints.append(f"Flower shows {task_id}, {words[-1].state.name}, as {state}")
    complaints += [
        f"Flower shows {task_id}, which there is not, as {state}"
        for task_id, state in tasks.items()
        if state in _FLOWER_ALIVE and task_id.removeprefix(f"{framework_id}/") not in story.tasks
    ]
    online = {worker.partition("@")[2] for worker, is_online in workers.items() if is_online}
    complaints += [f"Flower does not show agent {agent} online" for agent in sorted(set(agents) - online)]
    return complaints


def _milli(amounts: Amounts) -> Counter[str]:
    return Counter({name: round(value * 1000) for name, value in amounts.items() if isinstance(value, float | int)})


def _ranges(text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for part in text.strip("[]{}").split(","):
        low, dash, high = part.strip().partition("-")
        if dash and low.isdigit() and high.isdigit():
            found.append((int(low), int(high)))
    return found


def _overlap(text: str, other: str) -> bool:
    return any(
        low <= other_high and other_low <= high
        for low, high in _ranges(text)
        for other_low, other_high in _ranges(other)
    )
