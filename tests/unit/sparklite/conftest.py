"""One context for all tests of a module: each makes RDDs of its own in it."""

from collections.abc import Iterator

import pytest

from mesolite.frameworks.sparklite import SparkContext


@pytest.fixture(scope="module")
def sc() -> Iterator[SparkContext]:
    """A local context."""
    with SparkContext("local[2]") as made:
        yield made
