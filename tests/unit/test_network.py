"""What a server says of itself to others."""

import socket

import pytest

from mesolite.network import AUTO, advertised_url, own_address


@pytest.mark.parametrize(
    ("bound", "host", "told"),
    [
        ("http://0.0.0.0:5051", None, "http://0.0.0.0:5051"),
        ("http://0.0.0.0:5051", "", "http://0.0.0.0:5051"),
        ("http://0.0.0.0:5051", "10.0.0.7", "http://10.0.0.7:5051"),
        ("http://0.0.0.0:5051", "node-7.example", "http://node-7.example:5051"),
        ("http://127.0.0.1", "10.0.0.7", "http://10.0.0.7"),
        ("http://0.0.0.0:5051", "fd00::7", "http://[fd00::7]:5051"),
        ("http://0.0.0.0:5051", "[fd00::7]", "http://[fd00::7]:5051"),
    ],
)
def test_the_host_is_replaced_and_the_port_stays(bound: str, host: str | None, told: str) -> None:
    assert advertised_url(bound, host) == told


def test_auto_is_an_address_that_this_machine_has() -> None:
    address = own_address()
    with socket.socket() as server:
        # Only an own address can be bound.
        server.bind((address, 0))
        assert server.getsockname()[0] == address
    assert address not in ("0.0.0.0", "127.0.0.1")
    assert advertised_url("http://0.0.0.0:80", AUTO) == f"http://{address}:80"
