"""Requests to masters and agents with nothing but the standard library: `mesolite ps` is to answer before a client is loaded."""

import http.client
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from mesolite.errors import BadInput, NotFound, Unavailable

#: A master or agent that does not answer for so long counts as gone; added to the wait that a read asks for.
REQUEST_TIMEOUT_S: Final = 10.0
#: Leader changes that one request follows.
MAX_REDIRECTS: Final = 3
#: A larger answer is not one of ours.
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024

#: How a standby says who leads.
REDIRECTED: Final = 307

Query = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def location(self) -> str:
        """Where a redirect leads; empty where this is none."""
        return self.headers.get("Location", "")

    def checked(self, url: str, away: type[Unavailable]) -> "Answer":
        """Return this answer, if it is one that was hoped for.

        Args:
            url: Who was asked, for the message.
            away: What to raise where the server has only an excuse.

        Raises:
            NotFound: 404, with the server's words.
            BadInput: The request makes no sense, in the server's words.
            Unavailable: `away`.
        """
        match self.status:
            case 200 | 202:
                return self
            case 404:
                raise NotFound(_message(self, url))
            case 400 | 415:
                raise BadInput(_message(self, url))
            case _:
                raise away(f"{url} answers {self.status}: {_message(self, url)}")


def with_query(url: str, query: Query) -> str:
    """Return a URL with arguments."""
    return f"{url}?{urllib.parse.urlencode(query)}"


def request(method: str, url: str, body: bytes | None, *, timeout_s: float, away: type[Unavailable]) -> Answer:
    """Ask once, and where another master leads ask that one.

    Args:
        method: GET or POST.
        url: Where.
        body: JSON to send.
        timeout_s: How long the answer may take.
        away: What to raise where nobody answers.

    Raises:
        NotFound: 404, with the server's words.
        BadInput: The request makes no sense, in the server's words.
        Unavailable: `away`: nobody answers, or only with an excuse.
    """
    for _ in range(MAX_REDIRECTS + 1):
        answer = exchange(method, url, body, timeout_s=timeout_s, away=away)
        if answer.status != REDIRECTED:
            return answer.checked(url, away)
        url = answer.location
    raise away(f"{url} sends from one master to the next; try again in a moment")


def exchange(method: str, url: str, body: bytes | None, *, timeout_s: float, away: type[Unavailable]) -> Answer:
    """Ask once and return what comes back, whatever it is. Arguments as in `request`.

    Raises:
        BadInput: The URL is none.
        Unavailable: `away`: nobody answers.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise BadInput(f"{url!r} is not the URL of a master or agent; it looks like http://127.0.0.1:5050")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, body, {"Content-Type": "application/json"} if body is not None else {})
        response = connection.getresponse()
        return Answer(response.status, response.read(MAX_ANSWER_BYTES), dict(response.headers))
    except (OSError, http.client.HTTPException) as error:
        where = f"{parts.hostname}:{parts.port or 80}"
        raise away(
            f"{where} does not answer ({error}); see `mesolite up`, or the logs beside its cluster.json"
        ) from None
    finally:
        connection.close()


def _message(answer: Answer, url: str) -> str:
    try:
        return str(msgspec.json.decode(answer.body, type=dict[str, str])["error"])
    except (msgspec.DecodeError, KeyError):
        return f"{url} gives no reason"
