"""Makes .venv and installs the project into it; called by scripts/venv with a Python that can.

The Makefile calls it when pyproject.toml is newer than the stamp that it leaves. Two at once are safe: the second waits
for the first and then finds its work done. An environment whose interpreter is gone or is too old is made anew.
"""

import fcntl
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
#: Shorter is noise; longer, and people think that it hangs.
SIGN_OF_LIFE_SECONDS = 20
USABLE = "import sys; sys.exit(sys.version_info < (3, 11))"


def main(extra: str) -> int:
    """Bring .venv up to date for `extra`, "" or "dev"; return the exit status."""
    with (ROOT / "pyproject.toml").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return bring_up_to_date(extra)


def bring_up_to_date(extra: str) -> int:
    """`main`, with the lock held."""
    if is_fresh(extra):
        return 0
    if not is_usable():
        say(f"making .venv with Python {sys.version_info.major}.{sys.version_info.minor}")
        venv.create(VENV, clear=True, with_pip=True)
    say("installing what pyproject.toml asks for into .venv (a minute the first time)")
    what = f"{ROOT}[{extra}]" if extra else str(ROOT)
    # Twice quiet: errors alone. Warnings about the machine's own package sources would bury them.
    command = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--editable", what]
    status = run_with_signs_of_life(command)
    if status:
        say("the installation failed; pip's words are above")
        return status
    for name in stamps(extra):
        (VENV / name).touch()
    return 0


def run_with_signs_of_life(command: list[str]) -> int:
    """Run a command that says nothing, and say now and then that it has not stopped; return its exit status."""
    started = time.monotonic()
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait(timeout=SIGN_OF_LIFE_SECONDS)
        except subprocess.TimeoutExpired:
            say(f"still installing ({time.monotonic() - started:.0f} s)")


def stamps(extra: str) -> tuple[str, ...]:
    """The stamps that an installation with `extra` earns: whoever has the tools has what they check."""
    return (".installed", ".installed-dev") if extra else (".installed",)


def is_fresh(extra: str) -> bool:
    """Whether the last installation with `extra` is newer than what it was made from."""
    stamp = VENV / stamps(extra)[-1]
    if not stamp.exists() or not is_usable():
        return False
    return stamp.stat().st_mtime_ns >= (ROOT / "pyproject.toml").stat().st_mtime_ns


def is_usable() -> bool:
    """Whether .venv has an interpreter that runs and is new enough."""
    if not os.access(PYTHON, os.X_OK):
        return False
    return subprocess.call([str(PYTHON), "-c", USABLE], stderr=subprocess.DEVNULL) == 0


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"mesolite: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
