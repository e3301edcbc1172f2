"""One context for all tests of RDDs: each makes RDDs of its own in it."""

import pytest

from mesolite.frameworks.sparklite import SparkContext


@pytest.fixture(scope="session")
def sc() -> SparkContext:
    """A local context."""
    return SparkContext("local[2]")
