"""The fetcher against real files and a real HTTP server on this machine, and archives that mean harm."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from mesolite.agent.archives import Extractor
from mesolite.agent.containerizer.policy import User
from mesolite.agent.fetcher import Fetcher, redacted
from mesolite.errors import FetchError
from mesolite.protocol import Uri

ME: Final = User(os.geteuid(), os.getegid())
NOBODY: Final = User(65534, 65534)


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """An empty sandbox."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    return folder


def fetch(uri: Uri | str, sandbox: Path, *, user: User = ME, **settings: float) -> None:
    """Fetch with the default bounds, or others."""
    fetcher = Fetcher(
        max_bytes=int(settings.get("max_bytes", 1 << 30)), stall_timeout_s=settings.get("stall_timeout_s", 5.0)
    )
    fetcher.fetch(Uri(value=uri) if isinstance(uri, str) else uri, sandbox, user)


def names(sandbox: Path) -> list[str]:
    return sorted(path.relative_to(sandbox).as_posix() for path in sandbox.rglob("*"))


class Server(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        """Answer."""
        match self.path.partition("?")[0]:
            case "/ok.txt":
                self.answer(200, b"hello")
            case "/moved":
                self.send_response(302)
                self.send_header("Location", "/ok.txt")
                self.end_headers()
            case "/endless":
                self.send_response(302)
                self.send_header("Location", "/endless")
                self.end_headers()
            case "/cut.txt":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"only this")
            case "/silent.txt":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.flush()
                self.server.hush.wait(30)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            case "/auth.txt":
                self.answer(200, self.headers.get("Authorization", "none").encode())
            case _:
                self.answer(404, b"no")

    def answer(self, status: int, body: bytes) -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the test's stderr."""


class QuietServer(ThreadingHTTPServer):
    """Lets silent answers end with the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Server)
        self.hush = threading.Event()


@pytest.fixture
def web() -> Iterator[str]:
    """The address of a server on this machine."""
    server = QuietServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.hush.set()
    server.shutdown()
    server.server_close()
    thread.join()


# -- local files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://localhost{path}", "FILE://{path}"])
def test_a_local_file_is_copied_under_its_name(tmp_path: Path, sandbox: Path, form: str) -> None:
    (tmp_path / "data.txt").write_text("content")
    fetch(form.format(path=tmp_path / "data.txt"), sandbox)
    assert (sandbox / "data.txt").read_text() == "content"
    assert names(sandbox) == ["data.txt"]


def test_a_name_with_blanks_is_written_in_percents(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "a b.txt").write_text("content")
    fetch(f"file://{tmp_path}/a%20b.txt", sandbox)
    assert names(sandbox) == ["a b.txt"]


def test_an_executable_is_made_so_and_not_extracted(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "tool.gz").write_bytes(b"#!/bin/sh\n")
    fetch(Uri(value=str(tmp_path / "tool.gz"), executable=True), sandbox)
    assert names(sandbox) == ["tool.gz"]
    assert os.access(sandbox / "tool.gz", os.X_OK)


def test_output_file_makes_folders_and_names_the_target(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "data").write_text("content")
    fetch(Uri(value=str(tmp_path / "data"), output_file="deep/er/name"), sandbox)
    assert (sandbox / "deep/er/name").read_text() == "content"


@pytest.mark.parametrize("target", ["../out", "/abs", "a/../../out", "..", ".", "", "link/out", "stdout", "folder"])
def test_a_target_that_is_not_in_the_sandbox_is_refused(tmp_path: Path, sandbox: Path, target: str) -> None:
    (tmp_path / "data").write_text("content")
    (sandbox / "link").symlink_to(tmp_path)
    (sandbox / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FetchError):
        fetch(Uri(value=str(tmp_path / "data"), output_file=target), sandbox)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{tmp}/none", "no such file"),
        ("{tmp}", "directory"),
        ("file://other.host/x", "agent's host"),
        ("relative/path", "only http"),
        ("ftp://host/x", "only http"),
        ("{tmp}/fifo", "regular"),
        ("http://[broken", "usable address"),
    ],
)
def test_what_cannot_be_fetched_is_named_with_the_reason(tmp_path: Path, sandbox: Path, value: str, words: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FetchError, match=words):
        fetch(Uri(value=value.format(tmp=tmp_path), output_file="x"), sandbox)
    assert names(sandbox) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user everything the agent can read, the task can")
def test_a_file_that_the_tasks_user_cannot_read_is_not_read_for_it(tmp_path: Path, sandbox: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    with pytest.raises(FetchError, match="fetch_file_roots"):
        fetch(str(secret), sandbox, user=NOBODY)
    Fetcher(file_roots=(str(tmp_path),)).fetch(Uri(value=str(secret)), sandbox, NOBODY)
    assert (sandbox / "secret").stat().st_uid == NOBODY.uid


def test_a_file_larger_than_the_bound_leaves_nothing(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(5000))
    with pytest.raises(FetchError, match="limit of 4000 bytes"):
        fetch(str(tmp_path / "large"), sandbox, max_bytes=4000)
    assert names(sandbox) == []


def test_a_full_disk_is_said_to_be_one(tmp_path: Path, sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_text("content")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(FetchError, match="disk is full"):
        fetch(str(tmp_path / "data"), sandbox)
    assert names(sandbox) == []


def test_a_fetch_ends_when_its_task_is_killed(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "data").write_text("content")
    with pytest.raises(FetchError, match="killed"):
        Fetcher().fetch(Uri(value=str(tmp_path / "data")), sandbox, ME, cancelled=lambda: True)
    assert names(sandbox) == []


# -- http -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ok.txt", "/ok.txt?token=1"])
def test_a_file_comes_over_http(web: str, sandbox: Path, path: str) -> None:
    fetch(web + path, sandbox)
    assert (sandbox / "ok.txt").read_text() == "hello"


def test_redirects_are_followed(web: str, sandbox: Path) -> None:
    fetch(f"{web}/moved", sandbox)
    assert (sandbox / "moved").read_text() == "hello"


@pytest.mark.parametrize(
    ("path", "words"),
    [("/none.txt", "404"), ("/cut.txt", "broke off"), ("/silent.txt", "silent"), ("/endless", "without end")],
)
def test_a_server_that_fails_is_said_to_and_leaves_nothing(web: str, sandbox: Path, path: str, words: str) -> None:
    with pytest.raises(FetchError, match=words):
        fetch(web + path, sandbox, stall_timeout_s=0.3)
    assert names(sandbox) == []


def test_a_server_that_is_not_there_cannot_be_reached(web: str, sandbox: Path) -> None:
    with pytest.raises(FetchError, match="cannot be reached"):
        fetch("http://127.0.0.1:1/x", sandbox)


def test_the_agents_own_credentials_are_not_sent(
    web: str, sandbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login agent password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    fetch(f"{web}/auth.txt", sandbox)
    assert (sandbox / "auth.txt").read_text() == "none"


def test_secrets_in_an_address_are_not_repeated(sandbox: Path) -> None:
    secret = "http://user:password@127.0.0.1:1/x?token=abc"
    with pytest.raises(FetchError) as caught:
        fetch(secret, sandbox)
    assert redacted(secret) == "http://127.0.0.1:1/x?..."
    assert str(caught.value).startswith("http://127.0.0.1:1/x?...")
    assert not any(word in str(caught.value) for word in ("password", "abc"))


# -- archives -------------------------------------------------------------------------------------------------------------


def tar_bytes(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]  # pyright: ignore
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def zip_bytes(*members: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, unix_mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = unix_mode << 16
            archive.writestr(info, content)
    return buffer.getvalue()


GOOD_TAR: Final = tar_bytes(
    member("folder", type=tarfile.DIRTYPE, mode=0o755),
    member("folder/tool", b"run", mode=0o4755),
    member("data", b"content", mode=0o444),
    link("folder/up", "../data"),
    hard("same", "data"),
)


def unchanged(content: bytes) -> bytes:
    return content


@pytest.mark.parametrize(
    ("ending", "pack"),
    [
        (".tar", unchanged),
        (".tar.gz", gzip.compress),
        (".tgz", gzip.compress),
        (".tar.bz2", bz2.compress),
        (".tbz2", bz2.compress),
        (".tar.xz", lzma.compress),
        (".txz", lzma.compress),
        (".TAR.GZ", gzip.compress),
    ],
)
def test_tar_archives_are_extracted(tmp_path: Path, sandbox: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    archive = f"a{ending}"
    (tmp_path / archive).write_bytes(pack(GOOD_TAR))
    fetch(str(tmp_path / archive), sandbox)
    assert names(sandbox) == [archive, "data", "folder", "folder/tool", "folder/up", "same"]
    assert (sandbox / "folder/up").read_text() == (sandbox / "same").read_text() == "content"
    assert (sandbox / "folder/tool").stat().st_mode & 0o7777 == 0o755


def test_a_zip_is_extracted_with_modes_and_links(tmp_path: Path, sandbox: Path) -> None:
    content = zip_bytes(
        ("d/", b"", 0o40755), ("d/tool", b"run", 0o100755), ("plain", b"x", 0), ("l", b"plain", 0o120777)
    )
    (tmp_path / "a.zip").write_bytes(content)
    fetch(str(tmp_path / "a.zip"), sandbox)
    assert names(sandbox) == ["a.zip", "d", "d/tool", "l", "plain"]
    assert os.access(sandbox / "d/tool", os.X_OK)
    assert (sandbox / "l").readlink() == Path("plain")


def test_a_gz_is_unpacked_beside_itself(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"lines"))
    fetch(str(tmp_path / "log.gz"), sandbox)
    assert (sandbox / "log").read_bytes() == b"lines"


def test_extraction_can_be_declined(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "a.tar").write_bytes(GOOD_TAR)
    fetch(Uri(value=str(tmp_path / "a.tar"), extract=False), sandbox)
    assert names(sandbox) == ["a.tar"]


def test_two_archives_merge_and_the_later_file_wins(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes(member("d/one", b"1"), member("d/both", b"first")))
    (tmp_path / "b.tar").write_bytes(tar_bytes(member("d/two", b"2"), member("d/both", b"second")))
    fetch(str(tmp_path / "a.tar"), sandbox)
    fetch(str(tmp_path / "b.tar"), sandbox)
    assert names(sandbox) == ["a.tar", "b.tar", "d", "d/both", "d/one", "d/two"]
    assert (sandbox / "d/both").read_bytes() == b"second"


@pytest.mark.parametrize(
    "members",
    [
        [member("../out", b"x")],
        [member("/abs", b"x")],
        [member("a/../../out", b"x")],
        [link("l", "/etc")],
        [link("l", "..")],
        [link("d/l", "../..")],
        [link("d/l", "x/../../..")],
        [link("a", "."), link("b", "a/..")],
        [link("l", "."), member("l/x", b"x")],
        [link("l", "d"), member("l", b"x")],
        [member("d/x", b"x"), link("d", "e")],
        [hard("h", "/etc/passwd")],
        [hard("h", "../x")],
        [hard("h", "later"), member("later", b"x")],
        [link("l", "d"), hard("h", "l")],
        [member("dev", type=tarfile.CHRTYPE)],
        [member("dev", type=tarfile.BLKTYPE)],
        [member("fifo", type=tarfile.FIFOTYPE)],
    ],
    ids=lambda members: " ".join(info.name + (f">{info.linkname}" if info.linkname else "") for info, _ in members),
)
def test_an_archive_that_reaches_out_is_refused_whole(
    tmp_path: Path, sandbox: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes(member("innocent", b"x"), *members))
    with pytest.raises(FetchError):
        fetch(str(tmp_path / "a.tar"), sandbox)
    assert names(sandbox) == ["a.tar"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "sandbox"]


@pytest.mark.parametrize("name", ["../out", "/abs"])
def test_a_zip_that_reaches_out_is_refused_whole(tmp_path: Path, sandbox: Path, name: str) -> None:
    (tmp_path / "a.zip").write_bytes(zip_bytes(("innocent", b"x", 0), (name, b"x", 0)))
    with pytest.raises(FetchError):
        fetch(str(tmp_path / "a.zip"), sandbox)
    assert names(sandbox) == ["a.zip"]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".gz", ".zip"])
@pytest.mark.parametrize("content", [b"not an archive at all", b"\x1f\x8b" + bytes(50), b"PK\x05\x06" + b"\xff" * 18])
def test_a_broken_archive_is_said_to_be_one(tmp_path: Path, sandbox: Path, ending: str, content: bytes) -> None:
    (tmp_path / f"a{ending}").write_bytes(content)
    with pytest.raises(FetchError, match="broken"):
        fetch(str(tmp_path / f"a{ending}"), sandbox)
    assert names(sandbox) == [f"a{ending}"]


def extractor(sandbox: Path) -> Extractor:
    return Extractor(sandbox, ME, max_expanded_bytes=100_000, max_members=50)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tar.gz", gzip.compress(tar_bytes(member("zeros", bytes(5_000_000))))),
        ("a.tar.gz", gzip.compress(tar_bytes(*(member(f"f{number}", bytes(9000)) for number in range(40))))),
        ("a.gz", gzip.compress(bytes(5_000_000))),
        ("a.zip", zip_bytes(("zeros", bytes(5_000_000), 0))),
        ("a.tar", tar_bytes(*(member(f"f{number}") for number in range(60)))),
        ("a.zip", zip_bytes(*((f"f{number}", b"", 0) for number in range(60)))),
        ("a.tar.gz", gzip.compress(tar_bytes(member("x" * 9_000_000, b"x")))),
    ],
    ids=["tar", "tar of many", "gz", "zip", "tar members", "zip members", "tar header"],
)
def test_a_bomb_is_defused(sandbox: Path, name: str, content: bytes) -> None:
    (sandbox / name).write_bytes(content)
    with pytest.raises(FetchError, match=r"more than|larger than|its limit"):
        extractor(sandbox).extract(sandbox / name)
    assert names(sandbox) == [name]


def test_an_archive_cannot_write_through_a_link_of_an_earlier_one(tmp_path: Path, sandbox: Path) -> None:
    (sandbox / "inner").mkdir()
    (tmp_path / "a.tar").write_bytes(tar_bytes(link("d", "inner")))
    (tmp_path / "b.tar").write_bytes(tar_bytes(member("d/x", b"x")))
    fetch(str(tmp_path / "a.tar"), sandbox)
    fetch(str(tmp_path / "b.tar"), sandbox)
    assert (sandbox / "d").is_dir()
    assert not (sandbox / "d").is_symlink()
    assert names(sandbox / "inner") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_comes_out_belongs_to_the_tasks_user(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "a.tar").write_bytes(GOOD_TAR)
    Fetcher(file_roots=(str(tmp_path),)).fetch(Uri(value=str(tmp_path / "a.tar")), sandbox, NOBODY)
    assert {path.lstat().st_uid for path in sandbox.rglob("*")} == {NOBODY.uid}
