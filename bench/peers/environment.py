"""Virtual environments for the peers, one for each set of requirements: they do not agree on versions of what they share.

They lie in `.venv-peers/` and are made when first needed; `make clean` removes them. Whoever wants newer peers removes them, too.
"""

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / ".venv-peers"
#: The largest of them has 260 MB to fetch and unpack.
INSTALL_TIMEOUT_S: Final = 600
#: What fits on a line of notes.
MAX_REASON_CHARACTERS: Final = 200


class PeerMissing(Exception):
    """A peer cannot be installed, started or asked; the message says why."""


def interpreter(requirements: tuple[str, ...]) -> Path:
    """Return a Python that has these installed: the running one for none.

    Raises:
        PeerMissing: They cannot be installed.
    """
    if not requirements:
        return Path(sys.executable)
    FOLDER.mkdir(exist_ok=True)
    home = FOLDER / requirements[0].partition("[")[0]
    # Two benchmarks at once: the second waits, and finds its work done.
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = home / "installed"
        wanted = f"{sys.version}\n{' '.join(requirements)}\n"
        if not stamp.exists() or stamp.read_text() != wanted:
            print(f"  installing {' '.join(requirements)}", file=sys.stderr, flush=True)
            _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home)])
            _install(home, requirements)
            stamp.write_text(wanted)
    return home / "bin" / "python"


def _install(home: Path, requirements: tuple[str, ...]) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    options = ["-qq", "--prefer-binary", "--disable-pip-version-check", "--retries", "1"]
    _run([*pip, *options, *requirements])


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise PeerMissing(f"not installed within {INSTALL_TIMEOUT_S} s") from None
    except subprocess.CalledProcessError as failed:
        said = [line for line in failed.stderr.splitlines() if "ERROR" in line.upper()] or [str(failed)]
        raise PeerMissing(f"not installed: {said[-1].strip()[:MAX_REASON_CHARACTERS]}") from None
