"""Inside a container: one call that hoards memory until somebody ends it, among calls that do not; prints how they ended.

python hoarding_program.py BUNDLE BYTES_PER_WORKER
"""

import importlib
import pickle
import sys
from pathlib import Path
from typing import Any


def hoard() -> None:
    """Take memory, and use it."""
    hoarded: list[bytes] = []
    while True:
        hoarded.append(b"x" * (8 * 1024 * 1024))


def main(bundle: str, bytes_per_worker: str) -> None:
    """Run the calls."""
    sys.path.insert(0, bundle)
    cloudpickle = importlib.import_module("cloudpickle")
    calls, limits, loops, runners, zygotes = (
        importlib.import_module(f"mesolite_executors.{name}")
        for name in ("python.calls", "python.limits", "driver.loop", "python.runner", "python.zygote")
    )
    bounds = limits.Limits(1 << 20, 1 << 20)
    sandbox = Path("/tmp/sandbox")
    sandbox.mkdir()
    zygote, loop = zygotes.fork_zygote(sandbox), loops.Loop()
    runner = runners.Runner(loop, zygote, sandbox, bounds, mem_bytes_per_worker=int(bytes_per_worker))
    runner.resize(2)
    ends: dict[str, str] = {}

    def done(call: Any, outcome: Any) -> None:
        ends[call.key] = f"{call.key} {outcome.end.name} {outcome.limit_bytes} {outcome.message}"
        if len(ends) == 21:
            loop.stop()

    function = calls.Function(b"h" * 16, cloudpickle.dumps(hoard))
    neighbour = calls.Function(b"n" * 16, cloudpickle.dumps(abs))
    runner.submit([calls.Call("hoard", function, pickle.dumps(((), {})), done)])
    runner.submit([calls.Call(f"n{number}", neighbour, pickle.dumps(((-1,), {})), done) for number in range(20)])
    loop.run()
    runner.close()
    sys.stdout.write("".join(f"{end}\n" for end in ends.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
