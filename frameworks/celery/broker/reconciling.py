"""Makes a broker and the book agree after a lost connection, a failover or the end of a life."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from .book import Book
from .requests import Guard, Held, OwnerStore

#: Reads what is owned and has it arrive in the book.
TakeIn: TypeAlias = Callable[[Sequence[Held]], None]


def begin(store: OwnerStore, take_in: TakeIn) -> int:
    """Take in all that earlier lives left; return how much it is. What they gave away comes first: its outcome may be there."""
    held = store.held(sorted(store.ids()))
    take_in(sorted(held, key=lambda item: item.state == ""))
    return len(held)


def reconcile(store: OwnerStore, guard: Guard, book: Book, take_in: TakeIn) -> None:
    """Write what is unwritten, take in what a take brought whose answer was lost, and own again what the broker forgot.

    What had its last word and is owned again, for the broker forgot the word, arrives like that too, and the book knows it.

    Raises:
        Fenced: Another guard was set meanwhile.
    """
    book.reconnected()
    write_all(store, guard, book)
    stored = store.ids()
    take_in(store.held(book.strangers(stored)))
    store.restore(guard, book.missing(stored))
    write_all(store, guard, book)


def write_all(store: OwnerStore, guard: Guard, book: Book) -> None:
    """Write what is to be written, and wait until it is."""
    while (writes := book.batch()) is not None:
        store.write(guard, writes)
        book.written()
