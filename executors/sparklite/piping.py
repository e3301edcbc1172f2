"""`pipe`: items are lines for a command's input, and its output's lines are items."""

import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any


@dataclass(frozen=True, slots=True)
class Pipe:
    """One process for each partition.

    Raises (while it is iterated):
        FileNotFoundError: The worker has no such command.
        RuntimeError: The command ended with an error and `check_code` is set.
    """

    command: str
    env: dict[str, str]
    check_code: bool

    def __call__(self, partition: int, items: Iterator[Any]) -> Iterator[Any]:
        process = subprocess.Popen(
            shlex.split(self.command), env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = _Feeder(items, process.stdin)
        feeder.start()
        try:
            for line in process.stdout:
                yield line.rstrip(b"\n").decode("utf-8")
            feeder.join()
            if feeder.error is not None:
                raise feeder.error
            code = process.wait()
            if self.check_code and code:
                raise RuntimeError(f"Pipe function `{self.command}' exited with error code {code}")
        finally:
            # Whoever does not want all items (`take`) leaves a process behind that waits for input.
            process.kill()
            process.wait()
            feeder.join()
            process.stdout.close()


class _Feeder(threading.Thread):
    """Writes the items; beside it their output is read, or both sides would wait once the pipe is full."""

    def __init__(self, items: Iterator[Any], out: IO[bytes]) -> None:
        super().__init__(name="sparklite-pipe", daemon=True)
        self._items = items
        self._out = out
        #: What making the items raised.
        self.error: BaseException | None = None

    def run(self) -> None:
        """See `threading.Thread`."""
        try:
            for item in self._items:
                self._out.write((str(item).rstrip("\n") + "\n").encode("utf-8"))
        except BrokenPipeError:
            pass  # the command has read as much as it wants
        except BaseException as error:  # noqa: BLE001 - raised where the output is read
            self.error = error
        finally:
            self._close()

    def _close(self) -> None:
        with suppress(BrokenPipeError):
            self._out.close()
