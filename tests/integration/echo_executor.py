"""An executor on the driver, for tests: does what a task's data says. Started as a program of its own.

"finish TEXT"   ends at once, with the text as data
"wait"          runs until it is killed
"deaf"          does not let itself be killed
"many N"        reports RUNNING so many times, then its end
"large N"       ends with N bytes of data
"raise"         raises in the callback
"message TEXT"  says the text to the scheduler, then ends
"""

import sys
from collections.abc import Sequence

from mesolite.executors import Executor, ExecutorDriver, State, Subscribed, Task


class Echo(Executor):
    """Obeys."""

    def __init__(self) -> None:
        self._deaf: set[str] = set()

    def subscribed(self, driver: ExecutorDriver, subscribed: Subscribed) -> None:
        driver.totals(succeeded=1, failed=0, active=0)

    def launch(self, driver: ExecutorDriver, tasks: Sequence[Task]) -> None:
        for task in tasks:
            word, _, rest = task.data.decode().partition(" ")
            self._obey(driver, task.task_id, word, rest)

    def _obey(self, driver: ExecutorDriver, task_id: str, word: str, rest: str) -> None:
        match word:
            case "finish":
                driver.update(task_id, State.FINISHED, data=rest.encode())
            case "wait":
                driver.update(task_id, State.RUNNING)
            case "deaf":
                self._deaf.add(task_id)
                driver.update(task_id, State.RUNNING)
            case "many":
                for number in range(int(rest)):
                    driver.update(task_id, State.RUNNING, f"{number}")
                driver.update(task_id, State.FINISHED)
            case "large":
                driver.update(task_id, State.FINISHED, data=b"x" * int(rest))
            case "message":
                driver.send_message(rest.encode())
                driver.update(task_id, State.FINISHED)
            case _:
                raise ValueError(f"no such order: {word!r}")

    def kill(self, driver: ExecutorDriver, task_id: str, grace_ms: int) -> None:
        if task_id not in self._deaf:
            driver.update(task_id, State.KILLED, f"{grace_ms}")

    def message(self, driver: ExecutorDriver, data: bytes) -> None:
        driver.send_message(data[::-1])


if __name__ == "__main__":
    sys.exit(ExecutorDriver(Echo()).run())
