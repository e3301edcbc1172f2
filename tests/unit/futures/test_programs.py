"""Executors as the master is told of them."""

from dataclasses import replace

import pytest

from mesolite.executors.python.settings import PythonSettings
from mesolite.frameworks.driver.pool import OfferedPool
from mesolite.frameworks.futures.options import Kind
from mesolite.frameworks.futures.programs import Program, carve_executor, shape_with_executor
from mesolite.ids import ExecutorId
from mesolite.protocol import ContainerInfo, ExecutorInfo, Network, Volume
from mesolite.resources import Resources, scalars

from .rig import KIND

PROGRAM = Program(name="test", settings=PythonSettings(python="3.11"), environment={"A": "of all", "B": "of all"})


def info_of(kind: Kind) -> ExecutorInfo:
    return PROGRAM.info(ExecutorId("1.1@agent-1"), (), kind)


def test_a_kind_that_asks_for_nothing_runs_in_what_its_agent_puts_around_executors() -> None:
    assert info_of(KIND).container is None
    assert info_of(KIND).command.environment == {"A": "of all", "B": "of all"}


def test_an_image_volumes_and_a_network_are_the_container_s() -> None:
    volumes = (Volume(host_path="/data", container_path="/in"),)
    kind = replace(KIND, image="app:1", volumes=volumes, network=Network.HOST)
    assert info_of(kind).container == ContainerInfo(image="app:1", volumes=volumes, network=Network.HOST)


def test_volumes_and_a_network_need_no_image_of_their_own() -> None:
    volumes = (Volume(host_path="/data", container_path="/in"),)
    assert info_of(replace(KIND, volumes=volumes)).container == ContainerInfo(volumes=volumes)
    assert info_of(replace(KIND, network=Network.NONE)).container == ContainerInfo(network=Network.NONE)


def test_the_environment_of_a_kind_goes_before_that_of_all() -> None:
    environment = info_of(replace(KIND, environment=(("B", "its own"), ("C", "more")))).command.environment
    assert environment == {"A": "of all", "B": "its own", "C": "more"}


def test_kinds_with_other_surroundings_share_no_executor() -> None:
    other = replace(KIND, environment=(("A", "x"),))
    assert KIND.program != other.program
    assert KIND.program == replace(KIND, cpus_milli=250).program


@pytest.mark.parametrize("lacks", [scalars(cpus=0.5), scalars(mem_mib=1)])
def test_an_executor_takes_nothing_from_offers_where_its_worker_does_not_fit_beside_it(lacks: Resources) -> None:
    whole = Resources.of(shape_with_executor(KIND))
    pool = OfferedPool((whole - lacks).to_wire())
    assert carve_executor(pool, KIND) is None
    assert pool.fits((whole - lacks).to_wire())
    assert carve_executor(OfferedPool(whole.to_wire()), KIND) is not None
