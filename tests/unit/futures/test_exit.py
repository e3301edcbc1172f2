"""What becomes of calls when the interpreter exits, as programs see it: in a process of its own."""

import subprocess
import sys

BEGINNING = """
import threading, time
from mesolite.frameworks.futures import Executor, InProcessPool
def work(text):
    threading.Event().wait(0.2)
    return text
executor = Executor(backend=lambda listener: InProcessPool(1))
"""


def output_of(program: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", BEGINNING + program], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def test_what_was_submitted_is_done_before_the_interpreter_exits() -> None:
    program = """
for text in "abc":
    executor.submit(work, text).add_done_callback(lambda future: print(future.result(), flush=True))
"""
    assert output_of(program) == "a\nb\nc\n"


def test_nothing_is_taken_any_more_then() -> None:
    program = """
def more(future):
    try:
        executor.submit(work, "late")
    except RuntimeError as error:
        print(error, flush=True)
executor.submit(work, "early").add_done_callback(more)
"""
    assert output_of(program) == "cannot schedule new futures after interpreter shutdown\n"


def test_an_executor_that_was_shut_down_keeps_nothing_waiting() -> None:
    assert output_of("executor.shutdown(); print('done')") == "done\n"
