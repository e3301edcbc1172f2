"""An executor of one's own in thirty lines: counts the words of each task's data, several at a time in one container.

Its command, in a container whose image has mesolite: `python -m mesolite.frameworks.examples.word_count`
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from mesolite.executors import Executor, ExecutorDriver, State, Task


class WordCount(Executor):
    """Answers each task with the number of its words."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=4)

    def launch(self, driver: ExecutorDriver, tasks: Sequence[Task]) -> None:
        for task in tasks:
            driver.update(task.task_id, State.RUNNING)
            self._threads.submit(self._count, driver, task)

    def _count(self, driver: ExecutorDriver, task: Task) -> None:
        words = str(len(task.data.split())).encode()
        # This is another thread; the driver is spoken to on its own.
        driver.post(lambda: driver.update(task.task_id, State.FINISHED, data=words))

    def kill(self, driver: ExecutorDriver, task_id: str, grace_ms: int) -> None:
        # What its thread still finds out is not taken any more: nothing follows an end.
        driver.update(task_id, State.KILLED)


if __name__ == "__main__":
    sys.exit(ExecutorDriver(WordCount()).run())
