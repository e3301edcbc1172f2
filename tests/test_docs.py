"""The documents tell today's truth where a program can check it: links, commands, settings and messages exist."""

import re
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest

from mesolite.protocol import Call, Command, Event, Operation, Report
from mesolite.protocol.executor import ExecutorCall, ExecutorEvent, ExecutorTask
from tests.source_tree import ROOT, document_files

LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

#: The page of each union of messages is docs/protocol.md but for those of executors, which are of another kind of wire.
EXECUTOR_UNIONS: Final = {"what agents say": ExecutorEvent, "what executors say": ExecutorCall}
UNIONS: Final = {"calls": Call, "operations": Operation, "events": Event, "commands": Command, "reports": Report}


def text_of(name: str) -> str:
    """A document's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def prose_of(path: Path) -> str:
    """A document without its code, where brackets are not links."""
    return CODE_BLOCK.sub("", path.read_text(encoding="utf-8"))


def anchors_of(path: Path) -> set[str]:
    """The fragments that a document's headings answer to, made as the common Markdown viewers make them."""
    headings = re.findall(r"^#+ +(.+)$", prose_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", document_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    broken: list[str] = []
    for target in LINK.findall(prose_of(path)):
        file, _, fragment = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (fragment and there.suffix == ".md" and fragment not in anchors_of(there)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("path", document_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_make_command_that_a_document_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z-]+)", text))
    named |= {
        word for _, block in CODE_BLOCK.findall(text) for word in re.findall(r"^\s*make ([a-z-]+)", block, re.MULTILINE)
    }
    assert named - make_targets() == set()


def make_targets() -> set[str]:
    """What the Makefile can make."""
    return set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))


def test_every_make_target_says_what_it_does() -> None:
    listed = set(re.findall(r"^([a-z-]+):.*## \S", text_of("Makefile"), re.MULTILINE))
    assert make_targets() == listed


@pytest.mark.parametrize("name", UNIONS)
def test_every_kind_of_message_stands_in_the_protocol_page(name: str) -> None:
    """Method: the tag as it travels and the name as it is written here must both stand in one line of the page."""
    lines = text_of("docs/protocol.md").splitlines()
    missing = {
        f"{kind.__name__} ({tag})"
        for kind in get_args(UNIONS[name])
        for tag in [kind.__struct_config__.tag]
        if not any(f"`{tag}`" in line and f"`{kind.__name__}`" in line for line in lines)
    }
    assert missing == set()


@pytest.mark.parametrize("name", EXECUTOR_UNIONS)
def test_every_kind_of_message_and_all_its_fields_stand_in_the_executor_protocols_page(name: str) -> None:
    lines = text_of("docs/executor-protocol.md").splitlines()
    missing: set[str] = set()
    for kind in get_args(EXECUTOR_UNIONS[name]):
        words = {kind.__struct_config__.tag, kind.__name__, *kind.__struct_fields__}
        if not any(all(f"`{word}`" in line for word in words) for line in lines):
            missing.add(kind.__name__)
    assert missing == set()
    for field in ExecutorTask.__struct_fields__:
        assert any(line.startswith(f"| `{field}` |") for line in lines), field


def test_the_conversation_in_the_executor_protocols_page_could_take_place() -> None:
    """Method: what the executor says can be read by an agent, and what the agent says is to the letter what one writes."""
    lines = text_of("docs/executor-protocol.md").splitlines()
    heard = [msgspec.json.decode(line[2:], type=ExecutorCall) for line in lines if line.startswith("< {")]
    said = [(line[2:], msgspec.json.decode(line[2:], type=ExecutorEvent)) for line in lines if line.startswith("> {")]
    assert [type(call).__name__ for call in heard] == [
        "ExecutorSubscribe",
        *["ExecutorUpdate"] * 2,
        "ExecutorSubscribe",
    ]
    assert len(said) >= 6
    assert [msgspec.json.encode(event).decode() for _, event in said] == [line for line, _ in said]


def test_every_dependency_is_accounted_for() -> None:
    """docs/decisions/dependencies.md has a line for each name in pyproject.toml, and for no other."""
    project = text_of("pyproject.toml")
    block = project[project.index("dependencies = [") : project.index("[project.scripts]")]
    declared = {name.lower() for name in re.findall(r'^    "([A-Za-z0-9-]+)', block, re.MULTILINE)}
    explained = {
        name.lower()
        for name in re.findall(r"^\| `([A-Za-z0-9-]+)`", text_of("docs/decisions/dependencies.md"), re.MULTILINE)
    }
    assert declared == explained


def test_every_decision_is_listed_and_tells_its_four_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    records = {path.name for path in folder.glob("*.md")} - {"README.md"}
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", text_of("docs/decisions/README.md")))
    assert records == listed
    parts = ("## Context", "## Decision", "## Alternatives", "## Consequences")
    lacking = {
        name: part for name in sorted(records) for part in parts if part not in text_of(f"docs/decisions/{name}")
    }
    assert lacking == {}
