"""A directory of results: it appears with the marker `_SUCCESS` when all of it is there, and not at all if the job fails."""

import shutil
from collections.abc import Callable
from pathlib import Path

from mesolite.executors.sparklite.saving import TEMPORARY

from .errors import SparkError


def saved_in(path: str, run: Callable[[], list[str]]) -> list[str]:
    """Run a job whose tasks write files into a directory, and return their names.

    Args:
        path: The directory, absolute; made here.
        run: The job. Its tasks write into the directory `_temporary` there (`executors/sparklite/saving.py`).

    Raises:
        SparkError: The directory is there already.
        Exception: What the job raised; nothing is left behind then.
    """
    directory = Path(path)
    if directory.exists():
        raise SparkError(f"Output directory file:{path} already exists: choose another, or remove it first")
    temporary = directory / TEMPORARY
    temporary.mkdir(parents=True)
    # Workers may be another user than the driver: agents do not run tasks as root. As in /tmp, each file stays its writer's.
    temporary.chmod(0o1777)
    try:
        names = run()
        for name in names:
            (temporary / name).replace(directory / name)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    shutil.rmtree(temporary, ignore_errors=True)
    (directory / "_SUCCESS").touch()
    return names
