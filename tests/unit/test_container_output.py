"""Output files and the frames that fill them: nothing lost, nothing doubled, never unbounded."""

import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesolite.agent.containerizer.docker_output import FrameParser
from mesolite.agent.containerizer.output import OutputFile, bound_in_place, open_output
from mesolite.agent.containerizer.policy import User

ME: Final = User(os.geteuid(), os.getegid())


def make(tmp_path: Path, max_bytes: int = 10) -> OutputFile:
    sandbox = tmp_path / "sandbox"
    sandbox.mkdir(exist_ok=True)
    return OutputFile(sandbox, "stdout", user=ME, max_bytes=max_bytes, records=tmp_path / "records")


def kept(tmp_path: Path) -> bytes:
    rotated = tmp_path / "sandbox" / "stdout.1"
    older = rotated.read_bytes() if rotated.exists() else b""
    return older + (tmp_path / "sandbox" / "stdout").read_bytes()


@given(
    st.lists(st.lists(st.binary(max_size=25), max_size=6), min_size=1, max_size=5),
    st.integers(1, 12),
)
def test_over_any_lives_the_newest_bytes_are_kept_and_all_are_counted(
    tmp_path_factory: pytest.TempPathFactory, lives: list[list[bytes]], max_bytes: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("output")
    everything = b""
    for appends in lives:
        file = make(tmp_path, max_bytes)
        for data in appends:
            file.append(data)
            everything += data
        assert file.written_bytes == len(everything)
        file.close()
    found = kept(tmp_path)
    assert everything.endswith(found)
    assert len(found) >= min(len(everything), max_bytes)
    assert len(found) <= 2 * max_bytes


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_rotation_cut_short_is_finished_by_the_next_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Goal: a crash at any point of a rotation neither loses count nor bytes.

    Method: the rotation's renames (the record's, the old file's, the new file's) fail from a given one on.
    """
    rename, done = Path.rename, 0

    def limited(self: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            raise OSError("crash")
        done += 1
        return rename(self, target)

    file = make(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", limited)
        file.append(b"0123456789")
    file.close()
    later = make(tmp_path)
    assert later.written_bytes == 10
    later.append(b"abc")
    later.close()
    assert kept(tmp_path) == b"0123456789abc"


def test_the_tail_is_the_end_of_the_current_file(tmp_path: Path) -> None:
    file = make(tmp_path, 100)
    file.append(b"hello world")
    assert (file.tail(5), file.tail(1000)) == (b"world", b"hello world")
    file.close()


def test_a_full_disk_loses_output_and_counts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make(tmp_path, 100)
    file.append(b"kept")

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        file.append(b"lost")
    file.append(b" again")
    assert (file.lost_bytes, file.written_bytes) == (4, 10)
    file.close()
    assert kept(tmp_path) == b"kept again"


@pytest.mark.parametrize("trap", ["symlink", "hardlink", "fifo", "folder"])
def test_an_output_name_that_the_task_has_turned_into_a_trap_is_replaced(tmp_path: Path, trap: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    path = tmp_path / "sandbox" / "stdout"
    path.parent.mkdir()
    match trap:
        case "symlink":
            path.symlink_to(victim)
        case "hardlink":
            path.hardlink_to(victim)
        case "fifo":
            os.mkfifo(path)
        case _:
            path.mkdir()
    file = make(tmp_path, 100)
    file.append(b"output")
    file.close()
    assert victim.read_text() == "untouched"
    assert path.read_text() == "output"


@pytest.mark.parametrize(("size", "expected"), [(9, (9, None)), (10, (0, 10)), (25, (0, 10))])
def test_a_file_that_its_writer_holds_open_is_bounded_in_place(
    tmp_path: Path, size: int, expected: tuple[int, int | None]
) -> None:
    path = tmp_path / "stdout"
    descriptor = open_output(path, ME)
    os.write(descriptor, bytes(range(size)))
    bound_in_place(descriptor, path, ME, 10)
    rotated = tmp_path / "stdout.1"
    assert (path.stat().st_size, rotated.stat().st_size if rotated.exists() else None) == expected
    if rotated.exists():
        assert rotated.read_bytes() == bytes(range(size))[-10:]
    os.write(descriptor, b"on")
    assert path.read_bytes().endswith(b"on")
    os.close(descriptor)


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=10),
    st.lists(st.integers(1, 30), min_size=1, max_size=20),
)
def test_frames_come_out_whole_however_they_are_cut(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    wire = b"".join(bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for stream, data in frames)
    parser = FrameParser()
    found = {1: b"", 2: b""}
    position = 0
    while position < len(wire):
        size = cuts[position % len(cuts)]
        for stream, part in parser.feed(wire[position : position + size]):
            found[stream] += part
        position += size
    assert found == {stream: b"".join(data for of, data in frames if of == stream) for stream in (1, 2)}
