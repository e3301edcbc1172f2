"""Imports point one way, and cores import nothing that acts.

    kernel <- executors <- agent, frameworks        kernel <- master        kernel <- frameworks

The CLI may import them all.

Inside a part imports are relative, to the kernel absolute: a part can be read, moved and renamed as one thing.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import Final

import pytest

from tests.source_tree import Import, Module, imports_of, listed, package_modules, part_of

#: What each part may import besides itself.
MAY_IMPORT: Final = {
    "kernel": frozenset[str](),
    "executors": frozenset({"kernel"}),
    "agent": frozenset({"kernel", "executors"}),
    "master": frozenset({"kernel"}),
    # A framework is a scheduler and its executors (docs/decisions/frameworks-bring-executors.md).
    "frameworks": frozenset({"kernel", "executors"}),
}

#: The one place that knows every part: it starts them.
CLI: Final = "mesolite.cli"

#: Programs as users write them: they import by the names that users have.
EXAMPLES: Final = "mesolite.frameworks.examples"

#: Folders of cores: each module below them decides and nothing else, unless SHELLS names it. So a new module is a core until
#: somebody says here what it does to the world.
CORE_FOLDERS: Final = (
    "mesolite/resources/",
    "mesolite/protocol/",
    "mesolite/lease/",
    "master/",
    "agent/",
    "executors/",
    "frameworks/driver/",
    "frameworks/batch/",
    "frameworks/celery/",
    "frameworks/celery_workers/",
    "frameworks/futures/",
    "frameworks/sparklite/dag/",
)

#: What acts in those folders, and how. A pattern that matches nothing fails: a stale line would excuse a later core.
SHELLS: Final = {
    "mesolite/lease/__init__.py": "the package's face, which names its shell",
    "mesolite/lease/keeper.py": "renews the lease, in a thread",
    "master/__init__.py": "the part's face, which names its shell",
    "master/http.py": "the operator API",
    "master/process.py": "the master as a process: signals, threads",
    "master/shell.py": "reads a batch, applies, commits, publishes",
    "agent/__init__.py": "the part's face, which starts its process",
    "agent/archives.py": "unpacks",
    "agent/bundle.py": "copies the Python executor out of the installation",
    "agent/checkpoint.py": "writes to disk",
    "agent/detect.py": "asks the machine what it has",
    "agent/download.py": "downloads",
    "agent/disk.py": "watches the disk and collects sandboxes",
    "agent/permissions.py": "looks at files",
    "agent/process.py": "the agent as a process: signals, threads, everything opened and closed",
    "agent/inbox.py": "where threads meet",
    "agent/reader.py": "takes commands out of kombu",
    "agent/reporter.py": "hands reports to Redis",
    "agent/shell.py": "applies, checkpoints, reports, acts",
    "agent/workdir.py": "locks the agent's directory and keeps its id",
    "agent/blocks/http.py": "serves blocks",
    "agent/blocks/relay.py": "asks other agents for blocks",
    "agent/blocks/store.py": "keeps blocks on disk",
    "agent/blocks/tokens.py": "keeps a secret on disk",
    "agent/containerizer/*.py": "runs containers",
    "agent/executor_links/connection.py": "reads and writes one socket",
    "agent/executor_links/doors.py": "makes sockets in directories",
    "agent/executor_links/fake_executors.py": "plays what runs in containers",
    "agent/executor_links/redis_door.py": "connects to Redis for executors",
    "agent/executor_links/server.py": "serves executors, in a thread",
    "executors/celery/application.py": "imports code of users",
    "executors/celery/entry.py": "runs tasks: reads the environment",
    "executors/celery/failover.py": "looks which modules are loaded, and changes one",
    "executors/celery/preload.py": "loads the application before workers are forked",
    "executors/celery/raising.py": "pickles, which runs code of users",
    "executors/celery/soft_limit.py": "waits in a thread, and signals its own process",
    "executors/celery/worker_process.py": "is a process that runs tasks: signals, logging, memory",
    "executors/sparklite/*.py": "runs tasks: functions of users, files, blocks (what decides is frameworks/sparklite/dag)",
    "agent/executor_services.py": "opens sockets, ports and stores for executors",
    "agent/fetcher.py": "copies files, and downloads them",
    "agent/files.py": "reads sandboxes",
    "agent/flower*.py": "speaks Celery's events and remote control",
    "agent/http.py": "the sandbox and operator API",
    "agent/sandbox.py": "makes, shows and removes directories",
    "executors/__init__.py": "the part's face, which names its shell",
    "executors/driver/__init__.py": "the executor driver's face, which names its shell",
    "executors/driver/executor.py": "runs an executor's callbacks: signals, the time",
    "executors/driver/loop.py": "waits for descriptors and moments",
    "executors/driver/shell.py": "the executor's end of its agent's socket",
    "executors/driver/sockets.py": "opens the agent's sockets",
    "executors/python/block_place.py": "asks the agent for its block store",
    "executors/python/blocks.py": "fetches and stores blocks",
    "executors/python/call_logs.py": "keeps and removes logs",
    "executors/python/crew.py": "starts and ends workers",
    "executors/python/executor.py": "the executor's callbacks: drives the runner",
    "executors/python/hygiene.py": "puts a worker's process back into order",
    "executors/python/main.py": "the Python executor as a program: forks the zygote first",
    "executors/python/memory.py": "asks the kernel for what processes use",
    "executors/python/output.py": "a worker's stdout and stderr",
    "executors/python/pool.py": "the executor's end of a pool, in the main loop",
    "executors/python/preload.py": "imports what workers are to have",
    "executors/python/redis_door.py": "asks the agent for connections to Redis",
    "executors/python/redis_socket.py": "a connection to Redis",
    "executors/python/redis_writer.py": "appends to streams of Redis",
    "executors/python/program.py": "the Python executor's main process",
    "executors/python/runner.py": "runs calls: carries out what the assignment decides",
    "executors/python/worker.py": "a worker process",
    "executors/python/worker_link.py": "main's sockets to a worker",
    "executors/python/zygote.py": "forks workers",
    "frameworks/driver/__init__.py": "the part's face, which names its shell",
    "frameworks/driver/asynchronous.py": "the scheduler driver's face for asyncio",
    "frameworks/driver/framework_store.py": "reads the clock, and writes to Redis what a framework keeps",
    "frameworks/driver/inbox.py": "where the shell's threads meet",
    "frameworks/driver/sender.py": "writes to Redis",
    "frameworks/driver/shell.py": "the scheduler driver's threads",
    "frameworks/batch/__init__.py": "the part's face, which names its shell",
    "frameworks/batch/cluster.py": "a batch cluster as programs use it: threads, waiting",
    "frameworks/batch/connecting.py": "finds and reaches a cluster",
    "frameworks/batch/journal.py": "writes to disk",
    "frameworks/celery/command_line.py": "stands for Celery's command line: sets variables, starts its worker",
    "frameworks/celery/crossing.py": "where the event loop meets other threads",
    "frameworks/celery/dispatched_call.py": "reads the clock when a call is taken on",
    "frameworks/celery/earlier_life.py": "asks the master for an earlier life, and waits",
    "frameworks/celery/flower*.py": "speaks Celery's events and remote control",
    "frameworks/celery/identity.py": "keeps an id in Redis, and makes new ones",
    "frameworks/celery/parts.py": "reaches the cluster, and ends the process",
    "frameworks/celery/pool.py": "the pool of Celery's worker, in its event loop",
    "frameworks/celery/raised.py": "unpickles, which runs the code of users, into Celery's exceptions",
    "frameworks/celery/replacing.py": "ends Celery's worker",
    "frameworks/celery/requests.py": "calls Celery's requests",
    "frameworks/celery/route_file.py": "reads a file",
    "frameworks/celery/settings.py": "looks which Celery is installed",
    "frameworks/celery/single.py": "hands runs to the driver's thread",
    "frameworks/celery/starting.py": "starts Celery's worker",
    "frameworks/celery/warm.py": "hands calls to the engine and the driver's thread",
    "frameworks/celery/kept_values.py": "writes to Redis what a dispatcher's next life is to know",
    "frameworks/celery/single_records.py": "the same, of containers for one task",
    "frameworks/celery/warm_records.py": "the same, of warm workers",
    "frameworks/celery/broker/consuming.py": "takes messages out of Redis, in the event loop",
    "frameworks/celery/broker/decoding.py": "reads what kombu wrote",
    "frameworks/celery/broker/line.py": "a connection to Redis",
    "frameworks/celery/broker/opening.py": "changes which transports kombu makes",
    "frameworks/celery/broker/plain.py": "writes to the log what it cannot keep",
    "frameworks/celery/broker/reaching.py": "finds an application's broker",
    "frameworks/celery/broker/redis_ownership.py": "keeps messages and a lease in Redis: a thread, the time",
    "frameworks/celery/broker/redis_store.py": "calls scripts in Redis",
    "frameworks/celery/broker/standing.py": "looks into Redis, and changes what is there",
    "frameworks/celery/broker/transport.py": "kombu's transports",
    "frameworks/celery_workers/__init__.py": "the part's face, which names its shell",
    "frameworks/celery_workers/application.py": "loads a Celery application, asks its broker and its workers",
    "frameworks/celery_workers/looking.py": "looks, in a thread",
    "frameworks/celery_workers/memory.py": "writes to Redis what a group keeps",
    "frameworks/celery_workers/running.py": "a group's threads, from start to stop",
    "frameworks/futures/__init__.py": "the part's face, which names its shells",
    "frameworks/futures/blocks.py": "fetches large results",
    "frameworks/futures/broken.py": "an error of the standard library's pools",
    "frameworks/futures/coarse_pool.py": "hands calls to the engine, and their number to the driver's thread",
    "frameworks/futures/connection.py": "finds a cluster, and runs the driver in a thread",
    "frameworks/futures/engine_blocks.py": "carries blocks over HTTP",
    "frameworks/futures/engine.py": "a pool's client: a thread, connections to Redis",
    "frameworks/futures/executor.py": "what programs hold",
    "frameworks/futures/explaining.py": "pickles, which runs the code of users",
    "frameworks/futures/fine_pool.py": "hands calls to the driver's thread",
    "frameworks/futures/future.py": "what programs wait for",
    "frameworks/futures/in_process.py": "runs calls in threads",
    "frameworks/futures/joblib_backend.py": "opens executors",
    "frameworks/futures/mapping.py": "waits for results",
    "frameworks/futures/pickling.py": "pickles, which runs the code of users, and looks at where modules are",
    "frameworks/futures/pool.py": "opens a pool",
    "frameworks/futures/progress.py": "draws in the terminal",
    "frameworks/futures/remote.py": "runs in workers",
    "frameworks/futures/session.py": "futures, waiting, interpreter exit",
}

#: Acting, waiting, asking the machine, or telling the world: a shell's business.
FORBIDDEN_IN_CORES: Final = frozenset(
    {
        "asyncio",
        "celery",
        "concurrent",
        "docker",
        "flower",
        "http",
        "kombu",
        "logging",
        "multiprocessing",
        "os",
        "redis",
        "requests",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "tornado",
        "urllib.request",
        "uuid",
    }
)

#: Calls that read a hidden input through modules which are otherwise harmless.
FORBIDDEN_CALLS: Final = frozenset(
    {"now", "utcnow", "today", "uuid1", "uuid4", "urandom", "getenv", "open", "print", "input"}
)

KNOWN: Final = {module.name: module for module in package_modules()}


def core_modules() -> list[Module]:
    """Every module that decides."""
    return [module for module in package_modules() if is_core(module)]


def is_core(module: Module) -> bool:
    """Whether the module lies in a folder of cores and is not excused."""
    return module.shown.startswith(CORE_FOLDERS) and not any(matches(module, pattern) for pattern in SHELLS)


def matches(module: Module, pattern: str) -> bool:
    """Whether the path fits; a star stays within one folder."""
    return module.shown.count("/") == pattern.count("/") and PurePosixPath(module.shown).match(pattern)


def is_cli(module: Module) -> bool:
    """Whether the module belongs to the command line."""
    return module.name == CLI or module.name.startswith(CLI + ".")


def test_imports_follow_the_layers() -> None:
    crossed = [
        f"{module.shown}:{found.line} ({module.part}) imports {found.module}"
        for module in package_modules()
        if not is_cli(module)
        for found in imports_of(module)
        for target in imported_parts(found.module, found.name)
        if target != module.part and target not in MAY_IMPORT[module.part]
    ]
    assert not crossed, listed(crossed)


def imported_parts(module: str, name: str | None) -> Iterator[str]:
    """Yield the part that an import reaches, if any: `from mesolite import master` reaches master."""
    if module == "mesolite" and name is not None:
        yield part_of(f"mesolite.{name}")
    elif module == "mesolite" or module.startswith("mesolite."):
        yield part_of(module)


def test_nothing_but_the_command_line_imports_the_command_line() -> None:
    crossed = [
        f"{module.shown}:{found.line}"
        for module in package_modules()
        if not is_cli(module)
        for found in imports_of(module)
        if found.module == CLI or found.module.startswith(CLI + ".")
    ]
    assert not crossed, listed(crossed)


def test_imports_inside_a_part_are_relative_and_to_the_kernel_absolute() -> None:
    wrong: list[str] = []
    for module in package_modules():
        for found in imports_of(module):
            if not found.module.startswith("mesolite") or module.name.startswith(EXAMPLES):
                continue
            inside = module.part != "kernel" and part_of(found.module) == module.part
            if inside and found.level == 0:
                wrong.append(f"{module.shown}:{found.line} names its own part: {found.module}")
            if not inside and module.part != "kernel" and found.level > 0:
                wrong.append(f"{module.shown}:{found.line} leaves its part by dots: {found.module}")
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("folder", CORE_FOLDERS)
def test_every_folder_of_cores_holds_some(folder: str) -> None:
    assert any(module.shown.startswith(folder) for module in core_modules()), "moved? Say so in CORE_FOLDERS"


@pytest.mark.parametrize("pattern", SHELLS)
def test_every_excuse_is_used(pattern: str) -> None:
    assert any(matches(module, pattern) for module in package_modules()), "moved? Say so in SHELLS"


def test_cores_import_nothing_that_acts() -> None:
    acting = [
        f"{module.shown}:{found.line} imports {found.module}"
        for module in core_modules()
        for found in imports_of(module)
        if acts(found)
    ]
    assert not acting, listed(acting)


def acts(found: Import) -> bool:
    """Whether it is a library for acting."""
    heads = {found.module.split(".")[0], ".".join(found.module.split(".")[:2])}
    return not heads.isdisjoint(FORBIDDEN_IN_CORES) and not found.for_types_only


def test_cores_call_nothing_that_reads_a_hidden_input() -> None:
    hidden = [
        f"{module.shown}:{node.lineno} calls {name}"
        for module in core_modules()
        for node in ast.walk(module.tree())
        if isinstance(node, ast.Call) and (name := called_name(node)) in FORBIDDEN_CALLS
    ]
    assert not hidden, listed(hidden)


def test_cores_draw_only_from_a_generator_that_was_handed_in() -> None:
    """`random.Random` is a value with a seed; the functions of the module share a hidden one."""
    drawing = [
        f"{module.shown}:{node.lineno}"
        for module in core_modules()
        for node in ast.walk(module.tree())
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "random" and node.attr != "Random"
    ]
    drawing += [
        f"{module.shown}:{found.line}"
        for module in core_modules()
        for found in imports_of(module)
        if found.module == "random" and found.name not in (None, "Random")
    ]
    assert not drawing, listed(drawing)


def called_name(node: ast.Call) -> str:
    """The last part of what is called: "now" for both `now()` and `datetime.now()`."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def test_cores_import_no_shell_of_ours() -> None:
    """A core that imports a shell of ours would act through it. Method: follow each import that leaves the cores to its end."""
    outside = [
        f"{module.shown}:{found.line} imports {target}, which can act: {why}"
        for module in core_modules()
        for found in imports_of(module)
        for target in [landing(found)]
        if target is not None and not is_core(KNOWN[target]) and (why := way_to_act(target))
    ]
    assert not outside, listed(outside)


def landing(found: Import) -> str | None:
    """The module of ours that an import runs; None where it runs none."""
    if found.for_types_only:
        return None
    inner = f"{found.module}.{found.name}"
    return next((name for name in (inner, found.module) if name in KNOWN), None)


@cache
def way_to_act(name: str) -> str:
    """Name the library through which a module of ours could act, itself or by what it imports; "" where there is none."""
    imports = imports_of(KNOWN[name])
    for found in imports:
        if acts(found):
            return found.module
    return next((why for found in imports if (target := landing(found)) and (why := way_to_act(target))), "")
