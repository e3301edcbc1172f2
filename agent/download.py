"""Downloads over http(s), for the fetcher.

The agent's own credentials (`.netrc`) are not sent, and a URI's are not repeated in messages.
"""

from collections.abc import Generator
from typing import Final

import requests
import requests.utils

from mesolite.errors import FetchError

CONNECT_TIMEOUT_S: Final = 10.0
_CHUNK_BYTES: Final = 1 << 20


def download(url: str, stall_timeout_s: float) -> Generator[bytes, None, None]:
    """Yield what a server sends.

    Args:
        url: Where it is.
        stall_timeout_s: Silence after which the server is given up (seconds).

    Raises:
        FetchError: Says what is wrong with it.
    """
    try:
        with (
            _PlainSession() as session,
            session.get(
                url,
                stream=True,
                timeout=(CONNECT_TIMEOUT_S, stall_timeout_s),
                proxies=requests.utils.get_environ_proxies(url, no_proxy=None),
            ) as response,
        ):
            if response.status_code != requests.codes.ok:
                raise FetchError(f"the server answered {response.status_code} {response.reason}")
            yield from response.iter_content(_CHUNK_BYTES)
    except (requests.RequestException, ValueError) as error:
        raise FetchError(_network_words(error, stall_timeout_s)) from None


class _PlainSession(requests.Session):
    """Without the agent's `.netrc`, which requests would read for any host, at redirects too."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False


def _network_words(error: Exception, stall_timeout_s: float) -> str:
    """What went wrong, without the address, which requests repeats with all that is secret in it."""
    match error:
        case requests.exceptions.ConnectTimeout():
            return f"the server did not accept a connection within {CONNECT_TIMEOUT_S:.0f} s"
        case requests.exceptions.Timeout():
            return f"the server was silent for {stall_timeout_s:.0f} s"
        case requests.exceptions.SSLError():
            return "the server's certificate is not trusted by the agent"
        case requests.exceptions.TooManyRedirects():
            return "the server redirects without end"
        case requests.exceptions.ChunkedEncodingError() | requests.exceptions.ContentDecodingError():
            return "the server broke off"
        case requests.exceptions.ConnectionError():
            timed_out = "timed out" in str(error)
            return f"the server was silent for {stall_timeout_s:.0f} s" if timed_out else "the server cannot be reached"
        case _:
            return f"it is not a usable address ({type(error).__name__})"
