"""The one function of all tasks, as pools tell it apart."""

from mesolite.frameworks.celery.task_function import ENTRY, MAX_TASK_NAMES, FunctionsByTask


def test_the_function_of_each_task_is_learnt_of_by_itself_and_is_the_same_code() -> None:
    functions = FunctionsByTask(ENTRY)

    long, short = functions.of("proj.report"), functions.of("proj.ping")

    assert long.digest != short.digest
    assert long.pickled == short.pickled == ENTRY.pickled
    assert functions.of("proj.report") is long


def test_producers_who_make_up_names_fill_no_memory() -> None:
    functions = FunctionsByTask(ENTRY)
    first = functions.of("0")
    for number in range(MAX_TASK_NAMES):
        functions.of(str(number))

    assert functions.of("0") is first
    functions.of("one more")
    assert functions.of("0") == first, "made anew, and the same"
    assert functions.of("0") is not first
