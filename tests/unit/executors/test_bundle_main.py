"""What a bundle begins with is read by any Python, and ends by a code of its own under one that cannot run the rest."""

import ast
import subprocess
import sys
from pathlib import PurePosixPath

from mesolite.agent.bundle import bundle_files
from mesolite.executors.python.settings import EXIT_OLD_PYTHON

MAIN = bundle_files()[PurePosixPath("__main__.py")].decode()


def test_an_old_python_can_read_it() -> None:
    """As old as this interpreter's parser knows; and nothing in it that Python 2 reads otherwise."""
    tree = ast.parse(MAIN, feature_version=(3, 4))
    assert not any(isinstance(node, ast.JoinedStr | ast.AnnAssign) for node in ast.walk(tree))
    assert MAIN.isascii()


def test_an_old_python_says_what_it_is_and_ends_before_anything_is_imported() -> None:
    program = f"import sys; sys.version_info = (2, 7, 18); exec({MAIN!r})"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (EXIT_OLD_PYTHON, "")
    assert ran.stderr == "this container has Python 2.7; the executor needs 3.11 or newer\n"
