"""Redis's replies for a program, by redis-py's parser in C: executors have the standard library only, and read them in Python."""

from typing import Any, Final

import hiredis

from mesolite.executors.python.resp import NotRedis, RedisRefusal, Reply


class ParserInC:
    """Bytes in, replies out: as `resp.ReplyParser`, but for the bounds, which are hiredis's own."""

    def __init__(self) -> None:
        refusal: Any = RedisRefusal
        self._reader: Final = hiredis.Reader(protocolError=NotRedis, replyError=refusal)

    def feed(self, data: bytes) -> list[Reply]:
        """Take bytes, and return the replies that they complete.

        Raises:
            NotRedis: They are not RESP2.
        """
        reader = self._reader
        reader.feed(data)
        replies: list[Reply] = []
        # RESP2 has no False of its own.
        while (reply := reader.gets()) is not False:
            replies.append(reply)
        return replies
