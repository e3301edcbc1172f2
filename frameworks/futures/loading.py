"""Large arguments of fine-grained calls, on their way to a block store before the calls are launched.

    waiting --a store is known--> travelling --it has them--> loaded: the call goes to its queue
       ^                              |
       '--refused: another is asked---+--refused `MAX_TRIES` times--> failed

A task's data goes through Redis, the master and its agent, so large arguments go around them: to the block store of one agent
that has an executor of ours, from which every executor of the pool can fetch them. Where that store is, and what proves whose
client asks, an executor says: it is asked by a task of its own kind, a question, which starts an executor where there is none.

This is a core: calls, answers and outcomes of uploads come in; questions, uploads and ends are taken out.
"""

from dataclasses import dataclass
from typing import Final

from mesolite.executors.python.calls import BlockRef

from .engine_call import StorePlace, Upload
from .errors import ArgumentsTooLarge, CallError
from .options import Kind

#: How often arguments set out for a store: the first may be that of an agent that went away meanwhile.
MAX_TRIES: Final = 2


@dataclass(slots=True, eq=False)
class _Load:
    """The arguments of one call, from their arrival to the call's end."""

    number: int
    name: str
    kind: Kind
    data: bytes
    tries: int = 0
    #: Under way, or there; None while they wait for a store.
    upload: Upload | None = None
    loaded: bool = False


class LoadingCore:
    """All large arguments of one pool.

    Args:
        prefix: Of blocks' names: no other client of the framework has it.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix: Final = prefix
        self._loads: dict[int, _Load] = {}
        #: The store in use; None while none is known.
        self._place: StorePlace | None = None
        #: Kinds that were asked, and have not answered.
        self._asked: set[Kind] = set()
        self._questions: list[Kind] = []
        self._uploads: list[Upload] = []
        self._drops: list[Upload] = []
        self._loaded: list[tuple[int, BlockRef]] = []
        self._failures: list[tuple[int, CallError]] = []

    def arrive(self, number: int, name: str, kind: Kind, data: bytes) -> None:
        """Take the arguments of a call on."""
        load = self._loads[number] = _Load(number, name, kind, data)
        self._send_or_ask(load)

    def knows(self, number: int) -> bool:
        """Whether a call has large arguments, and has not ended."""
        return number in self._loads

    def is_loading(self, number: int) -> bool:
        """Whether a call waits for its arguments to be in a store."""
        load = self._loads.get(number)
        return load is not None and not load.loaded

    def forget(self, number: int) -> None:
        """A call is over: nobody needs its arguments any more. Unknown ones are ignored."""
        load = self._loads.pop(number, None)
        if load is not None and load.loaded and load.upload is not None:
            self._drops.append(load.upload)

    def answered(self, kind: Kind, place: StorePlace) -> None:
        """An executor said where its agent's store is."""
        self._asked.discard(kind)
        if not place.url:
            for load in self._waiting(kind):
                self._fail(load, "the agent serves no block store to clients")
            return
        self._place = place
        for load in self._waiting():
            self._send(load, place)

    def unanswered(self, kind: Kind, error: CallError) -> None:
        """No executor of this kind can say it, as none can run calls."""
        self._asked.discard(kind)
        for load in self._waiting(kind):
            del self._loads[load.number]
            self._failures.append((load.number, error))

    def carried(self, upload: Upload, block: BlockRef | None, refusal: str) -> None:
        """An upload is over: where the block is, or why it is nowhere."""
        load = self._loads.get(upload.number)
        if load is None or load.upload is not upload:
            if block is not None:
                self._drops.append(upload)
        elif block is not None:
            load.loaded = True
            self._loaded.append((load.number, block))
        else:
            load.upload = None
            if self._place is not None and self._place.url == upload.url:
                self._place = None
            if load.tries >= MAX_TRIES:
                self._fail(load, refusal)
            else:
                self._send_or_ask(load)

    def take_questions(self) -> list[Kind]:
        """Return the kinds whose executors are to be asked for a store."""
        questions, self._questions = self._questions, []
        return questions

    def take_uploads(self) -> list[Upload]:
        """Return what is to be brought to stores; `carried` says how each went."""
        uploads, self._uploads = self._uploads, []
        return uploads

    def take_drops(self) -> list[Upload]:
        """Return blocks that nobody needs any more."""
        drops, self._drops = self._drops, []
        return drops

    def take_loaded(self) -> list[tuple[int, BlockRef]]:
        """Return calls that can be launched, with what stands for their arguments."""
        loaded, self._loaded = self._loaded, []
        return loaded

    def take_failures(self) -> list[tuple[int, CallError]]:
        """Return calls that cannot be."""
        failures, self._failures = self._failures, []
        return failures

    def check(self) -> None:
        """Assert its invariants."""
        for load in self._waiting():
            assert load.kind in self._asked, "who waits for a store waits for an answer"
            assert not load.loaded, "what waits is nowhere"
        assert set(self._questions) <= self._asked, "what is to be asked is not answered"

    def _waiting(self, kind: Kind | None = None) -> list[_Load]:
        return [load for load in self._loads.values() if load.upload is None and kind in (None, load.kind)]

    def _send_or_ask(self, load: _Load) -> None:
        if self._place is not None:
            self._send(load, self._place)
        elif load.kind not in self._asked:
            self._asked.add(load.kind)
            self._questions.append(load.kind)

    def _send(self, load: _Load, place: StorePlace) -> None:
        load.tries += 1
        # A try's own name: what a refused one left behind, or will, is not this one's.
        block_id = f"{self._prefix}-{load.number}-{load.tries}"
        load.upload = Upload(number=load.number, url=place.url, token=place.token, data=load.data, block_id=block_id)
        self._uploads.append(load.upload)

    def _fail(self, load: _Load, why: str) -> None:
        del self._loads[load.number]
        size = f"{load.name}: its arguments have {len(load.data):,} bytes, too many to travel with a task, and {why}"
        self._failures.append((load.number, ArgumentsTooLarge(size)))
