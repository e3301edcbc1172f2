"""What workers have where nobody says: Spark's default, or as much as the largest agent has."""

import pytest

from mesolite.frameworks.sparklite import SparkConf
from mesolite.frameworks.sparklite.opening import fit_to, worker_memory_bytes
from mesolite.views import AgentRow

MIB = 1024 * 1024


def agent(mem_mib: int) -> AgentRow:
    return AgentRow(agent_id="a", hostname="h", status="active", total={"cpus": 1.0, "mem": float(mem_mib)})


@pytest.mark.parametrize(
    ("sizes", "given", "expected_mib"),
    [
        ([], None, 1024),
        ([4096], None, 1024),
        ([512, 256], None, 464),
        ([512], "200m", 200),
        ([512], "2g", 2048),
        ([50], None, 1024),
    ],
)
def test_workers_fit_on_the_largest_agent_unless_somebody_says_how_large_they_are(
    sizes: list[int], given: str | None, expected_mib: int
) -> None:
    conf = SparkConf()
    if given is not None:
        conf.set("spark.executor.memory", given)
    fit_to([agent(size) for size in sizes], conf)
    assert worker_memory_bytes(conf) == expected_mib * MIB
