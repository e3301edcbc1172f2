r"""Reading files: which partition has which line, for all line ends and any number of pieces, is what Spark 4 answers."""

import bz2
import gzip
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mesolite.executors.sparklite import files as worker_files
from mesolite.executors.sparklite import lines as worker_lines
from mesolite.executors.sparklite.files import FilePiece
from mesolite.executors.sparklite.lines import ReadLines
from mesolite.frameworks.sparklite import RDD, SparkContext
from mesolite.frameworks.sparklite.errors import SparkError
from mesolite.frameworks.sparklite.input_files import (
    BLOCK_BYTES,
    InputFile,
    InputMissing,
    binaries_together,
    files_of,
    pieces_of,
    records_of,
    texts_together,
)

TEXTS = {
    "lf": b"a\nbb\n\nccc\ndddd",
    "crlf": b"a\r\nbb\r\n\r\nccc\r\n",
    "cr": b"a\rbb\rccc\r\rd",
    "mix": b"a\r\r\nb\n\rc",
    "bom": b"\xef\xbb\xbfhello\nworld\n",
    "bad": b"a\xff\xfeb\nc\xc3\n",
    "empty": b"",
    "unicode": "a\u2028b\x0bc\x0cd\x85e\nf\n".encode(),
    "ends": b"\n\n\n",
}

ANSWERS: dict[tuple[str, int], list[list[str]]] = {
    ("lf", 1): [["a", "bb", "", "ccc", "dddd"]],
    ("lf", 2): [["a", "bb", "", "ccc"], ["dddd"]],
    ("lf", 3): [["a", "bb"], ["", "ccc"], ["dddd"], []],
    ("lf", 5): [["a", "bb"], [], ["", "ccc"], [], ["dddd"], [], []],
    ("crlf", 1): [["a", "bb", "", "ccc"]],
    ("crlf", 2): [["a", "bb", ""], ["ccc"]],
    ("crlf", 3): [["a", "bb"], [""], ["ccc"], []],
    ("crlf", 5): [["a"], ["bb"], [], [""], ["ccc"], [], []],
    ("cr", 1): [["a", "bb", "ccc", "", "d"]],
    ("cr", 2): [["a", "bb", "ccc"], ["", "d"], []],
    ("cr", 3): [["a", "bb"], ["ccc"], [""], ["d"]],
    ("cr", 5): [["a", "bb"], [], ["ccc"], [], ["", "d"], []],
    ("mix", 1): [["a", "", "b", "", "c"]],
    ("mix", 2): [["a", "", "b"], ["", "c"]],
    ("mix", 3): [["a", ""], ["b"], [""], ["c"]],
    ("mix", 5): [["a"], [""], [], ["b"], [], [""], ["c"], []],
    ("bom", 1): [["hello", "world"]],
    ("bom", 2): [["hello"], ["world"], []],
    ("bom", 5): [["hello"], [], ["world"], [], []],
    ("bad", 1): [["a\ufffd\ufffdb", "c\ufffd"]],
    ("bad", 2): [["a\ufffd\ufffdb"], ["c\ufffd"]],
    ("bad", 3): [["a\ufffd\ufffdb"], [], ["c\ufffd"], []],
    ("empty", 1): [],
    ("empty", 5): [],
    ("unicode", 1): [["a\u2028b\x0bc\x0cd\x85e", "f"]],
    ("unicode", 2): [["a\u2028b\x0bc\x0cd\x85e"], ["f"], []],
    ("unicode", 3): [["a\u2028b\x0bc\x0cd\x85e"], [], ["f"]],
    ("ends", 1): [["", "", ""]],
    ("ends", 2): [["", ""], [""], []],
    ("ends", 3): [["", ""], [""], []],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five files of lines, and some that are not read."""
    for number in range(5):
        (tmp_path / f"f{number}.txt").write_text(f"f{number} " * (number + 1) + "\n" * 3)
    for name in ("_hidden", ".hidden"):
        (tmp_path / name).write_text("hidden\n")
    (tmp_path / "empty").touch()
    return tmp_path


@pytest.mark.parametrize(("name", "partitions"), list(ANSWERS))
def test_lines_are_where_spark_has_them(sc: SparkContext, tmp_path: Path, name: str, partitions: int) -> None:
    path = tmp_path / name
    path.write_bytes(TEXTS[name])
    assert sc.textFile(str(path), partitions).glom().collect() == ANSWERS[name, partitions]


def test_lines_are_spread_as_hadoop_cuts_them(sc: SparkContext, tmp_path: Path) -> None:
    path = tmp_path / "hundred"
    path.write_text("".join(f"{number}\n" for number in range(100)))
    assert sc.textFile(str(path)).getNumPartitions() == 2
    assert sc.textFile(str(path), 4).glom().map(len).collect() == [28, 24, 24, 24]
    begins = sc.textFile(str(path), 7).glom().map(lambda lines: (len(lines), lines[0])).collect()
    assert begins == [(18, "0"), (13, "18"), (14, "31"), (14, "45"), (13, "59"), (14, "72"), (14, "86")]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet="ab\r\n\u2028é", max_size=60).map(str.encode),
    cuts=st.lists(st.integers(0, 80), max_size=6),
    piece_bytes=st.integers(1, 9),
)
@example(text=b"a\r\nb", cuts=[2], piece_bytes=1)
@example(text=b"a\r", cuts=[2], piece_bytes=2)
def test_however_a_file_is_cut_each_line_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, cuts: list[int], piece_bytes: int
) -> None:
    """Goal: no line lost, none twice. Method: any cuts, and reads of a few bytes so that all borders are met."""
    path = tmp_path / "text"
    path.write_bytes(text)
    monkeypatch.setattr(worker_lines, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(worker_files, "PIECE_BYTES", piece_bytes)
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [FilePiece(str(path), begin, end) for begin, end in pairwise(borders)]
    assert [line for piece in pieces for line in ReadLines(False)(piece)] == text.splitlines()
    decoded = [line.decode() for line in text.splitlines()]
    assert [line for piece in pieces for line in ReadLines(True)(piece)] == decoded


def test_lines_can_stay_bytes(sc: SparkContext, tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"a\xff\r\nb")
    rdd: RDD[Any] = sc.textFile(str(path), 1, use_unicode=False)
    assert rdd.collect() == [b"a\xff", b"b"]


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".gz", gzip.compress(b"x\ny\r\nz\n") + gzip.compress(b"second\n")),
        (".bz2", bz2.compress(b"x\ny\r\nz\n") + bz2.compress(b"second\n")),
        (".deflate", zlib.compress(b"x\ny\r\nz\nsecond\n")),
    ],
    # What gzip writes has the time in it, and so would the test's name.
    ids=["gz", "bz2", "deflate"],
)
def test_compressed_files_are_one_partition(sc: SparkContext, tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(data)
    assert sc.textFile(str(path), 5).glom().collect() == [["x", "y", "z", "second"]]
    assert sc.wholeTextFiles(str(path)).values().collect() == ["x\ny\r\nz\nsecond\n"]
    assert sc.binaryFiles(str(path)).values().collect() == [data]


# Which files


def test_directories_have_their_files_in_order_of_names_without_hidden_ones(folder: Path) -> None:
    assert [Path(file.path).name for file in files_of(str(folder))] == [
        "empty",
        *(f"f{number}.txt" for number in range(5)),
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("f*", ["f0.txt", "f1.txt", "f2.txt", "f3.txt", "f4.txt"]),
        ("f[0-2].txt", ["f0.txt", "f1.txt", "f2.txt"]),
        ("f[^0-2].txt", ["f3.txt", "f4.txt"]),
        ("f{1,3}.txt", ["f1.txt", "f3.txt"]),
        ("{f{1,3}.*,e*}", ["empty", "f1.txt", "f3.txt"]),
        ("f?.txt,{folder}/empty", ["f0.txt", "f1.txt", "f2.txt", "f3.txt", "f4.txt", "empty"]),
        ("f3.txt,{folder}/f1.txt", ["f3.txt", "f1.txt"]),
        ("f{4,0}.txt,{folder}/f1.txt", ["f0.txt", "f4.txt", "f1.txt"]),
    ],
)
def test_patterns_and_lists_name_files(folder: Path, pattern: str, names: list[str]) -> None:
    found = files_of(f"{folder}/{pattern.replace('{folder}', str(folder))}")
    assert [Path(file.path).name for file in found] == names


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "{}"])
def test_addresses_of_local_files_are_read(sc: SparkContext, folder: Path, form: str) -> None:
    rdd = sc.textFile(form.format(folder / "f1.txt"))
    assert rdd.count() == 3
    assert rdd.name() == form.format(folder / "f1.txt")


def test_relative_paths_are_the_drivers(sc: SparkContext, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    rdd = sc.textFile("f0.txt")
    monkeypatch.chdir("/")
    assert rdd.first() == "f0 "


@pytest.mark.parametrize("address", ["hdfs://host/a", "s3a://bucket/a", "http://host/a"])
def test_other_stores_are_refused_with_what_to_do_instead(sc: SparkContext, address: str) -> None:
    with pytest.raises(SparkError, match="reads and writes local files and mounted volumes"):
        sc.textFile(address).count()


def test_what_is_missing_is_an_error_of_the_action(sc: SparkContext, tmp_path: Path) -> None:
    lines = sc.textFile(f"{tmp_path}/none").map(len).filter(bool)
    with pytest.raises(InputMissing, match=f"^Input path does not exist: file:{tmp_path}/none$"):
        lines.collect()
    with pytest.raises(InputMissing, match=r"^Input Pattern file:.*/none\* matches 0 files$"):
        sc.textFile(f"{tmp_path}/none*").first()


@pytest.mark.parametrize(
    "action", ["collect", "count", "first", "isEmpty", "getNumPartitions", "sortBy", "union", "key"]
)
def test_all_that_needs_a_missing_input_says_so(sc: SparkContext, tmp_path: Path, action: str) -> None:
    rdd = sc.textFile(f"{tmp_path}/none")
    actions: dict[str, Any] = {
        "sortBy": lambda: rdd.sortBy(len).collect(),
        "union": lambda: sc.parallelize(["a"]).union(rdd).collect(),
        "key": lambda: rdd.keyBy(len).reduceByKey(max, 3).collect(),
    }
    with pytest.raises(InputMissing):
        actions.get(action, lambda: getattr(rdd, action)())()


@pytest.mark.parametrize("name", ["_hidden", ".hidden", "*hidden"])
def test_hidden_files_are_not_there(folder: Path, name: str) -> None:
    with pytest.raises(InputMissing):
        files_of(f"{folder}/{name}")


def test_directories_in_directories_are_refused_for_lines_and_left_out_for_whole_files(
    sc: SparkContext, folder: Path
) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "y.txt").write_text("y\n")
    with pytest.raises(SparkError, match="is a directory inside a directory"):
        sc.textFile(str(folder)).collect()
    assert sc.wholeTextFiles(str(folder)).count() == 6
    assert sc.textFile(f"{folder}/s*").collect() == ["y"]


def test_a_file_that_is_gone_when_the_task_reads_it_is_named(sc: SparkContext, folder: Path) -> None:
    rdd = sc.textFile(str(folder / "f0.txt"))
    (folder / "f0.txt").unlink()
    with pytest.raises(
        Exception, match=r"the input file .*f0\.txt is not there\. It is gone, or this worker cannot see it"
    ):
        rdd.count()


# How files are parted


def test_large_files_are_cut_at_blocks_and_the_last_piece_may_be_a_little_larger() -> None:
    file = InputFile("a", 3 * BLOCK_BYTES + BLOCK_BYTES // 20)
    assert [(piece.start, piece.end) for piece in pieces_of([file], 1)] == [
        (0, BLOCK_BYTES),
        (BLOCK_BYTES, 2 * BLOCK_BYTES),
        (2 * BLOCK_BYTES, file.size_bytes),
    ]


@pytest.mark.parametrize(
    ("wanted", "groups"),
    [
        (1, [["f4", "f1", "f0", "f2", "B", "f3", "a"], ["empty"]]),
        (2, [["f4", "f1", "f0"], ["f2", "empty", "B", "f3", "a"]]),
        (3, [["f4", "f1"], ["f0", "f2", "B", "f3"], ["empty", "a"]]),
        (4, [["f4"], ["f1", "f0", "f2"], ["B", "f3"], ["empty", "a"]]),
        (10, [["f4"], ["f1"], ["f0", "f2"], ["B", "f3"], ["empty", "a"]]),
    ],
)
def test_whole_files_go_together_as_sparks_do(wanted: int, groups: list[list[str]]) -> None:
    """The order is that in which Spark's file system listed them."""
    sizes = {"f4": 48, "f1": 21, "f0": 12, "f2": 30, "empty": 0, "B": 2, "f3": 39, "a": 3}
    files = [InputFile(name, size) for name, size in sizes.items()]
    assert [list(group) for group in texts_together(files, wanted)] == groups
    assert [list(group) for group in binaries_together(files, wanted)] == [list(sizes)]


def test_whole_files_come_with_their_addresses(sc: SparkContext, folder: Path) -> None:
    texts = dict(sc.wholeTextFiles(str(folder)).collect())
    assert texts[f"file:{folder}/f1.txt"] == "f1 f1 \n\n\n"
    assert texts[f"file:{folder}/empty"] == ""
    assert dict(sc.binaryFiles(str(folder)).collect()) == {path: text.encode() for path, text in texts.items()}
    undecoded: RDD[Any] = sc.wholeTextFiles(f"{folder}/f0.txt", use_unicode=False)
    assert undecoded.collect() == [(f"file:{folder}/f0.txt".encode(), b"f0 \n\n\n")]


def test_records_have_one_length(sc: SparkContext, tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(b"aabbccdd")
    assert sc.binaryRecords(str(path), 2).glom().collect() == [[b"aa", b"bb", b"cc", b"dd"]]
    with pytest.raises(Exception, match="is no file of records of 3 bytes: the one at byte 6 has 2"):
        sc.binaryRecords(str(path), 3).collect()
    with pytest.raises(ValueError, match="at least one byte"):
        sc.binaryRecords(str(path), 0)
    pieces = records_of([InputFile("a", 3 * BLOCK_BYTES)], 7)
    assert all(piece.start % 7 == 0 for piece in pieces)
    assert [piece.end for piece in pieces[:-1]] == [piece.start for piece in pieces[1:]]
