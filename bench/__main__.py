"""Runs every benchmark and writes docs/benchmarks.md: `python -m bench [--quick] [--check]`."""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: In the order in which a reader wants them.
BENCHMARKS = ("cores", "executor_tasks", "launch", "calls", "sparklite", "celery", "idle", "failover", "rebuild")
#: Of those that a figure depends on.
VERSIONS = ("mesolite", "redis", "kombu", "msgspec", "docker", "celery", "flower")
REPORT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def run(name: str, *, quick: bool) -> dict[str, Any]:
    """Run one benchmark in a process of its own."""
    command = [sys.executable, "-m", f"bench.{name}", "--json", *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def section(result: dict[str, Any]) -> list[str]:
    """Write one benchmark's part of the report."""
    lines = [
        f"## {result['benchmark']}",
        "",
        "| figure | median | min | max | unit | goal | |",
        "|---|--:|--:|--:|---|---|---|",
    ]
    for figure in result["figures"]:
        goal = ""
        if figure["goal"] is not None:
            goal = f"{'at most' if figure['better'] == 'lower' else 'at least'} {figure['goal']:,g}"
        verdict = "" if figure["goal"] is None else "met" if figure["met"] else "**missed**"
        numbers = " | ".join(f"{figure[key]:,.3f}" for key in ("median", "min", "max"))
        lines.append(f"| {figure['name'].strip()} | {numbers} | {figure['unit']} | {goal} | {verdict} |")
    return [*lines, "", *(f"- {note}" for note in result["notes"]), ""]


def main() -> None:
    """Run all and write the report."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two runs each: a look, no figures to quote, no report")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    for name in BENCHMARKS:
        print(f"bench.{name} ...", flush=True)
        results.append(run(name, quick=arguments.quick))
        print("\n".join(section(results[-1])), flush=True)
    if not arguments.quick:
        versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
        head = [
            "# Benchmarks",
            "",
            "Written by `make bench`; each can be run alone: `python -m bench.NAME`. Medians with minimum and maximum.",
            "",
            f"- {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
            f"- Python {platform.python_version()}, {versions}",
            "",
        ]
        REPORT.write_text("\n".join([*head, *(line for result in results for line in section(result))]))
        print(f"written to {REPORT.relative_to(REPORT.parent.parent)}")
    missed = [figure["name"] for result in results for figure in result["figures"] if not figure["met"]]
    sys.exit(1 if arguments.check and missed else 0)


if __name__ == "__main__":
    main()
