"""What a task is given comes from the highest place that says it; what makes no sense is refused where it is said."""

import json
import timeit
from dataclasses import dataclass
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context

from mesolite.errors import ConfigError
from mesolite.executors.celery.protocol import PATH_VARIABLE
from mesolite.frameworks.celery.calls import TaskOptions
from mesolite.frameworks.celery.options import OptionsBook
from mesolite.protocol import Network, Volume

#: From the lowest place to the highest: where it is, and the memory that is said there.
PLACES = ("cli", "conf", "task", "routes", "file", "header")


@dataclass
class Task:
    """What a registered task looks like here."""

    name: str = "proj.work"
    mesolite: object = None


def given(places: dict[str, dict[str, Any]], task: str = "proj.work", queue: str = "celery") -> TaskOptions:
    """What a task is given, where these places say this."""
    conf: dict[str, object] = {"mesolite_header_keys": ["cpus", "mem_mib", "max_time_s", "image", "env"]}
    if "conf" in places:
        conf["mesolite"] = places["conf"]
    if "routes" in places:
        conf["mesolite_routes"] = [{"task": "proj.*", **places["routes"]}]
    book = OptionsBook(
        conf, places.get("cli"), routes=[{"task": "proj.*", **places["file"]}] if "file" in places else ()
    )
    headers = {"mesolite": places["header"]} if "header" in places else {}
    return book.of(Task(task, places.get("task")), headers, queue)


@pytest.mark.parametrize("lower", range(len(PLACES)))
@pytest.mark.parametrize("upper", range(len(PLACES)))
def test_of_two_places_that_say_one_thing_the_higher_counts(lower: int, upper: int) -> None:
    options = given({PLACES[lower]: {"mem_mib": 100 + lower}} | {PLACES[upper]: {"mem_mib": 100 + upper}})
    assert options.kind.mem_mib == 100 + max(lower, upper)


def test_each_option_comes_from_the_highest_place_that_says_it() -> None:
    options = given(
        {place: {"mem_mib": 100 + rank} | ({"cpus": 2} if place == "cli" else {}) for rank, place in enumerate(PLACES)}
    )
    assert (options.kind.cpus_milli, options.kind.mem_mib) == (2000, 105), (
        "the memory of the header hides no CPUs of the command line"
    )


def test_variables_of_the_environment_come_each_from_its_highest_place() -> None:
    options = given(
        {"conf": {"env": {"TZ": "UTC", "LEVEL": "1"}}, "task": {"env": {"LEVEL": "2"}}, "header": {"env": {"ONE": "1"}}}
    )
    assert options.kind.environment == (("LEVEL", "2"), ("ONE", "1"), ("TZ", "UTC"))


def test_where_nobody_says_anything_a_task_gets_a_warm_worker_of_one_cpu() -> None:
    options = given({})
    assert (options.kind.cpus_milli, options.kind.mem_mib, options.kind.role, options.kind.image) == (
        1000,
        256,
        "*",
        None,
    )
    assert (options.isolation, options.max_time_s) == ("worker", None)


def test_every_option_reaches_what_is_launched() -> None:
    said = {
        "cpus": 0.25, "mem": "1.5GiB", "max_time_s": 60, "isolation": "task", "image": "shop:7", "python": "python3.12",
        "env": {"TZ": "UTC"}, "volumes": ["/data:/in", "/out:/out:rw"], "network": "host", "role": "night", "app_path": "/srv",
    }  # fmt: skip
    options = given({"task": said})
    kind = options.kind
    assert (kind.cpus_milli, kind.mem_mib, kind.image, kind.python, kind.role) == (
        250,
        1536,
        "shop:7",
        "python3.12",
        "night",
    )
    assert kind.environment == ((PATH_VARIABLE, "/srv"), ("TZ", "UTC"))
    assert kind.volumes == (Volume("/data", "/in"), Volume("/out", "/out", read_only=False))
    assert (kind.network, options.max_time_s, options.isolation) == (Network.HOST, 60.0, "task")
    assert hash(kind) == hash(given({"task": said}).kind), "workers are found by it"


def test_a_limit_can_be_lifted_by_a_higher_place() -> None:
    assert given({"conf": {"max_time_s": 5}, "task": {"max_time_s": None}}).max_time_s is None


# Rules


@pytest.mark.parametrize(
    ("rules", "task", "queue", "mem_mib"),
    [
        ({"proj.*": {"mem_mib": 100}}, "proj.work", "celery", 100),
        ({"proj.*": {"mem_mib": 100}}, "other.work", "celery", 256),
        ([{"queue": "big", "mem_mib": 100}], "proj.work", "big", 100),
        ([{"queue": "big", "mem_mib": 100}], "proj.work", "small", 256),
        ([{"queue": "big*", "task": "*.work", "mem_mib": 100}], "proj.work", "bigger", 100),
        ([{"queue": "big*", "task": "*.work", "mem_mib": 100}], "proj.play", "bigger", 256),
        ([{"task": "proj.*", "mem_mib": 100}, {"task": "*", "mem_mib": 200}], "proj.work", "celery", 100),
        ([{"task": "proj.*", "cpus": 1}, {"task": "*", "mem_mib": 200}], "proj.work", "celery", 200),
        ([{"task": "PROJ.*", "mem_mib": 100}], "proj.work", "celery", 256),
    ],
)
def test_of_the_rules_that_fit_the_first_counts(rules: object, task: str, queue: str, mem_mib: int) -> None:
    book = OptionsBook({"mesolite_routes": rules})
    assert book.of(Task(task), None, queue).kind.mem_mib == mem_mib


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("proj.*", "not 'proj.*'"),
        ([["proj.*", {}]], r"mesolite_routes\[0\]: a rule is a dictionary"),
        ([{"mem_mib": 100}], "names a `task`, a `queue`"),
        ([{"task": "a", "mem_mib": 100}, {"task": 3}], r"mesolite_routes\[1\]: task is 3"),
        ({"proj.*": {"task": "other"}}, "leave `task` out"),
        ({"proj.*": 7}, "a rule is a dictionary, not 7"),
        ({"proj.*": {"memory": 7}}, r"mesolite_routes\['proj.\*'\]: there is no option 'memory'"),
        ([{"task": "a"}] * 1001, "1001 rules"),
    ],
)
def test_rules_that_make_no_sense_are_an_error_at_the_start(rules: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        OptionsBook({"mesolite_routes": rules})


# Values


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"cpus": 0}, "cpus is 0; it is a number of CPUs from"),
        ({"cpus": "2"}, "cpus is '2'; it is to be a number"),
        ({"cpus": True}, "cpus is True"),
        ({"cpus": float("nan")}, "cpus is nan"),
        ({"cpus": float("inf")}, "cpus is inf"),
        ({"cpus": 1e300}, "cpus is 1e"),
        ({"mem_mib": 1}, "mem_mib is 1; it is a whole number of MiB from 8"),
        ({"mem_mib": "512MB"}, "`mem` takes texts"),
        ({"mem": "much"}, "mem is 'much'; memory: 'much' is not an amount of memory"),
        ({"mem": "1KiB"}, "from 8 on"),
        ({"mem": "1GiB", "mem_mib": 1024}, "mem_mib says again what mem_mib says|leave one out"),
        ({"max_time_s": -1}, "max_time_s is -1; it is seconds"),
        ({"isolation": "vm"}, "isolation is 'vm'"),
        ({"isolation": []}, r"isolation is \[\]"),
        ({"image": ""}, "image is ''"),
        ({"image": "a" * 1025}, "image is 'aaaa"),
        ({"python": 3}, "python is 3"),
        ({"env": ["A=1"]}, "a dictionary of texts"),
        ({"env": {"A=B": "1"}}, "'A=B' cannot be a variable"),
        ({"env": {"A": 1}}, "the value of A is to be a text"),
        ({"env": {"MESOLITE_BUNDLE": "/tmp"}}, "'MESOLITE_BUNDLE' cannot be a variable here"),
        ({"env": {f"A{n}": "" for n in range(257)}}, "at most 256"),
        ({"env": {"A": "a" * 40_000}}, "32768 characters"),
        ({"volumes": "/a:/b"}, "it is a list"),
        ({"volumes": ["/a"]}, "'/a' is to be"),
        ({"volumes": ["/a:/b:rx"]}, "is to be"),
        ({"volumes": ["/a:/b"] * 65}, "at most 64"),
        ({"network": "lan"}, "one of bridge, host, none"),
        ({"role": "a//b"}, "a role 'a//b' has a slash"),
        ({"role": 5}, "a role is to be a text"),
        ({"colour": "red"}, "there is no option 'colour'; there are cpus,"),
        ({3: "red"}, "there is no option 3"),
        ([("cpus", 1)], "options are a dictionary"),
    ],
)
def test_values_that_make_no_sense_are_refused_with_their_place(said: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as raised:
        OptionsBook({"mesolite": said})
    assert str(raised.value).startswith("app.conf.mesolite: ")
    with pytest.raises(ConfigError, match=r"^task proj\.work: "):
        OptionsBook({}).check([Task(mesolite=said)])


def test_the_command_line_is_named_where_it_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"^command line: cpus is -1"):
        OptionsBook({}, {"cpus": -1})


# Headers


@pytest.mark.parametrize(
    "header", [{"mem": "2GiB"}, json.dumps({"mem": "2GiB"}), json.dumps({"mem_mib": 2048}).encode()]
)
def test_a_header_may_be_a_dictionary_or_json(header: object) -> None:
    assert OptionsBook({}).of(Task(), {"mesolite": header}, None).kind.mem_mib == 2048


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"image": "evil"}, "image is not allowed to be set by messages; cpus, max_time_s, mem_mib is"),
        ({"volumes": ["/etc:/etc:rw"]}, "volumes is not allowed"),
        ({"env": {"LD_PRELOAD": "x"}}, "env is not allowed"),
        ("{", "neither a dictionary nor JSON"),
        ("[" * 5_000, "neither a dictionary nor JSON"),
        ("3", "options are a dictionary"),
        (" " * 70_000, "70000 characters"),
        (17, "options are a dictionary"),
        ({"cpus": "many"}, "cpus is 'many'"),
    ],
)
def test_what_a_message_may_not_ask_for_is_refused_for_that_message_alone(header: object, said: str) -> None:
    book = OptionsBook({})
    with pytest.raises(ConfigError, match=said) as raised:
        book.of(Task(), {"mesolite": header}, "celery")
    assert str(raised.value).startswith("message header mesolite: ")
    assert book.of(Task(), {}, "celery").kind.mem_mib == 256, "the next is given what it is given"


def test_messages_may_set_what_the_settings_allow() -> None:
    book = OptionsBook({"mesolite_header_keys": ["image", "mem"]})
    assert book.of(Task(), {"mesolite": {"image": "other"}}, None).kind.image == "other"
    assert book.of(Task(), {"mesolite": {"mem_mib": 512}}, None).kind.mem_mib == 512
    with pytest.raises(ConfigError, match="cpus is not allowed"):
        book.of(Task(), {"mesolite": {"cpus": 1}}, None)
    with pytest.raises(ConfigError, match="nothing is"):
        OptionsBook({"mesolite_header_keys": []}).of(Task(), {"mesolite": {"cpus": 1}}, None)


def test_messages_may_ask_for_no_more_than_the_settings_say() -> None:
    book = OptionsBook({"mesolite_header_limits": {"mem": "1GiB", "max_time_s": 60}})
    assert book.of(Task(), {"mesolite": {"mem_mib": 1024, "cpus": 64}}, None).kind.mem_mib == 1024
    with pytest.raises(ConfigError, match="mem_mib is 1025; messages may ask for 1024"):
        book.of(Task(), {"mesolite": {"mem_mib": 1025}}, None)
    with pytest.raises(ConfigError, match="max_time_s is None; messages may ask for 60"):
        book.of(Task(), {"mesolite": {"max_time_s": None}}, None)


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"mesolite_header_keys": "cpus"}, "mesolite_header_keys: it is a list"),
        ({"mesolite_header_keys": ["cpu"]}, "there is no option 'cpu'"),
        ({"mesolite_header_limits": {"image": "a"}}, "image cannot be bounded"),
        ({"mesolite_header_limits": 4}, "options are a dictionary"),
    ],
)
def test_a_policy_that_makes_no_sense_is_an_error_at_the_start(conf: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        OptionsBook(conf)


# With Celery


def test_a_real_application_says_it_by_decorator_class_and_settings() -> None:
    app = Celery("proj", set_as_current=False)
    app.conf.mesolite = {"cpus": 0.5}
    app.conf.mesolite_routes = {"proj.routed": {"mem": "1GiB"}}

    class Base(app.Task):  # type: ignore[misc,name-defined] # Celery has no types
        mesolite = {"mem": "64MiB"}  # noqa: RUF012 # as its users write it

    def nothing() -> None: ...

    decorated: Any = app.task(name="proj.decorated", mesolite={"mem": "512MiB"})(nothing)
    based: Any = app.task(name="proj.based", base=Base)(nothing)
    routed: Any = app.task(name="proj.routed")(nothing)

    book = OptionsBook(app.conf)
    book.check(app.tasks.values())
    mem_mib = {task.name: book.of(task, {}, "celery").kind.mem_mib for task in (decorated, based, routed)}
    assert mem_mib == {"proj.decorated": 512, "proj.based": 64, "proj.routed": 1024}
    assert book.of(decorated, {}, "celery").kind.cpus_milli == 500


def test_a_retry_asks_for_what_its_message_asked_for() -> None:
    app = Celery("proj", set_as_current=False)

    def nothing() -> None: ...

    task: Any = app.task(name="proj.retried")(nothing)
    asked = {"mesolite": {"mem": "2GiB"}}
    headers = {**app.amqp.as_task_v2("id", "proj.retried").headers, **asked}
    again = task.signature_from_request(Context(headers), (), {}, retries=1)
    assert again.options["headers"] == asked


def test_the_framework_is_to_have_every_role_that_is_spoken_of() -> None:
    book = OptionsBook({"mesolite_routes": {"a": {"role": "night"}}})
    assert book.roles([Task(mesolite={"role": "day"}), Task("b")]) == ("*", "day", "night")
    assert OptionsBook({"mesolite": {"role": "day"}}).roles([]) == ("day",)


def test_an_answer_costs_some_microseconds() -> None:
    """The best of many runs, because other programs run too."""
    book = OptionsBook({"mesolite_routes": [{"task": f"proj.{n}", "cpus": 1} for n in range(100)]})
    task, headers = Task(), {"task": "proj.work", "id": "1"}
    best_s = min(timeit.repeat(lambda: book.of(task, headers, "celery"), number=1_000, repeat=20)) / 1_000
    assert best_s < 5e-6, f"{best_s * 1e6:.1f} µs for each message"


def test_what_is_remembered_is_bounded() -> None:
    book = OptionsBook({})
    for number in range(10_100):
        book.of(Task(), None, f"queue-{number}")
    assert len(book._remembered) <= 10_000  # pyright: ignore[reportPrivateUsage]
