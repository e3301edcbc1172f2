"""Runs small programs given as text, and says what each answers; a process of its own, for PYTHONHASHSEED.

In: a JSON list of expressions. Out: a JSON list of `repr`s, or of `Type: first line` where one raises.
"""

import json
import sys
from operator import add
from typing import Any

from mesolite.frameworks.sparklite import SparkContext
from tests.sparklite_parts import lists, parts


def names(sc: SparkContext) -> dict[str, Any]:
    """What programs can use."""
    words = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "the", "cat"]
    tables = {
        "ints": (range(20), 4),
        "nums": ([(number % 3, number) for number in range(12)], 4),
        "pairs": ([("a", 1), ("b", 2), ("a", 3), (None, 4), ("c", 5), ("b", 6)], 3),
        "texts": ([(len(word), word) for word in words], 3),
        "left": ([("a", 1), ("b", 2), ("a", 3), (None, 4), ("c", 5)], 2),
        "right": ([("a", 10), ("b", 20), ("d", 30), (None, 40), ("a", 50), ("d", 60)], 3),
    }
    rdds = {name: sc.parallelize(items, partitions) for name, (items, partitions) in tables.items()}
    return {
        "sc": sc,
        "P": sc.parallelize,
        "add": add,
        "sys": sys,
        "words": words,
        "parts": parts,
        "lists": lists,
        **rdds,
    }


def answer(program: str, known: dict[str, Any]) -> str:
    """What it answers, or which error it raises."""
    try:
        return repr(eval(program, known))
    except (ValueError, TypeError, AssertionError, ArithmeticError, LookupError, AttributeError) as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def main() -> None:
    """Answer all."""
    with SparkContext("local[2]") as sc:
        known = names(sc)
        json.dump([answer(program, known) for program in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
