"""The agent: one per host; launches what the master commands, and reports until it is acknowledged.

A core that decides (`core`), a shell that acts (`shell`), and a process around them (`process`).
"""

import threading

from mesolite.config import AgentConfig

__all__ = ["run_agent"]


def run_agent(config: AgentConfig, stop: threading.Event | None = None) -> None:
    """Run an agent; see `process.run_agent`."""
    # Not at the top: who needs the core alone, as the simulator does, need not load Celery, Docker's SDK and a web server.
    from .process import run_agent as run

    run(config, stop)
