"""Redis's replies for a program, by redis-py's parser in C: executors have the standard library only, and read them in Python."""

from typing import Any, Final

import hiredis

from mesolite.executors.python.resp import MAX_LINE_BYTES, MAX_VALUE_BYTES, NotRedis, RedisRefusal, Reply


class ParserInC:
    """Bytes in, replies out: as `resp.ReplyParser`, but for the depth of lists, and their length, which memory bounds."""

    def __init__(self) -> None:
        refusal: Any = RedisRefusal
        self._reader: Final = hiredis.Reader(protocolError=NotRedis, replyError=refusal)

    def feed(self, data: bytes) -> list[Reply]:
        """Take bytes, and return the replies that they complete.

        Raises:
            NotRedis: They are not RESP2, or larger than anything that was asked for.
        """
        reader = self._reader
        reader.feed(data)
        replies: list[Reply] = []
        try:
            # RESP2 has no False of its own.
            while (reply := reader.gets()) is not False:
                replies.append(reply)
        except MemoryError:
            raise NotRedis("a list that no memory holds") from None
        if reader.len() > MAX_VALUE_BYTES + MAX_LINE_BYTES:
            raise NotRedis("a value that is too large")
        return replies
