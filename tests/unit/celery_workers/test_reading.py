"""A group as people write it, and a worker as a command."""

from pathlib import Path

import pytest

from mesolite.config import read_config_file, read_groups
from mesolite.errors import ConfigError
from mesolite.frameworks.celery_workers.command import command_line, worker_task
from mesolite.frameworks.celery_workers.grace import grace_ms
from mesolite.frameworks.celery_workers.group import Group, WorkerShape
from mesolite.frameworks.celery_workers.reading import read_group
from mesolite.frameworks.celery_workers.worker import number_of, task_id
from mesolite.ids import AgentId, TaskId
from mesolite.protocol import ContainerInfo, Network, Volume
from mesolite.resources import scalars

SETTINGS = """
redis_url = "redis://127.0.0.1/3"
[celery-workers.emails]
app = "proj"
queues = ["emails", "letters"]
min = 1
max = 20
concurrency = 4
cpus = 2
mem = "1GiB"
image = "registry/app:7"
volumes = ["/data:/data:rw"]
app_path = "/app:/lib"
max_wait_s = 5
arguments = ["--loglevel", "INFO"]
[celery-workers.plain]
app = "other.celery:app"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mesolite.toml"
    path.write_text(text)
    return path


def test_groups_stand_in_tables_of_the_settings_file(tmp_path: Path) -> None:
    path = write(tmp_path, SETTINGS)
    tables = read_groups(path, "celery-workers")
    assert list(tables) == ["emails", "plain"]
    group = read_group("emails", tables["emails"], "here")
    assert (group.app, group.queues, group.least, group.most, group.max_wait_ms) == (
        *("proj", ("emails", "letters")),
        *(1, 20, 5000),
    )
    assert group.worker == WorkerShape(
        concurrency=4,
        cpus=2,
        mem_mib=1024,
        image="registry/app:7",
        volumes=(Volume("/data", "/data", read_only=False),),
        path=("/app", "/lib"),
        arguments=("--loglevel", "INFO"),
    )
    assert read_group("plain", tables["plain"], "here").app == "other.celery:app"


def test_the_settings_of_other_processes_do_not_mind_groups(tmp_path: Path) -> None:
    assert read_config_file(write(tmp_path, SETTINGS))["agent"]["redis_url"] == "redis://127.0.0.1/3"


def test_a_setting_where_a_group_should_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'app' in \[celery-workers\] .* is no group"):
        read_groups(write(tmp_path, '[celery-workers]\napp = "proj"\n'), "celery-workers")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "which application"),
        ({"app": "proj", "colour": 1}, "no option 'colour'; there are app, queues"),
        ({"app": "proj", "isolation": "task"}, "no option 'isolation'"),
        ({"app": "proj", "min": 3, "max": 2}, "from 3 to 2 workers"),
        ({"app": "proj", "max": 0}, "from 0 to 0 workers"),
        ({"app": "proj", "max": 1.5}, "max is 1.5; it is to be a whole number"),
        ({"app": "proj", "max": "many"}, "max is 'many'; it is to be a number"),
        ({"app": "proj", "queues": "emails"}, "queues is 'emails'; it is to be a list of texts"),
        ({"app": "proj", "mem": "lots"}, "here: mem is 'lots'"),
        ({"app": "proj", "concurrency": 0}, "concurrency is 0"),
        ({"app": "proj", "per_worker_messages": 0}, "0 messages for each worker"),
        ({"app": "proj", "quiet_s": -1}, "quiet is -1000 ms"),
        ({"app": " "}, "app is ' '; it is to be a text"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place_or_reason(said: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read_group("g", said, "here")


@pytest.mark.parametrize("name", ["", "a b", "a@b", "a%b", "-a", "x" * 41])
def test_a_name_that_cannot_be_part_of_a_node_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for a group"):
        Group(name=name, app="proj")


def test_a_worker_is_celery_itself_in_place_of_its_shell() -> None:
    group = Group(name="g", app="proj", worker=WorkerShape(concurrency=4, pool="threads"))
    assert command_line(group, 7) == "exec python3 -m celery -A proj worker -n g-7@mesolite -c 4 -P threads"


def test_what_people_write_reaches_celery_as_one_word_each() -> None:
    worker = WorkerShape(path=("/my app", "/lib"), python="/venv/bin/python", arguments=("--logfile", "a b;c"))
    line = command_line(Group(name="g", app="proj", worker=worker, queues=("a", "b")), 1)
    assert line.startswith("""export PYTHONPATH='/my app:/lib'"${PYTHONPATH:+:$PYTHONPATH}"; exec /venv/bin/python """)
    assert line.endswith(" -Q a,b --logfile 'a b;c'")


def test_a_worker_is_asked_to_end_by_its_first_process_and_has_its_grace() -> None:
    group = Group(name="g", app="proj", worker=WorkerShape(image="app:1", network=Network.HOST, env={"A": "1"}))
    task = worker_task(group, 1, TaskId("g-1.x"), AgentId("agent"), scalars(cpus=1).to_wire(), 5000)
    assert task.kill_policy is not None
    assert (task.kill_policy.grace_period_ms, task.kill_policy.first_process_only) == (5000, True)
    assert task.container == ContainerInfo(image="app:1", network=Network.HOST)
    assert task.command is not None
    assert task.command.environment == {"PYTHONUNBUFFERED": "1", "A": "1"}


def test_the_grace_is_no_shorter_than_the_applications_own_soft_shutdown() -> None:
    group = Group(name="g", app="proj", drain_grace_ms=60_000)
    assert grace_ms(group, 0) == 60_000
    assert grace_ms(group, 10) == 60_000
    assert grace_ms(group, 300) == 315_000


@pytest.mark.parametrize("name", ["g", "a-b", "a.b-1", "1-1"])
def test_a_workers_number_can_be_read_from_its_tasks_id(name: str) -> None:
    named = task_id(name, 12, "abc34")
    assert number_of(name, named) == 12
    assert number_of(f"{name}x", named) is None
