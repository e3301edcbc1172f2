"""The examples, each against the same in plain Python, on fewer modules than when they are started by hand."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesolite.frameworks.examples.sparklite import (
    inverted_index,
    join_tables,
    k_means,
    log_analysis,
    page_rank,
    tf_idf,
    word_count,
)
from mesolite.frameworks.examples.sparklite.source_text import source_files
from mesolite.frameworks.sparklite import SparkContext

MODULES = 80


@pytest.fixture(scope="module")
def sc() -> Iterator[SparkContext]:
    with SparkContext("local[2]", "examples") as context:
        yield context


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    return source_files(MODULES)


@pytest.mark.parametrize(
    ("program", "plain"),
    [
        (word_count.word_count, word_count.plain_word_count),
        (inverted_index.inverted_index, inverted_index.plain_inverted_index),
        (page_rank.page_rank, page_rank.plain_page_rank),
        (k_means.k_means, k_means.plain_k_means),
        (tf_idf.tf_idf, tf_idf.plain_tf_idf),
        (join_tables.join_tables, join_tables.plain_join),
    ],
)
def test_an_example_has_the_answer_of_plain_python(
    sc: SparkContext, texts: list[tuple[str, str]], program: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    answer = program(sc, texts)
    assert answer
    assert answer == plain(texts)


def test_the_log_has_the_answer_of_plain_python_and_its_strange_lines_are_counted(sc: SparkContext) -> None:
    lines = [*log_analysis.log_lines()[:2_000], "no event at all", ""]
    strange, days = log_analysis.log_analysis(sc, lines)
    assert days
    assert strange >= 2
    assert (strange, days) == log_analysis.plain_log_analysis(lines)
