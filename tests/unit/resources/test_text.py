"""The resource language: what it reads, what it prints, and what it says about mistakes."""

import pytest

from mesolite.errors import ResourceError
from mesolite.resources import EMPTY, Reservation, ReservationType, Resource, Resources, ResourceType

EXPRESSION = "cpus:1;mem:512;ports:[1-2,5-9];disks:{a,b};cpus(role):2"


def test_the_language_is_read_as_written() -> None:
    resources = Resources.parse(EXPRESSION)
    assert resources.scalar("cpus") == 3000
    assert resources.scalar("mem") == 512_000
    reserved = Reservation(type=ReservationType.STATIC, role="role")
    assert resources.reserved("role").to_wire() == (
        Resource(name="cpus", type=ResourceType.SCALAR, scalar=2000, reservations=(reserved,)),
    )


def test_it_is_printed_sorted() -> None:
    assert str(Resources.parse(EXPRESSION)) == "cpus:1;cpus(role):2;disks:{a,b};mem:512;ports:[1-2,5-9]"


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("", ""),
        (" ; ;", ""),
        ("cpus:1;", "cpus:1"),
        (" cpus : 1.50 ; mem:64 ", "cpus:1.5;mem:64"),
        ("cpus:.5", "cpus:0.5"),
        ("cpus:1e3", "cpus:1000"),
        ("cpus:+2.", "cpus:2"),
        ("cpus:0.0005", "cpus:0.001"),
        ("cpus:1.0004", "cpus:1"),
        ("cpus:1;cpus:2", "cpus:3"),
        ("cpus(*):1", "cpus:1"),
        ("cpus(eng/web):1", "cpus(eng/web):1"),
        ("gpus:0;cpus:0", ""),
        ("ports:[]", ""),
        ("disks:{}", ""),
        ("ports:[ 7 - 8 , 4-6 ]", "ports:[4-8]"),
        ("ports:[1-2];ports:[2-3]", "ports:[1-3]"),
        ("disks:{b, a}", "disks:{a,b}"),
        ("nvidia.com/gpu:2", "nvidia.com/gpu:2"),
        ("disk:953674316406.25", "disk:953674316406.25"),
        ("x:1000000000000", "x:1000000000000"),
    ],
)
def test_reading_and_printing(written: str, printed: str) -> None:
    assert str(Resources.parse(written)) == printed
    assert Resources.parse(printed) == Resources.parse(written)


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("cpus", "write name:value"),
        ("cpus(eng:1", "write name:value"),
        (":1", "its name is empty"),
        ("a b:1", "space"),
        ("{a}:1", "control character or one of"),
        ("cpus:", "write a number"),
        ("cpus:one", "write a number like cpus:64"),
        ("mem:64MB", "write a number of MiB, without the unit"),
        ("cpus:nan", "write a number"),
        ("cpus:inf", "write a number"),
        ("cpus:-inf", "write a number"),
        ("cpus:1_000", "write a number"),
        ("cpus:٣", "write a number"),
        ("cpus:0x10", "write a number"),
        ("cpus:" + "9" * 41, "write a number"),
        ("cpus:-1", "is negative; write 0 or more"),
        ("cpus:-0.0001", "is negative"),
        ("cpus:0.0004", "rounds to 0; the smallest amount is 0.001"),
        ("cpus:1e-999", "rounds to 0"),
        ("cpus:1e999", "at most 1000000000000 is allowed"),
        ("cpus:1000000000000.001", "at most 1000000000000 is allowed"),
        ("mem:953674316407", "at most 953674316406.25 (MiB) is allowed"),
        ("gpus:1.5", "must be a whole number, not 1.5"),
        ("cpus():1", "the role of its reservation is empty"),
        ("cpus(a b):1", "white space"),
        ("cpus(a//b):1", "slash"),
        ("cpus(..):1", "component"),
        ("cpus:[1-2]", "must be SCALAR, not RANGES"),
        ("ports:1", "must be RANGES, not SCALAR"),
        ("x:1;x:{a}", "is SCALAR in one place and SET in another"),
        ("x:1;x(eng):{a}", "is SCALAR in one place and SET in another"),
        ("ports:[1]", "write begin-end"),
        ("ports:[1-]", "write begin-end"),
        ("ports:[-1-2]", "write begin-end"),
        ("ports:[1-18446744073709551616]", "write begin-end"),
        ("ports:[2-1]", "ends before it begins"),
        ("ports:[5-6,4-8]", "overlap"),
        ("ports:[4-8,5-6]", "overlap"),
        ("ports:[1-2", "write [...]"),
        ("ports:[", "write [...]"),
        ("ports:[1-2,]", "empty item"),
        ("ports:[[1-2]]", "write [...]"),
        ("disks:{a", "write {...}"),
        ("disks:{a,,b}", "empty item"),
        ("disks:{a,a}", "'a' twice"),
    ],
)
def test_a_mistake_is_named_and_the_right_form_told(written: str, advice: str) -> None:
    with pytest.raises(ResourceError) as caught:
        Resources.parse(f"mem:1;{written}")
    assert advice in str(caught.value)


def test_an_error_repeats_only_the_beginning_of_a_long_entry() -> None:
    with pytest.raises(ResourceError) as caught:
        Resources.parse("x" * 100_000)
    assert len(str(caught.value)) < 300
    with pytest.raises(ResourceError) as caught:
        Resources.parse("cpus:" + "9" * 100_000)
    assert len(str(caught.value)) < 300


def test_nothing_prints_as_nothing() -> None:
    assert str(EMPTY) == ""
    assert Resources.parse("") == EMPTY
