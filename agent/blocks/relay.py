"""Blocks of other agents, for executors that do not reach those by themselves: a container has no network, or one of its own.

Only what can be a block's address is asked for, and what is no answer of a store goes no further.
"""

import http.client
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from urllib.parse import SplitResult, urlsplit

from mesolite.errors import BadInput, Unavailable

#: Of an address: nothing but the block, and the token that goes with it.
_PATH: Final = re.compile(r"/blocks/[A-Za-z0-9_-]{1,128}")
_QUERY: Final = re.compile(r"token=[A-Za-z0-9._~%+/=-]{1,1024}")
#: The other agent says nothing for so long.
TIMEOUT_S: Final = 20.0


@contextmanager
def relayed(url: str, part: str | None) -> Generator[http.client.HTTPResponse]:
    """Ask another agent for a block and give its answer, whatever it is, to be read within the context.

    Args:
        url: As an agent has given it for the block.
        part: A Range header; None: all of it.

    Raises:
        BadInput: It is no such address.
        Unavailable: Nobody answers there, or no store.
    """
    where = _checked(url)
    assert where.hostname is not None
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=TIMEOUT_S)
    try:
        connection.putrequest("GET", f"{where.path}?{where.query}", skip_accept_encoding=True)
        if part is not None:
            connection.putheader("Range", part)
        connection.endheaders()
        answer = connection.getresponse()
        if answer.length is None:
            raise Unavailable(f"{where.hostname}:{where.port} is no block store: it does not say how much follows")
        yield answer
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{where.hostname}:{where.port}: {error or type(error).__name__}") from error
    finally:
        connection.close()


def _checked(url: str) -> SplitResult:
    try:
        where = urlsplit(url)
        is_place = (
            where.scheme == "http" and bool(where.hostname and where.port) and not (where.username or where.fragment)
        )
        if is_place and _PATH.fullmatch(where.path) and _QUERY.fullmatch(where.query):
            return where
    except ValueError:
        pass  # not even an address
    raise BadInput("?url= is to be a block's address as its agent gave it: http://HOST:PORT/blocks/ID?token=TOKEN")
