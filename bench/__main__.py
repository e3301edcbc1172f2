"""Runs every benchmark, each in a process of its own, and writes docs/benchmarks.md.

    python -m bench [--quick] [--check] [NAME ...]

A quick run, or one of some benchmarks only, prints what it found and leaves the page alone: figures in it are comparable.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
PAGE: Final = FOLDER.parent / "docs" / "benchmarks.md"
#: A benchmark hands its figures to this; a file without it is what several of them share.
ENTRY: Final = "main("
#: No benchmark takes a tenth of it; what does is stuck, and the others should have their turn.
TIMEOUT_S: Final = 1800
#: Whose versions decide what the figures say.
PACKAGES: Final = ("redis", "kombu", "msgspec", "docker", "celery")


def names() -> list[str]:
    """Every benchmark here, by name."""
    shared = {"__init__", "__main__", "figures"}
    return [path.stem for path in sorted(FOLDER.glob("*.py")) if path.stem not in shared and ENTRY in path.read_text()]


def run(name: str, *, quick: bool) -> dict[str, Any] | None:
    """Run one benchmark and return what it printed with --json; None where it failed, which it has then explained itself."""
    command = [sys.executable, "-m", f"bench.{name}", "--json", *(["--quick"] if quick else [])]
    try:
        done = subprocess.run(command, check=True, timeout=TIMEOUT_S, stdout=subprocess.PIPE, text=True)
        outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return outcome
    except (subprocess.SubprocessError, json.JSONDecodeError, IndexError) as error:
        print(f"{name}: failed: {error}", file=sys.stderr)
        return None


def table(outcome: dict[str, Any]) -> str:
    """One benchmark's figures and notes as Markdown."""
    rows = ["| figure | median | min | max | unit | goal | |", "|---|---:|---:|---:|---|---|---|"]
    for figure in outcome["figures"]:
        goal = verdict = ""
        if figure["goal"] is not None:
            goal = f"{'at most' if figure['better'] == 'lower' else 'at least'} {figure['goal']:,g}"
            verdict = "met" if figure["met"] else "**missed**"
        median, least, most = (rounded(figure[key]) for key in ("median", "min", "max"))
        rows.append(f"| {figure['name']} | {median} | {least} | {most} | {figure['unit']} | {goal} | {verdict} |")
    return "\n".join(
        [f"## {outcome['benchmark']}", "", *rows, "", *(f"- {note}" for note in outcome["notes"])]
    ).rstrip()


def rounded(value: float) -> str:
    """Three digits that mean something, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> str:
    """What the figures were measured on, in one paragraph."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} processors ({platform.machine()}), "
        f"{memory_gib:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {versions}."
    )


def page(outcomes: list[dict[str, Any]]) -> str:
    """The whole page."""
    head = (
        "# Benchmarks\n\nWritten by `make bench`; not to be edited. The median of several runs, with the least and the most. "
        "Wherever a peer exists\nit was measured in the same run, on the same machine.\n\n"
    )
    return head + machine() + "\n\n" + "\n\n".join(map(table, outcomes)) + "\n"


def main() -> int:
    """Run what the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Run benchmarks and write docs/benchmarks.md.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(names())}; all of them where none is named"
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs; nothing is written")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed or a benchmark fails")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names()):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    chosen = arguments.names or names()
    outcomes: list[dict[str, Any]] = []
    for name in chosen:
        outcome = run(name, quick=arguments.quick)
        if outcome is not None:
            print(table(outcome), end="\n\n", flush=True)
            outcomes.append(outcome)
    failed = len(outcomes) < len(chosen)
    if not (failed or arguments.names or arguments.quick):
        PAGE.write_text(page(outcomes), encoding="utf-8")
        print(f"written: {PAGE.relative_to(FOLDER.parent)}")
    missed = any(not figure["met"] for outcome in outcomes for figure in outcome["figures"])
    return 1 if failed or (arguments.check and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
