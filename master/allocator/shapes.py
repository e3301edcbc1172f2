"""What anybody could use: the distinct shapes that eligible clients still need, and how many need each.

Frameworks are many, shapes are few. Before all clients are asked about what is left of an agent, it is compared with the
shapes; where none fits, nobody needs to be asked. A client without a demand can use anything, which is the empty shape.
"""

from .carving import Amounts
from .clients import Client
from .demand import ShapeKey


class Shapes:
    """Counts who needs what."""

    def __init__(self) -> None:
        self._needed: dict[ShapeKey, int] = {}
        #: What each client was counted with.
        self._counted: dict[Client, tuple[ShapeKey, ...]] = {}

    def note(self, client: Client, eligible: bool) -> None:
        """Count a client anew."""
        keys = needed_keys(client) if eligible else ()
        before = self._counted.get(client, ())
        if keys == before:
            return
        for key in before:
            self._needed[key] -= 1
            if not self._needed[key]:
                del self._needed[key]
        for key in keys:
            self._needed[key] = self._needed.get(key, 0) + 1
        if keys:
            self._counted[client] = keys
        else:
            del self._counted[client]

    def any_fits(self, amounts: Amounts) -> bool:
        """Tell whether somebody could use these amounts, as far as sizes go."""
        return any(fits(key, amounts) for key in self._needed)

    def check(self, eligible: dict[Client, None]) -> None:
        """Assert that exactly the eligible clients are counted, with what they need now."""
        assert self._counted == {client: needed_keys(client) for client in eligible}
        counted = [key for keys in self._counted.values() for key in keys]
        assert self._needed == {key: counted.count(key) for key in dict.fromkeys(counted)}


def fits(shape: ShapeKey, amounts: Amounts) -> bool:
    """Tell whether one unit of a shape fits; the empty shape always does."""
    return all(amounts.get(name, 0) >= amount for name, amount in shape)


def needed_keys(client: Client) -> tuple[ShapeKey, ...]:
    """The shapes of which an eligible client still needs units; the empty one where it takes everything."""
    if client.demand is None:
        return ((),)
    return tuple([want.key for want in client.demand.wants if want.count > want.covered])
