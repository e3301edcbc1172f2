"""The two HTTP faces over real sockets: what is served, what is refused, and how."""

import gzip
import http.client
import json
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mesolite import http_client, sandbox_client
from mesolite.agent.http import AgentHttp
from mesolite.agent.sandbox import MAX_READ_BYTES
from mesolite.errors import BadInput, MasterUnavailable, NotFound, Unavailable
from mesolite.master.http import MasterHttp
from mesolite.operator import OperatorClient
from mesolite.sandbox_client import LOST_NOTICE, OVERLAP_BYTES, follow_output, read_output, read_sandbox
from mesolite.webserver import MAX_BODY_BYTES

LOCAL = "127.0.0.1"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The sentence of an error."""
        return str(json.loads(self.body)["error"])


def ask(url: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """One request, without any client of ours between."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read())
    finally:
        connection.close()


class Leadership:
    """Who leads, as the master's shell would say."""

    def __init__(self) -> None:
        self.elsewhere: str | None = None
        self.is_known = True

    def __call__(self) -> str | None:
        """See `mesolite.master.http.Leader`."""
        if not self.is_known:
            raise MasterUnavailable("no master leads just now")
        return self.elsewhere


class Master:
    """A master's face before made-up views."""

    def __init__(self) -> None:
        self.leadership = Leadership()
        self.actions: list[Mapping[str, str]] = []
        self.http = MasterHttp(
            host=LOCAL,
            port=0,
            views={
                "state": lambda query: {"query": dict(query)},
                "tasks": lambda _query: [{"task_id": f"t-{number}"} for number in range(250)],
                "explain": self._explain,
                "broken": lambda query: query["absent"],
                "health": lambda _query: {"healthy": True},
            },
            actions={"kill": self.actions.append},
            leader=self.leadership,
        )

    @staticmethod
    def _explain(query: Mapping[str, str]) -> object:
        if "framework_id" not in query:
            raise BadInput("framework_id is missing")
        raise NotFound(f"there is no framework {query['framework_id']}")


@pytest.fixture
def master() -> Generator[Master]:
    """A master's face."""
    face = Master()
    face.http.start()
    yield face
    face.http.close()


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """The only run of task t of framework f."""
    path = tmp_path / "sandboxes" / "f" / "t" / "c-1"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def agent(tmp_path: Path) -> Generator[AgentHttp]:
    """An agent's face before its work directory."""
    face = AgentHttp(host=LOCAL, port=0, work_dir=tmp_path, state=lambda: {"agent_id": "a", "path": tmp_path})
    face.start()
    yield face
    face.close()


# The master


def test_a_list_is_cut_into_pages(master: Master) -> None:
    first = json.loads(ask(master.http.url, "/tasks").body)
    assert (len(first["tasks"]), first["total"], first["offset"], first["limit"]) == (100, 250, 0, 100)
    last = json.loads(ask(master.http.url, "/tasks?limit=100&offset=200").body)
    assert [row["task_id"] for row in last["tasks"]] == [f"t-{number}" for number in range(200, 250)]


@pytest.mark.parametrize("query", ["limit=-1", "limit=x", "offset=-1", "limit=100000000"])
def test_a_page_that_makes_no_sense_is_refused(master: Master, query: str) -> None:
    answer = ask(master.http.url, f"/tasks?{query}")
    assert answer.status == 400
    assert query.split("=")[0] in answer.error


def test_a_view_is_given_the_query(master: Master) -> None:
    assert json.loads(ask(master.http.url, "/state?a=1&a=2&b=%20").body) == {"query": {"a": "2", "b": " "}}


def test_answers_are_compressed_for_who_can_read_it(master: Master) -> None:
    answer = ask(master.http.url, "/tasks?limit=250", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.body))["total"] == 250


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/explain", 400, "framework_id is missing"),
        ("/explain?framework_id=x", 404, "there is no framework x"),
        ("/absent", 404, "/tasks"),
        ("/kill", 405, "Method Not Allowed"),
    ],
)
def test_what_is_wrong_is_said_in_json(master: Master, path: str, status: int, said: str) -> None:
    answer = ask(master.http.url, path)
    assert answer.status == status
    assert said in answer.error


def test_a_fault_of_ours_shows_nothing_of_the_inside(master: Master) -> None:
    answer = ask(master.http.url, "/broken")
    assert answer.status == 500
    assert "absent" not in answer.error
    assert ask(master.http.url, "/state").status == 200


def test_an_action_takes_the_fields_and_is_only_accepted(master: Master) -> None:
    answer = ask(master.http.url, "/kill", body=b'{"task_id": "t"}', headers=JSON)
    assert answer.status == 202
    assert master.actions == [{"task_id": "t"}]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b'{"task_id": 5}', JSON, 400),
        (b"task_id=t", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"", {}, 415),
    ],
)
def test_an_action_is_not_taken_from_anything_but_json(
    master: Master, body: bytes, headers: Mapping[str, str], status: int
) -> None:
    """A form that a strange page posts to loopback must not kill tasks."""
    assert ask(master.http.url, "/kill", body=body, headers=headers).status == status
    assert master.actions == []


def test_a_body_beyond_the_limit_is_not_read(master: Master) -> None:
    try:
        status = ask(master.http.url, "/kill", body=b" " * (MAX_BODY_BYTES + 1), headers=JSON).status
    except (ConnectionError, http.client.HTTPException):
        status = 400
    assert status in {400, 413}
    assert master.actions == []


def test_another_leader_is_pointed_to_and_the_client_follows(master: Master) -> None:
    """Goal: a CLI with a standby's address still works. Method: two faces, the first points to the second."""
    leader = Master()
    leader.http.start()
    try:
        master.leadership.elsewhere = leader.http.url
        answer = ask(master.http.url, "/tasks?limit=5")
        assert (answer.status, answer.headers["Location"]) == (307, f"{leader.http.url}/tasks?limit=5")
        assert ask(master.http.url, "/health").status == 200, "a standby answers for its own health"
        OperatorClient(master.http.url).kill("f", "t")
        assert leader.actions == [{"framework_id": "f", "task_id": "t"}]
        assert master.actions == []
    finally:
        leader.http.close()


def test_without_a_leader_the_answer_is_503_and_the_client_says_so(master: Master) -> None:
    master.leadership.is_known = False
    assert ask(master.http.url, "/tasks").status == 503
    with pytest.raises(MasterUnavailable, match="no master leads just now"):
        OperatorClient(master.http.url).tasks()


def test_a_taken_port_is_an_error_that_says_what_to_do(master: Master) -> None:
    port = int(master.http.url.rpartition(":")[2])
    second = MasterHttp(host=LOCAL, port=port, views={}, actions={})
    try:
        with pytest.raises(Unavailable, match="choose another port"):
            second.start()
    finally:
        second.close()


# The agent


def test_files_are_read_as_in_mesos(agent: AgentHttp, sandbox: Path) -> None:
    """Reference 3.4: offset -1 or none asks for the size, one read is capped, beyond the end is empty."""
    (sandbox / "stdout").write_bytes(b"x" * (MAX_READ_BYTES + 10))

    def read(query: str) -> object:
        return json.loads(ask(agent.url, f"/files/read?path=/f/t/latest/stdout&{query}").body)

    size = MAX_READ_BYTES + 10
    assert read("") == {"data": "", "offset": size}
    assert read("offset=-1") == {"data": "", "offset": size}
    assert read("offset=0&length=-1") == {"data": "x" * MAX_READ_BYTES, "offset": 0}
    assert read(f"offset={size - 3}&length=100") == {"data": "xxx", "offset": size - 3}
    assert read("offset=0&length=0") == {"data": "", "offset": 0}
    assert read("offset=999999999") == {"data": "", "offset": 999999999}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/files/read", 400),
        ("/files/read?path=/f/t/latest/absent", 404),
        ("/files/read?path=/f/t/latest/folder", 400),
        ("/files/read?path=/f/t/latest/../../../../etc/passwd", 404),
        ("/files/read?path=/f/t/latest/file&offset=-2", 400),
        ("/files/read?path=/f/t/latest/file&offset=0&length=-2", 400),
        ("/files/read?path=/f/t/latest/file&offset=0&wait_ms=999999", 400),
        ("/files/browse", 400),
        ("/files/browse?path=/f/t/latest/absent", 404),
        ("/files/download?path=/f/t/latest/absent", 404),
    ],
)
def test_a_read_that_makes_no_sense_is_refused(agent: AgentHttp, sandbox: Path, path: str, status: int) -> None:
    (sandbox / "folder").mkdir()
    (sandbox / "file").write_bytes(b"f")
    answer = ask(agent.url, path)
    assert answer.status == status
    assert answer.error


def test_a_download_is_the_whole_file(agent: AgentHttp, sandbox: Path) -> None:
    content = bytes(range(256)) * 4096
    (sandbox / "out put\n.bin").write_bytes(content)
    answer = ask(agent.url, "/files/download?path=/f/t/c-1/out%20put%0A.bin")
    assert answer.body == content
    assert answer.headers["Content-Disposition"] == 'attachment; filename="out_put_.bin"'


def test_a_folder_is_listed(agent: AgentHttp, sandbox: Path) -> None:
    (sandbox / "b").write_bytes(b"12")
    (sandbox / "a").write_bytes(b"1")
    rows = json.loads(ask(agent.url, "/files/browse?path=/f/t/latest").body)
    assert [row["size"] for row in rows] == [1, 2]


def test_state_and_health_are_served(agent: AgentHttp, tmp_path: Path) -> None:
    assert json.loads(ask(agent.url, "/health").body) == {"healthy": True}
    assert json.loads(ask(agent.url, "/state").body) == {"agent_id": "a", "path": str(tmp_path)}


def test_a_read_may_wait_for_bytes_that_are_not_there_yet(agent: AgentHttp, sandbox: Path) -> None:
    """Goal: `logs -f` sees output at once. Method: the read is under way when the bytes are written."""
    file = sandbox / "stdout"
    file.write_bytes(b"one\n")
    seen: list[bytes] = []
    reader = threading.Thread(
        target=lambda: seen.append(read_sandbox(agent.url, "/f/t/latest/stdout", offset=4, wait_ms=20_000))
    )
    reader.start()
    with file.open("ab") as opened:
        opened.write(b"two\n")
    reader.join(10)
    assert seen == [b"two\n"]


def test_a_read_that_waits_in_vain_is_empty(agent: AgentHttp, sandbox: Path) -> None:
    (sandbox / "stdout").write_bytes(b"one\n")
    assert read_sandbox(agent.url, "/f/t/latest/stdout", offset=4, wait_ms=50) == b""


def test_following_ends_only_when_all_that_was_written_is_read(agent: AgentHttp, sandbox: Path) -> None:
    """Goal: the last words of a task are not lost. Method: they are written when the task is asked whether it ended."""
    file = sandbox / "stdout"

    def ended() -> bool:
        file.write_bytes(b"last words")
        return True

    assert b"".join(follow_output(agent.url, "/f/t/latest/stdout", ended, wait_ms=10)) == b"last words"


def test_an_agent_that_comes_back_elsewhere_is_followed_on(
    agent: AgentHttp, sandbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the death of an agent's process cuts no output. Method: close its server, write on, serve at another port."""
    monkeypatch.setattr(sandbox_client, "AWAY_PAUSE_S", 0.01)
    file = sandbox / "stdout"
    file.write_bytes(b"before ")
    again = AgentHttp(host=LOCAL, port=0, work_dir=tmp_path, state=dict)
    looks: list[str] = []

    def ended() -> bool:
        if not file.read_bytes().endswith(b"after"):
            agent.close()
            file.write_bytes(b"before after")
            return False
        return True

    def whereabouts() -> str:
        looks.append("nobody knows yet" if not looks else "it is back")
        if len(looks) == 2:
            again.start()
        return again.url if len(looks) > 1 else ""

    try:
        parts = follow_output(agent.url, "/f/t/latest/stdout", ended, wait_ms=10, whereabouts=whereabouts)
        assert b"".join(parts) == b"before after"
    finally:
        again.close()


def test_an_agent_that_stays_away_is_given_up(agent: AgentHttp, sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_client, "AWAY_PATIENCE_S", 0.0)
    url = agent.url
    agent.close()
    with pytest.raises(Unavailable):
        list(follow_output(url, "/f/t/latest/stdout", lambda: False, wait_ms=10, whereabouts=lambda: ""))


def test_output_that_is_rotated_while_it_is_followed_is_shown_whole(agent: AgentHttp, sandbox: Path) -> None:
    """Goal: rotation is not seen. Method: the file is rotated twice, each time with bytes that were not read yet."""
    file = sandbox / "stdout"
    file.write_bytes(b"one ")
    steps = iter([(b"two ", b"three "), (b"four ", b""), None])

    def ended() -> bool:
        step = next(steps)
        if step is None:
            return True
        with file.open("ab") as opened:
            opened.write(step[0])
        file.rename(sandbox / "stdout.1")
        file.write_bytes(step[1])
        return False

    shown = b"".join(follow_output(agent.url, "/f/t/latest/stdout", ended, wait_ms=10))
    assert shown == b"one two three four "


def test_a_log_that_is_cut_off_while_it_is_followed_is_not_shown_again(agent: AgentHttp, sandbox: Path) -> None:
    """Goal: what was shown is not shown twice. Method: the end is taken away and more is written, as executors do with logs."""
    file = sandbox / "log"
    kept = b"one " * OVERLAP_BYTES
    file.write_bytes(kept + b"two three ")
    steps = iter([kept + b"cut ", kept + b"cut four ", b""])

    def ended() -> bool:
        step = next(steps)
        if step:
            file.write_bytes(step)
        return not step

    shown = b"".join(follow_output(agent.url, "/f/t/latest/log", ended, wait_ms=10))
    assert shown == kept + b"two three " + LOST_NOTICE + b"four "


def test_output_that_was_rotated_away_unread_is_said_to_be_lost(agent: AgentHttp, sandbox: Path) -> None:
    file = sandbox / "stdout"
    file.write_bytes(b"one ")
    steps = iter([False, True])

    def ended() -> bool:
        is_over = next(steps)
        if not is_over:
            for unread in (b"two ", b"three ", b"four "):
                file.rename(sandbox / "stdout.1")
                file.write_bytes(unread)
        return is_over

    shown = b"".join(follow_output(agent.url, "/f/t/latest/stdout", ended, wait_ms=10))
    assert shown == b"one " + LOST_NOTICE + b"three four "


def test_a_rotation_at_the_first_read_shows_nothing_twice(
    agent: AgentHttp, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the file that becomes the older part just after the first look is not read under both names."""
    file = sandbox / "stdout"
    file.write_bytes(b"one ")
    look = http_client.request
    looks = iter(range(100))

    def rotate_after_the_first_look(*arguments: Any, **more: Any) -> Any:
        answer = look(*arguments, **more)
        if next(looks) == 0:
            file.rename(sandbox / "stdout.1")
            file.write_bytes(b"two ")
        return answer

    monkeypatch.setattr(sandbox_client, "request", rotate_after_the_first_look)
    assert b"".join(read_output(agent.url, "/f/t/latest/stdout")) == b"one two "


def test_output_that_is_copied_and_emptied_instead_of_renamed_is_shown_whole(agent: AgentHttp, sandbox: Path) -> None:
    """A plain process holds its file open, so its agent copies the newest of it and empties it."""
    file = sandbox / "stdout"
    file.write_bytes(b"one " * 100)
    steps = iter([False, True])

    def ended() -> bool:
        is_over = next(steps)
        if not is_over:
            with file.open("ab") as opened:
                opened.write(b"two ")
            (sandbox / "stdout.1").write_bytes(file.read_bytes()[80:])
            file.write_bytes(b"three ")
        return is_over

    shown = b"".join(follow_output(agent.url, "/f/t/latest/stdout", ended, wait_ms=10))
    assert shown == b"one " * 100 + b"two three "


def test_the_whole_output_begins_with_its_older_part(agent: AgentHttp, sandbox: Path) -> None:
    (sandbox / "stdout.1").write_bytes(b"x" * 200_000)
    (sandbox / "stdout").write_bytes(b"y" * 3_000_000)
    assert b"".join(read_output(agent.url, "/f/t/latest/stdout")) == b"x" * 200_000 + b"y" * 3_000_000
    with pytest.raises(NotFound):
        list(read_output(agent.url, "/f/t/latest/absent"))


def test_a_file_that_comes_late_is_waited_for(agent: AgentHttp, sandbox: Path) -> None:
    """Goal: a task whose image is still being pulled has no files yet. Method: it appears when asked a second time."""
    steps = iter([False, False, True])

    def ended() -> bool:
        is_over = next(steps)
        if is_over:
            (sandbox / "stdout").write_bytes(b"late")
        return is_over

    assert b"".join(follow_output(agent.url, "/f/t/latest/stdout", ended, wait_ms=10)) == b"late"


def test_an_agent_that_is_away_is_not_taken_for_a_missing_master() -> None:
    with pytest.raises(Unavailable) as caught:
        read_sandbox(f"http://{LOCAL}:1", "/f/t/latest/stdout", offset=0)
    assert not isinstance(caught.value, MasterUnavailable)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_where_every_address_is_bound_others_are_told_the_hostname(tmp_path: Path, host: str) -> None:
    """An address like 0.0.0.0 would lead whoever reads it in the master's listing to itself."""
    face = AgentHttp(host=host, port=0, work_dir=tmp_path, state=dict, hostname="host-a")
    face.start()
    try:
        assert face.url.startswith("http://host-a:")
    finally:
        face.close()


def test_a_server_that_never_started_can_be_closed(tmp_path: Path) -> None:
    face = AgentHttp(host=LOCAL, port=0, work_dir=tmp_path, state=dict)
    face.close()
    with pytest.raises(AssertionError):
        _ = face.url
