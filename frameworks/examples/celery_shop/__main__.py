"""Order something, and show what comes of it: python -m mesolite.frameworks.examples.celery_shop

Somewhere a worker runs: `celery -A mesolite.frameworks.examples.celery_shop worker -Q celery,images`, or the same of `mesolite`.
"""

import argparse

from .orders import place_order
from .reports import greedy_report, thumbnails

#: For what should take seconds.
PATIENCE_S = 120


def main() -> None:
    """Order, draw, and be greedy where asked to."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--greedy-mib", type=int, default=0, help="have one task hold so much memory")
    greedy_mib: int = arguments.parse_args().greedy_mib
    receipt = place_order({"hammer": 1, "nail": 200, "saw": 2}, "Ada", refusals=1)
    images = thumbnails(8)
    greedy = greedy_report.delay(greedy_mib) if greedy_mib else None
    print(receipt.get(timeout=PATIENCE_S))  # noqa: T201 - it is an example
    print(*images.get(timeout=PATIENCE_S))  # noqa: T201
    if greedy is not None:
        print(repr(greedy.get(timeout=PATIENCE_S, propagate=False)))  # noqa: T201


if __name__ == "__main__":
    main()
