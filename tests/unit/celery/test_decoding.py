"""Messages are read as kombu reads them, whoever does it."""

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from mesolite.frameworks.celery.broker.decoding import decode

# kombu has no types.
_kombu: Any = kombu_json

_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(st.characters())
_values = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(st.dictionaries(st.text(), _values), st.booleans())
def test_what_json_can_say_is_read_as_kombu_reads_it(message: dict[str, Any], ascii_only: bool) -> None:
    raw = json.dumps(message, ensure_ascii=ascii_only).encode(errors="surrogatepass" if ascii_only else "replace")
    assert repr(decode(raw)) == repr(_kombu.loads(raw.decode()))


@pytest.mark.parametrize("hidden", ["__type__", "\\u005f_type__", "__\\u0074ype__", "__typ\\u0065__"])
def test_types_of_kombus_own_are_made(hidden: str) -> None:
    when = datetime.fromisoformat("2026-01-02T03:04:05")
    raw: str = _kombu.dumps({"headers": {"eta": when}})
    assert decode(raw.replace("__type__", hidden).encode()) == {"headers": {"eta": when}}


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b'"text"', b"\xff", b'{"a": 1} x', b"[" * 100_000])
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a message of kombu"):
        decode(raw)


def test_names_of_fields_are_kept_once() -> None:
    first, second = (decode(b'{"headers": {"argsrepr": "(%d,)"}}' % number) for number in (1, 2))
    assert next(iter(first["headers"])) is next(iter(second["headers"]))
