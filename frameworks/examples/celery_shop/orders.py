"""From an order to its receipt: a chord of prices, a payment that is tried again, a parcel."""

from random import uniform
from typing import Any

from celery import chain, chord

from .celery_app import app

PRICES_CENTS = {"bolt": 20, "hammer": 1490, "nail": 5, "saw": 2250}


class PaymentRefused(Exception):
    """The bank said no this time."""


@app.task(name="shop.price")
def price(article: str, count: int) -> int:
    """Say what so many of an article cost."""
    return PRICES_CENTS[article] * count


@app.task(name="shop.total")
def total(cents: list[int]) -> int:
    """Add up."""
    return sum(cents)


@app.task(
    bind=True,
    name="shop.charge",
    autoretry_for=(PaymentRefused,),
    retry_backoff=1,
    retry_backoff_max=4,
    retry_jitter=False,
    max_retries=5,
    acks_late=True,
)
def charge(self: Any, cents: int, refusals: int = 0) -> dict[str, int]:
    """Take the money; the bank refuses so often first."""
    if self.request.retries < refusals:
        raise PaymentRefused(f"attempt {self.request.retries + 1}")
    return {"cents": cents, "attempts": self.request.retries + 1}


@app.task(name="shop.ship")
def ship(paid: dict[str, int], customer: str) -> str:
    """Send the parcel."""
    return f"{customer} paid {paid['cents'] / 100:.2f} at attempt {paid['attempts']}"


@app.task(name="shop.apologize")
def apologize(request: Any, error: BaseException, traceback: object) -> None:
    """Tell the customer that it did not work: an errback, which runs in the worker of the task that failed."""
    print(f"sorry about {request.id}: {error}")  # noqa: T201 - into the worker's log


def place_order(lines: dict[str, int], customer: str, *, refusals: int = 0) -> Any:
    """Send an order on its way; what is returned is its receipt, in time."""
    prices = chord([price.s(article, count) for article, count in lines.items()], total.s())
    return chain(prices, charge.s(refusals), ship.s(customer)).on_error(apologize.s()).apply_async()


@app.task(name="shop.weigh", bind=True, rate_limit="20/s")
def weigh(self: Any, article: str) -> float:
    """Ask the only scale, which takes twenty questions a second."""
    return round(uniform(0.1, 2.0) * len(article), 3)
