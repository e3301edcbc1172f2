"""Asks whichever of a cluster's masters leads, over HTTP, and goes on asking while leadership changes hands.

Several masters may be given. The one that led last is asked first; where it does not answer or does not lead, the others; and
only where none of those given leads is a redirect followed, because the name in it is the cluster's own and may mean nothing
here. Whoever was answered once, or gave several masters, knows that there is a cluster: then nobody leading is a matter of
seconds, and is waited for. All requests may be sent twice: views change nothing, actions can be repeated.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from mesolite.errors import BadInput, MasterUnavailable
from mesolite.http_client import REDIRECTED, REQUEST_TIMEOUT_S, Answer, exchange, request

#: A change of leader takes two to five seconds, with a failover of Redis in its midst; a restart of a master, some more.
PATIENCE_S: Final = 30.0
RETRY_PAUSE_S: Final = 0.2
#: While there is another master to ask, one that hangs is not waited for longer than this.
HASTY_TIMEOUT_S: Final = 2.0


class Masters:
    """The masters of one cluster. May be used from several threads."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
        patience_s: float = 0.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare; nobody is asked yet.

        Args:
            urls: One for each master that is known, without a path.
            timeout_s: How long an answer may take.
            patience_s: How long a leader may be missing in the midst of things.
            on_wait: Told once why there is a wait, when there is one.

        Raises:
            BadInput: No URL is given.
        """
        if not urls:
            raise BadInput("no master is given; write their URLs like http://127.0.0.1:5050,http://127.0.0.1:5051")
        self.urls: Final = tuple(url.rstrip("/") for url in urls)
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._on_wait = on_wait
        #: The master that answered last. Threads may overwrite each other's word: it only says where to begin.
        self._latest = self.urls[0]
        self._has_answered = False

    def ask(self, method: str, target: str, body: bytes | None = None) -> Answer:
        """Return the leading master's answer; for what every master answers, the first one's.

        Args:
            method: GET or POST.
            target: Path and query, without the slash at its beginning.
            body: JSON to send.

        Raises:
            NotFound: The master has no such thing, in its words.
            BadInput: The request makes no sense, in its words.
            MasterUnavailable: None leads, or none answers, for as long as there was patience.
        """
        deadline_s = time.monotonic() + self._patience_s
        timeout_s = min(self._timeout_s, HASTY_TIMEOUT_S) if len(self.urls) > 1 else self._timeout_s
        while True:
            try:
                answer = self._one_round(method, target, body, timeout_s)
            except MasterUnavailable as excuse:
                if not self._may_wait() or time.monotonic() > deadline_s:
                    raise
                self._tell(str(excuse))
                time.sleep(RETRY_PAUSE_S)
                # All were asked in haste; the one that leads may have much to say.
                timeout_s = self._timeout_s
            else:
                self._has_answered = True
                return answer

    def _one_round(self, method: str, target: str, body: bytes | None, timeout_s: float) -> Answer:
        """Ask each until one leads.

        Raises:
            MasterUnavailable: None did.
        """
        excuse = MasterUnavailable()
        redirect = ""
        for url in sorted(self.urls, key=lambda url: url != self._latest):
            asked = f"{url}/{target}"
            try:
                answer = exchange(method, asked, body, timeout_s=timeout_s, away=MasterUnavailable)
                if answer.status == REDIRECTED:
                    redirect = answer.location
                    continue
                answer.checked(asked, MasterUnavailable)
            except MasterUnavailable as error:
                excuse = error
                continue
            self._latest = url
            return answer
        if redirect:
            return request(method, redirect, body, timeout_s=timeout_s, away=MasterUnavailable)
        raise excuse

    def _may_wait(self) -> bool:
        return self._has_answered or len(self.urls) > 1

    def _tell(self, why: str) -> None:
        tell, self._on_wait = self._on_wait, None
        if tell is not None:
            tell(why)
