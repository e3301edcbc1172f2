"""The project's own sources, read as text and as syntax, for the tests that guard its rules (test_layers, test_tidy, ...)."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

#: Where the parts of the installed package lie: the name that is imported, and the folder at the root.
PARTS: Final = {
    "mesolite": ROOT / "mesolite",
    "mesolite.master": ROOT / "master",
    "mesolite.agent": ROOT / "agent",
    "mesolite.executors": ROOT / "executors",
    "mesolite.frameworks": ROOT / "frameworks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One source file."""

    path: Path
    #: As it is imported: "mesolite.master.core"; a package's own file has the package's name.
    name: str

    @property
    def shown(self) -> str:
        """The path from the root, for messages."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def part(self) -> str:
        """The part it belongs to: "kernel", "master", "agent", "executors" or "frameworks"."""
        return part_of(self.name)

    @property
    def package(self) -> str:
        """What a relative import with one dot starts from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def tree(self) -> ast.Module:
        """The syntax tree."""
        return _parsed(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One name that a module imports from elsewhere."""

    line: int
    #: The absolute name of the module named in the statement.
    module: str
    #: What is taken out of it, or None where the module itself is imported.
    name: str | None
    #: 0 for an absolute import.
    level: int
    #: Under `if TYPE_CHECKING`: read by checkers, never run.
    for_types_only: bool


def part_of(name: str) -> str:
    """Return the part that a dotted name belongs to; everything that is in no other part is the kernel."""
    head = name.split(".")
    return head[1] if len(head) > 1 and f"mesolite.{head[1]}" in PARTS else "kernel"


def package_modules() -> list[Module]:
    """Return every module of the installed package, each once, sorted by path."""
    modules: list[Module] = []
    for prefix, folder in PARTS.items():
        for path in python_files(folder):
            inside = path.relative_to(folder).with_suffix("").parts
            parts = inside[:-1] if inside[-1] == "__init__" else inside
            modules.append(Module(path=path, name=".".join((prefix, *parts))))
    return modules


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the sources under a folder, sorted, following no links: the four in mesolite/ would show each file twice."""
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() or entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.is_dir():
            yield from python_files(entry)
        elif entry.suffix == ".py":
            yield entry


def all_python_files() -> list[Path]:
    """Return every source of the project: package, tests, benchmarks, scripts."""
    folders = [*PARTS.values(), ROOT / "tests", ROOT / "bench", ROOT / "scripts"]
    return [path for folder in folders for path in python_files(folder)]


def imports_of(module: Module) -> list[Import]:
    """Return all imports of a module, those inside functions included, with relative ones made absolute."""
    found: list[Import] = []
    quiet = _type_checking_nodes(module.tree())
    for node in ast.walk(module.tree()):
        if isinstance(node, ast.Import):
            base, level = None, 0
        elif isinstance(node, ast.ImportFrom):
            base, level = _absolute(module, node), node.level
        else:
            continue
        found += [
            Import(
                line=node.lineno,
                module=alias.name if base is None else base,
                name=None if base is None else alias.name,
                level=level,
                for_types_only=node in quiet,
            )
            for alias in node.names
        ]
    return found


def _type_checking_nodes(tree: ast.Module) -> set[ast.AST]:
    guards = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    return {node for guard in guards for statement in guard.body for node in ast.walk(statement)}


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parents = module.package.split(".")
    kept = parents[: len(parents) - (node.level - 1)]
    return ".".join([*kept, node.module] if node.module else kept)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def document_files() -> list[Path]:
    """Return every Markdown page of the project, sorted."""
    folders = [*PARTS.values(), *(ROOT / name for name in ("docs", "tests", "bench", "compose"))]
    pages = {path for folder in folders for path in folder.rglob("*.md") if path.resolve() == path}
    return sorted(pages | set(ROOT.glob("*.md")))


def listed(findings: Iterable[str]) -> str:
    """Return findings as lines, for the message of an assertion: all of them, where pytest would show the first."""
    return "\n" + "\n".join(sorted(findings))
