"""The house rules that a program can check (CONTRIBUTING.md). Each exception stands in a table here, with its reason."""

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from mesolite.cli.root import COMMANDS
from tests.source_tree import ROOT, all_python_files, imports_of, listed, package_modules

MAX_FILE_LINES: Final = 500
MAX_FUNCTION_LINES: Final = 70

#: Where `except Exception` stands, and why nothing narrower will do.
BROAD_EXCEPTS: Final[dict[str, str]] = {
    "agent/shell.py": "what ends a pass on the thread of the reader ends the agent on its own",
    "executors/celery/application.py": "imports code of users; each task is told",
    "executors/celery/entry.py": "code of users runs when a worker begins; each task is told",
    "executors/celery/worker_process.py": "what the tracer lets through of a task's is the dispatcher's to judge",
    "executors/celery/raising.py": "pickling runs the code of whatever is pickled; the texts travel in its place",
    "executors/python/explain.py": "pickling runs the code of whatever is pickled; it is asked what fails",
    "executors/python/preload.py": "imports code of users; their first call is told",
    "executors/python/worker.py": "what a call raises, whatever it is, is its own end",
    "executors/sparklite/pickling.py": "pickling runs the code of whatever is pickled; cloudpickle says what fails",
    "executors/sparklite/piping.py": "what making a pipe's items raises in its thread is raised where the output is read",
    "executors/sparklite/stage_runner.py": "unpickling runs the code of whatever is unpickled; the driver is told",
    "executors/sparklite/task.py": "a fetch that failed counts, whatever the user's function has made of it",
    "frameworks/celery/pool.py": "what Celery does at a task's end asks code of users; the dispatcher goes on",
    "frameworks/celery/flower_answers.py": "handlers of Celery's, with what people typed",
    "frameworks/celery/raised.py": "unpickling runs the code of whatever is unpickled; a likeness takes its place",
    "frameworks/celery/task_function.py": "pickling runs the code of whatever is pickled; the call ends with it",
    "frameworks/futures/executor.py": "pickling runs the code of whatever is pickled; the future raises it",
    "frameworks/futures/in_process.py": "what a call raises, whatever it is, is its outcome",
    "frameworks/futures/outcomes.py": "unpickling runs the code of whatever is unpickled; the future raises it",
    "frameworks/futures/remote.py": "whatever an initializer raises breaks the pool, and is said so",
    "frameworks/futures/session.py": "what a call raises, whatever it is, is its future's to raise",
    "frameworks/sparklite/announcements.py": "whoever looks on must not end what it looks at; it is logged",
    "frameworks/sparklite/dag_shell.py": "describing an input runs code of the user's; the job fails with it",
    "frameworks/sparklite/local_executor.py": "what a task raises, whatever it is, is its own end",
    "frameworks/sparklite/task_endings.py": "unpickling runs the code of whatever is unpickled; the job fails with it",
    "frameworks/sparklite/broadcasts.py": "pickling runs the code of whatever is pickled; the caller is told",
    "frameworks/sparklite/shared_data.py": "what adds is a param of the user's; it is logged, and other jobs go on",
    "frameworks/sparklite/stage_function.py": "pickling runs the code of whatever is pickled; the caller is told",
    "frameworks/celery_workers/application.py": "loading an application runs code of the user's; the caller is told",
    "frameworks/driver/shell.py": "a thread has nobody to raise to; `join` raises it",
    "mesolite/cli/celery_workers.py": "a thread has nobody to raise to; the command raises it",
    "tests/simulation/stoppable.py": "a process of the simulated cluster ends in a thread; whoever waits for it raises it",
}

#: Where tests may sleep. One place polls for all the others, and gives up at a deadline.
SLEEPS: Final[dict[str, str]] = {}

#: Modules that no module of the package imports, because something else starts them.
STARTED_FROM_OUTSIDE: Final[dict[str, str]] = {
    "agent/containerizer/fake.py": "tests and programs of others run agents on it",
    "agent/executor_links/fake_executors.py": "tests and the simulator run executors by it",
    "executors/celery/entry.py": "calls name it in their pickles",
    "executors/celery/preload.py": "executors' environment names it",
    "executors/sparklite/entry.py": "functions of stages name it in their pickles",
    "executors/sparklite/worker_face.py": "workers find it under the name of the driver's package",
    "executors/python/main.py": "the bundle that agents make starts it, inside containers",
    "frameworks/celery/fake_runner.py": "tests run the dispatcher's pool by it",
    "frameworks/celery/broker/transport.py": "kombu makes transports by their name",
    "frameworks/celery/pool.py": "Celery's worker makes the pool by its name",
    "mesolite/flower_task.py": "Flower's process imports it late, by its name, with Celery",
    "frameworks/examples/celery_shop/carts.py": "Celery imports it by the application's settings",
    "frameworks/examples/celery_shop/settings.py": "Celery imports it by its name",
    "frameworks/examples/count_source.py": "a task of the demo: runs inside a container",
    "frameworks/examples/forty_lines.py": "an example: started by hand",
    "frameworks/examples/hello_batch.py": "an example: started by hand",
    "frameworks/examples/word_count.py": "an example: an executor, started by agents",
    "frameworks/examples/hello_futures.py": "an example: started by hand",
    "frameworks/examples/pi.py": "an example: started by hand",
    "frameworks/examples/sparklite/word_count.py": "an example: started by hand",
    "frameworks/examples/sparklite/inverted_index.py": "an example: started by hand",
    "frameworks/examples/sparklite/page_rank.py": "an example: started by hand",
    "frameworks/examples/sparklite/k_means.py": "an example: started by hand",
    "frameworks/examples/sparklite/tf_idf.py": "an example: started by hand",
    "frameworks/examples/sparklite/join_tables.py": "an example: started by hand",
    "frameworks/examples/sparklite/log_analysis.py": "an example: started by hand",
    "frameworks/futures/joblib_backend.py": "programs that use joblib import it; the part itself does not need joblib",
}

#: Words that name nothing: what would be in such a module has a noun of its own.
EMPTY_NAMES: Final = frozenset({"util", "utils", "helper", "helpers", "manager", "misc", "common_utils", "impl"})

#: Folders that belong to one person's machine. Written apart so that this file does not offend itself.
HOME_PATH: Final = re.compile(r"(?<![\w.$}~-])/(?:" + "|".join(["home", "Users", "root", "work"]) + r")/[\w.]")
TEXT_SUFFIXES: Final = frozenset(
    [".py", ".c", ".md", ".toml", ".sh", ".yaml", ".yml", ".lua", ".conf", ".txt", ".html", ".js", ".css"]
) | {""}
NOT_OURS: Final = frozenset(
    [".git", ".venv", ".venv-peers", ".hypothesis", ".mesolite", "build", "dist", "__pycache__"]
)

SOURCES: Final = all_python_files()


def shown(path: Path) -> str:
    """The path from the root, for messages and tables."""
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a source."""
    return ast.parse(path.read_text(encoding="utf-8"))


def text_files(folder: Path = ROOT) -> Iterator[Path]:
    """Every text of the project, whatever it is written in; what tools made is left out."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or path.name in NOT_OURS or path.name.endswith(("_cache", ".egg-info")):
            continue
        if path.is_dir():
            yield from text_files(path)
        elif path.suffix in TEXT_SUFFIXES:
            yield path


def test_no_file_is_too_long_to_keep_in_mind() -> None:
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    too_long = {f"{name} has {lines} lines" for name, lines in lengths.items() if lines > MAX_FILE_LINES}
    assert not too_long, listed(too_long)


def test_no_function_is_too_long_to_see_at_once() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    lengths = {
        f"{shown(path)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, functions)
    }
    too_long = {f"{name} has {lines} lines" for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}
    assert not too_long, listed(too_long)


def test_no_test_sleeps() -> None:
    """A sleep is too short on a slow machine and too long on all others; wait for what is meant, with a deadline."""
    sleeping = {
        f"{shown(path)}:{node.lineno}"
        for path in SOURCES
        if shown(path).startswith("tests/") and shown(path) not in SLEEPS
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"sleep", "time.sleep", "asyncio.sleep"}
    }
    assert not sleeping, listed(sleeping)


def test_nothing_catches_every_exception_but_where_it_says_why() -> None:
    catching = {
        f"{shown(path)}:{node.lineno}"
        for path in SOURCES
        if shown(path) not in BROAD_EXCEPTS
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    }
    assert not catching, listed(catching)


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it takes whatever comes, alone or among others, and keeps it: who cleans up and raises on is not meant."""
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    if handler.type is None:
        return True
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(name).split(".")[-1] in {"Exception", "BaseException"} for name in names)


@pytest.mark.parametrize("table", [BROAD_EXCEPTS, SLEEPS, STARTED_FROM_OUTSIDE], ids=["excepts", "sleeps", "started"])
def test_every_exception_to_a_rule_is_still_needed(table: dict[str, str]) -> None:
    assert {name for name in table if not (ROOT / name).is_file()} == set(), "moved or gone: take the line out"


def test_broad_excepts_are_still_where_the_table_says() -> None:
    used = {
        shown(path)
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    }
    assert set(BROAD_EXCEPTS) - used == set()


def test_no_comment_puts_work_off() -> None:
    put_off = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")
    found = [
        f"{shown(path)}:{token.start[0]}"
        for path in SOURCES
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
        if token.type == tokenize.COMMENT and put_off.search(token.string)
    ]
    assert not found, listed(found)


def test_no_module_has_a_name_that_says_nothing() -> None:
    named = {module.shown for module in package_modules() if module.name.split(".")[-1] in EMPTY_NAMES}
    assert not named, listed(named)


def test_every_module_says_what_it_is() -> None:
    silent = [
        module.shown for module in package_modules() if len(ast.get_docstring(module.tree()) or "") < len("The agent.")
    ]
    assert not silent, listed(silent)


def test_no_module_is_dead() -> None:
    """Method: alive is what the package imports, what pyproject.toml starts, and what the table names."""
    modules = package_modules()
    known = {module.name for module in modules}
    alive: set[str] = set()
    for module in modules:
        for found in imports_of(module):
            alive |= {found.module, f"{found.module}.{found.name}"} & known - {module.name}
    alive |= {module.name for module in modules if module.path.name in {"__init__.py", "__main__.py"}}
    alive |= entry_point_modules() | {f"mesolite.cli.{module}" for module, _, _ in COMMANDS.values()}
    dead = {module.shown for module in modules if module.name not in alive and module.shown not in STARTED_FROM_OUTSIDE}
    assert not dead, listed(dead)


def entry_point_modules() -> set[str]:
    """The modules that an installation makes commands and plugins of."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups: list[dict[str, str]] = [project.get("scripts", {}), *project.get("entry-points", {}).values()]
    return {target.split(":")[0] for group in groups for target in group.values()}


def test_no_text_names_a_folder_of_one_machine() -> None:
    offending = [
        f"{shown(path)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if HOME_PATH.search(line)
    ]
    assert not offending, listed(offending)
