"""Large arguments on their way to the block store of the agent whose executor gets the call: over HTTP, in threads."""

import http.client
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

from mesolite.executors.python.calls import BlockRef
from mesolite.logs import get_logger

from .engine_call import Upload

#: The wire is the bottleneck soon; two, so that one slow agent does not hold up all others.
CARRIERS: Final = 2
#: Longest silence of an agent. What it has not taken by then travels inline, or not at all.
TIMEOUT_S: Final = 15.0
#: A time limit is for each piece that is sent, and not for all of it.
_PIECE_BYTES: Final = 1024 * 1024
#: As much of a refusal as goes into a message.
_SHOWN_BYTES: Final = 500

_log = get_logger("mesolite.pool")


#: Told an upload and how it went: where the block is, or why it is nowhere.
Carried = Callable[[Upload, BlockRef | None, str], None]


class BlockCarrier:
    """Carries blocks to agents, and removes them. Threads are made when there is something to carry."""

    def __init__(self, carried: Carried) -> None:
        self._carried: Final = carried
        self._lock: Final = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False

    def put(self, upload: Upload) -> None:
        """Store; `carried` is called from another thread."""
        self._submit(self._put, upload)

    def drop(self, upload: Upload) -> None:
        """Remove what was stored: best effort, the agent removes it some time anyway."""
        self._submit(self._drop, upload)

    def close(self) -> None:
        """Carry nothing more. Blocks go with their framework."""
        with self._lock:
            self._closed = True
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)

    def _submit(self, carry: Callable[[Upload], None], upload: Upload) -> None:
        with self._lock:
            if self._closed:
                return
            if self._threads is None:
                self._threads = ThreadPoolExecutor(CARRIERS, thread_name_prefix="pool-blocks")
            self._threads.submit(carry, upload)

    def _drop(self, upload: Upload) -> None:
        refusal, _ = self._ask("DELETE", upload, None)
        if refusal:
            _log.info("pool.block_stays", url=upload.url, block_id=upload.block_id, reason=refusal)

    def _put(self, upload: Upload) -> None:
        refusal, location = self._ask("PUT", upload, upload.data)
        if refusal:
            _log.info("pool.block_refused", url=upload.url, size_bytes=len(upload.data), reason=refusal)
            self._carried(upload, None, refusal)
        else:
            self._carried(upload, BlockRef(upload.block_id, len(upload.data), location), "")

    def _ask(self, method: str, upload: Upload, body: bytes | None) -> tuple[str, str]:
        """Ask the agent; return why it does not do it, empty where it does, and where others find the block."""
        try:
            where = urlsplit(upload.url)
            if where.scheme != "http" or not where.hostname:
                return f"{upload.url!r} is no address of a block store", ""
            connection = http.client.HTTPConnection(where.hostname, where.port, timeout=TIMEOUT_S)
            try:
                path = f"{where.path.rstrip('/')}/blocks/{upload.block_id}"
                headers = {"Authorization": f"Bearer {upload.token}"}
                if body is not None:
                    headers["Content-Length"] = str(len(body))
                connection.request(method, path, body=None if body is None else _pieces(body), headers=headers)
                answer = connection.getresponse()
                text = answer.read(_SHOWN_BYTES).decode(errors="replace")
            finally:
                connection.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            return f"the agent's block store at {upload.url} cannot be reached: {error}", ""
        if answer.status >= http.client.BAD_REQUEST:
            return f"{answer.status} {text}", ""
        return "", answer.headers.get("Location", "")


def _pieces(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for begin in range(0, len(view), _PIECE_BYTES):
        yield view[begin : begin + _PIECE_BYTES]
