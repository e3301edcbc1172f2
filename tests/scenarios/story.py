"""Stories as text: commands, a line `----`, and what they printed; replayed, and rewritten where somebody asks for it.

The form is etcd raft's (`interaction_test.go`). A file starts with its story, in lines that begin with `#`; blocks are
separated by empty lines. What prints nothing prints `ok`.
"""

import os
from pathlib import Path
from typing import Final, Protocol

SEPARATOR: Final = "----"


class Stage(Protocol):
    """Plays commands."""

    def play(self, command: str) -> list[str]:
        """Do one command and return what it prints."""
        ...


def replayed(text: str, stage: Stage) -> str:
    """The same story with what its commands print now."""
    story, *blocks = text.strip("\n").split("\n\n")
    told = [story]
    for block in blocks:
        commands = block.split(f"\n{SEPARATOR}")[0].splitlines()
        printed = [line for command in commands if not command.startswith("#") for line in stage.play(command)]
        told.append("\n".join([*commands, SEPARATOR, *(printed or ["ok"])]))
    return "\n\n".join(told) + "\n"


def check(path: Path, stage: Stage) -> None:
    """Compare a file with what its commands print now, or write that into it where REWRITE is set."""
    told = path.read_text(encoding="utf-8")
    assert told.startswith("# "), f"{path.name} does not begin with its story"
    now = replayed(told, stage)
    if os.environ.get("REWRITE"):
        path.write_text(now, encoding="utf-8")
    else:
        assert now == told
