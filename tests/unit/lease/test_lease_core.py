"""Leader election without a store: what is asked when, and who may work until when."""

import itertools
import random

import pytest

from mesolite.lease import LeaseCore, LeaseSettings
from mesolite.lease.events import (
    Answered,
    Claim,
    EpochSpoilt,
    LeaseEffect,
    Look,
    Release,
    Renew,
    Resigned,
    Tick,
    Unanswered,
)
from mesolite.lease.settings import LOOK_MS, RETRY_MS
from mesolite.transport.contract import Lease, LeaseState

SETTINGS = LeaseSettings(ttl_ms=2000)
MINE = Lease(holder="me", address="http://me", epoch=5)
OTHERS = Lease(holder="other", address="http://other", epoch=9)
NOBODY = LeaseState(lease=None, left_ms=0)


def core() -> LeaseCore:
    return LeaseCore(holder="me", settings=SETTINGS)


def held(lease: Lease, left_ms: int = 2000) -> LeaseState:
    return LeaseState(lease=lease, left_ms=left_ms)


def leading(at_ms: int = 0) -> LeaseCore:
    """A core that has just got the lease."""
    new = core()
    assert new.apply(Tick(now_ms=at_ms)) == [Claim(at_least=at_ms)]
    new.apply(Answered(now_ms=at_ms, asked_ms=at_ms, state=held(MINE)))
    return new


def epoch_at(of: LeaseCore, now_ms: int) -> int | None:
    grant = of.grant(now_ms)
    return grant.epoch if grant is not None else None


def test_it_claims_at_once_and_leads_with_the_answer() -> None:
    new = core()
    assert epoch_at(new, 10) is None
    assert new.apply(Tick(now_ms=10)) == [Claim(at_least=10)]
    assert epoch_at(new, 10) is None, "not before the answer"
    new.apply(Answered(now_ms=12, asked_ms=10, state=held(MINE)))
    assert epoch_at(new, 12) == 5


def test_it_stops_before_the_store_gives_the_lease_to_another() -> None:
    """Counted from the question: the answer may have taken its time."""
    new = core()
    new.apply(Tick(now_ms=0))
    new.apply(Answered(now_ms=900, asked_ms=0, state=held(MINE)))
    end_ms = SETTINGS.ttl_ms - SETTINGS.safety_ms
    assert epoch_at(new, end_ms - 1) == 5
    assert epoch_at(new, end_ms) is None


def test_it_renews_in_time_for_several_tries() -> None:
    new = leading()
    assert new.apply(Tick(now_ms=SETTINGS.renew_ms - 1)) == []
    assert new.apply(Tick(now_ms=SETTINGS.renew_ms)) == [Renew(lease=MINE)]
    new.apply(Unanswered(now_ms=SETTINGS.renew_ms))
    assert new.next_deadline_ms() == SETTINGS.renew_ms + RETRY_MS
    assert new.apply(Tick(now_ms=SETTINGS.renew_ms + RETRY_MS)) == [Renew(lease=MINE)]
    new.apply(Answered(now_ms=700, asked_ms=600, state=held(MINE)))
    assert epoch_at(new, 600 + SETTINGS.ttl_ms - SETTINGS.safety_ms - 1) == 5


def test_a_lease_that_lapsed_goes_on_in_its_epoch_if_nobody_led_since() -> None:
    new = leading()
    new.apply(Tick(now_ms=500))
    new.apply(Unanswered(now_ms=2500))
    assert epoch_at(new, 2500) is None
    assert new.leader is None
    assert new.apply(Tick(now_ms=2600)) == [Renew(lease=MINE)]
    new.apply(Answered(now_ms=2601, asked_ms=2600, state=held(MINE)))
    assert epoch_at(new, 2601) == 5


def test_a_lease_that_another_has_is_over_for_good() -> None:
    new = leading()
    new.apply(Tick(now_ms=500))
    new.apply(Answered(now_ms=5000, asked_ms=4999, state=held(OTHERS, 1500)))
    assert epoch_at(new, 5000) is None
    assert new.leader == OTHERS
    assert new.apply(Tick(now_ms=5000 + LOOK_MS)) == [Claim(at_least=5000 + LOOK_MS)]


def test_a_standby_claims_at_the_moment_at_which_the_lease_ends() -> None:
    new = core()
    new.apply(Tick(now_ms=0))
    new.apply(Answered(now_ms=1, asked_ms=0, state=held(OTHERS, 40)))
    assert new.next_deadline_ms() == 42
    assert new.apply(Tick(now_ms=41)) == []
    assert new.apply(Tick(now_ms=42)) == [Claim(at_least=42)]


def test_a_standby_leaves_a_lease_that_ran_out_with_the_store_to_its_holder() -> None:
    new = core()
    new.apply(Tick(now_ms=0))
    new.apply(Answered(now_ms=1, asked_ms=0, state=held(OTHERS)))
    new.apply(Tick(now_ms=LOOK_MS + 1))
    new.apply(Unanswered(now_ms=3000))
    assert new.apply(Tick(now_ms=3000 + RETRY_MS)) == [Look()]
    new.apply(Answered(now_ms=3101, asked_ms=3100, state=NOBODY))
    assert new.leader is None
    assert new.next_deadline_ms() == 3101 + SETTINGS.courtesy_ms
    assert new.apply(Tick(now_ms=3101 + SETTINGS.courtesy_ms)) == [Claim(at_least=3101 + SETTINGS.courtesy_ms)]


def test_a_store_that_forgot_the_epoch_gives_a_higher_one() -> None:
    """Without the failover's memory the store might count again what agents have followed already."""
    new = leading()
    new.apply(Tick(now_ms=500))
    new.apply(Answered(now_ms=501, asked_ms=500, state=NOBODY))
    assert epoch_at(new, 501) is None
    late = LeaseCore(holder="me", settings=SETTINGS)
    assert late.apply(Tick(now_ms=0)) == [Claim(at_least=0)]
    assert new.apply(Tick(now_ms=501)) == [Claim(at_least=501)], "at once: it led"


def test_the_epoch_grows_whatever_the_clock_says() -> None:
    new = core()
    high = Lease(holder="me", address="", epoch=1_000_000)
    new.apply(Tick(now_ms=0))
    new.apply(Answered(now_ms=0, asked_ms=0, state=held(high)))
    new.apply(EpochSpoilt(now_ms=1, epoch=1_000_000, at_least=3))
    assert new.apply(Tick(now_ms=1)) == [Claim(at_least=1_000_001)]
    new.apply(Answered(now_ms=1, asked_ms=1, state=held(Lease(holder="me", address="", epoch=1_000_001))))
    new.apply(EpochSpoilt(now_ms=5000, epoch=1_000_001, at_least=2_000_000))
    assert epoch_at(new, 5000) is None
    assert new.apply(Tick(now_ms=5000)) == [Claim(at_least=2_000_000)]


def test_a_spoilt_epoch_of_before_is_no_news() -> None:
    new = leading()
    new.apply(EpochSpoilt(now_ms=1, epoch=4, at_least=5))
    assert epoch_at(new, 1) == 5


def test_a_claim_whose_answer_got_lost_counts_only_once_it_is_prolonged() -> None:
    """To look is not enough: the answer may have got lost because no replica took the claim, and a failover forgets it."""
    new = core()
    new.apply(Tick(now_ms=0))
    new.apply(Unanswered(now_ms=300))
    assert new.apply(Tick(now_ms=400)) == [Look()]
    new.apply(Answered(now_ms=401, asked_ms=400, state=held(MINE, 1600)))
    assert epoch_at(new, 401) is None
    assert new.apply(Tick(now_ms=401)) == [Renew(lease=MINE)]
    new.apply(Answered(now_ms=402, asked_ms=401, state=held(MINE)))
    assert epoch_at(new, 402) == 5
    assert epoch_at(new, 401 + 2000 - SETTINGS.safety_ms) is None


def test_a_spoilt_epoch_is_not_taken_up_again_by_looking() -> None:
    new = leading()
    new.apply(EpochSpoilt(now_ms=1, epoch=5, at_least=6))
    new.apply(Tick(now_ms=1))
    new.apply(Unanswered(now_ms=2))
    assert new.apply(Tick(now_ms=2 + RETRY_MS)) == [Look()]
    new.apply(Answered(now_ms=103, asked_ms=102, state=held(MINE, 1900)))
    assert epoch_at(new, 103) is None
    assert new.apply(Tick(now_ms=103)) == [Claim(at_least=103)]


def test_epochs_that_are_spoilt_one_after_another_are_not_taken_at_once() -> None:
    """As where the lease lies on one server and the commits go to another: each claim succeeds, and each commit is refused."""
    new = leading()
    new.apply(EpochSpoilt(now_ms=10, epoch=5, at_least=6))
    assert new.next_deadline_ms() == 10
    new.apply(Tick(now_ms=10))
    new.apply(Answered(now_ms=11, asked_ms=10, state=held(Lease(holder="me", address="http://me", epoch=10))))
    new.apply(EpochSpoilt(now_ms=12, epoch=10, at_least=11))
    assert new.next_deadline_ms() == 12 + LOOK_MS
    assert new.apply(Tick(now_ms=11 + LOOK_MS)) == []
    assert new.apply(Tick(now_ms=12 + LOOK_MS)) == [Claim(at_least=12 + LOOK_MS)]


def test_who_resigns_gives_the_lease_up_and_asks_no_more() -> None:
    new = leading()
    assert new.apply(Resigned(now_ms=10)) == [Release(lease=MINE)]
    assert epoch_at(new, 10) is None
    assert new.next_deadline_ms() is None
    assert new.apply(Tick(now_ms=10_000)) == []
    assert core().apply(Resigned(now_ms=10)) == []


@pytest.mark.parametrize("ttl_ms", [499, 60_001])
def test_a_lease_of_no_sensible_length_is_refused(ttl_ms: int) -> None:
    with pytest.raises(ValueError, match="500 to 60000"):
        LeaseSettings(ttl_ms=ttl_ms)


class ModelStore:
    """The store's side, as `Store` promises it."""

    def __init__(self) -> None:
        self.epoch, self.until_ms = 0, 0
        self.lease: Lease | None = None

    def do(self, effect: LeaseEffect, holder: str, now_ms: int) -> LeaseState:
        free = self.lease is None or now_ms >= self.until_ms
        match effect:
            case Claim() if free or (self.lease is not None and self.lease.holder == holder):
                self.epoch = max(self.epoch + 1, effect.at_least)
                self.lease, self.until_ms = Lease(holder=holder, address="", epoch=self.epoch), now_ms + SETTINGS.ttl_ms
            case Renew() if (free or self.lease == effect.lease) and self.epoch == effect.lease.epoch:
                self.lease, self.until_ms = effect.lease, now_ms + SETTINGS.ttl_ms
            case Release() if self.lease == effect.lease:
                self.lease = None
            case _:
                pass
        if self.lease is None or now_ms >= self.until_ms:
            return NOBODY
        return held(self.lease, self.until_ms - now_ms)


@pytest.mark.parametrize("seed", range(200))
def test_never_do_two_lead_at_once(seed: int) -> None:
    """Goal: at most one of three has a grant at any moment, each epoch is led by one, and epochs only grow.

    Method: questions and answers are lost and late at random, clocks run up to 5 % differently, each sleeps now and then.
    """
    rng = random.Random(seed)
    store = ModelStore()
    cores = {name: LeaseCore(holder=name, settings=SETTINGS) for name in "abc"}
    pace = {name: rng.uniform(0.95, 1.05) for name in cores}
    busy_until = dict.fromkeys(cores, 0)
    answers: list[tuple[int, str, int, LeaseState | None]] = []
    led: list[tuple[int, str]] = []
    trouble = rng.choice((0.0, 0.1, 0.5))

    def clock(name: str, now_ms: int) -> int:
        return int(now_ms * pace[name])

    for now_ms in range(0, 60_000, 10):
        for answer in [each for each in answers if each[0] <= now_ms]:
            answers.remove(answer)
            _, name, asked_ms, state = answer
            here_ms = clock(name, now_ms)
            event = (
                Unanswered(now_ms=here_ms)
                if state is None
                else Answered(now_ms=here_ms, asked_ms=asked_ms, state=state)
            )
            cores[name].apply(event)
        for name, each in cores.items():
            due_ms = each.next_deadline_ms()
            here_ms = clock(name, now_ms)
            if busy_until[name] > now_ms or due_ms is None or due_ms > here_ms:
                continue
            for effect in each.apply(Tick(now_ms=here_ms)):
                delay_ms = rng.randint(0, 3000) if rng.random() < trouble else rng.randint(0, 20)
                arrives = rng.random() >= trouble
                state = store.do(effect, name, now_ms) if arrives else None
                heard = state if rng.random() >= trouble else None
                answers.append((now_ms + delay_ms, name, here_ms, heard))
                busy_until[name] = now_ms + delay_ms + 1
            each.check()
        grants = [(name, each.grant(clock(name, now_ms))) for name, each in cores.items()]
        holding = [(name, grant) for name, grant in grants if grant is not None]
        assert len(holding) <= 1, f"{now_ms} ms: {holding}"
        led += [(grant.epoch, name) for name, grant in holding]
    assert led, "somebody leads"
    turns = [turn for turn, _ in itertools.groupby(led)]
    assert [epoch for epoch, _ in turns] == sorted({epoch for epoch, _ in turns}), turns
