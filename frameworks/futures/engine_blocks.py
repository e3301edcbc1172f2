"""Large arguments on their way to the block store of the agent whose executor gets the call: over HTTP, in threads."""

import http.client
from collections.abc import Callable
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
#: As much of a refusal as goes into a message.
_SHOWN_BYTES: Final = 500

_log = get_logger("mesolite.pool")


#: Told an upload and how it went: where the block is, or why it is nowhere.
Carried = Callable[[Upload, BlockRef | None, str], None]


class BlockCarrier:
    """Carries blocks to agents, and removes them. Threads are made when there is something to carry."""

    def __init__(self, carried: Carried) -> None:
        self._carried: Final = carried
        self._threads: ThreadPoolExecutor | None = None

    def put(self, upload: Upload) -> None:
        """Store; `carried` is called from another thread."""
        self._pool().submit(self._put, upload)

    def drop(self, upload: Upload) -> None:
        """Remove what was stored: best effort, the agent removes it some time anyway."""
        self._pool().submit(self._ask, "DELETE", upload, None)

    def close(self) -> None:
        """Carry nothing more."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _pool(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(CARRIERS, thread_name_prefix="pool-blocks")
        return self._threads

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
                connection.request(method, path, body=body, headers={"Authorization": f"Bearer {upload.token}"})
                answer = connection.getresponse()
                text = answer.read(_SHOWN_BYTES).decode(errors="replace")
            finally:
                connection.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            return f"the agent's block store at {upload.url} cannot be reached: {error}", ""
        if answer.status >= http.client.BAD_REQUEST:
            return f"{answer.status} {text}", ""
        return "", answer.headers.get("Location", "")
