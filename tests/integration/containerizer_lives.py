"""Helpers for what both real containerizers must survive: an agent that is killed without a word."""

import signal
import subprocess
import sys
from typing import Final

from tests.contract.containerizer_hosts import IMAGE, Host

#: Prints a number a line for about two seconds, unbuffered, then says that it is done.
COUNTER: Final = "i=0; while [ $i -lt 200 ]; do echo $i; echo e$i >&2; i=$((i+1)); sleep 0.01; done; echo done"

_AGENT: Final = """
import sys, threading
from pathlib import Path
from mesolite.agent.containerizer import open_containerizer
from mesolite.agent.containerizer.contract import ContainerSpec, ContainerStarted
from mesolite.agent.containerizer.policy import ContainerPolicy
from mesolite.ids import AgentId, ContainerId
kind, agent_id, work_dir, container_id, image, program = sys.argv[1:]
started = threading.Event()
sandbox = Path(work_dir) / "sandboxes" / container_id
sandbox.mkdir(parents=True)
chosen = open_containerizer(kind, ContainerPolicy(default_image=image), AgentId(agent_id), Path(work_dir),
                            lambda event: started.set() if isinstance(event, ContainerStarted) else None)
chosen.containerizer.recover()
chosen.containerizer.launch(ContainerSpec(container_id=ContainerId(container_id), argv=("sh", "-c", program),
                            environment={}, sandbox=sandbox, cpus_milli=500, mem_mib=64, image=None))
started.wait(60)
print("started", flush=True)
threading.Event().wait()
"""


def agent_that_launches(host: Host, kind: str, container_id: str, program: str) -> subprocess.Popen[str]:
    """A host's agent in a process of its own, that has started one container when this returns."""
    settings = [kind, host.agent_id, str(host.work_dir), container_id, IMAGE, program]
    agent = subprocess.Popen(
        [sys.executable, "-c", _AGENT, *settings],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout is not None
    assert agent.stdout.readline() == "started\n"
    return agent


def kill_agent(agent: subprocess.Popen[str]) -> None:
    """As the kernel does when memory is short."""
    agent.send_signal(signal.SIGKILL)
    agent.communicate()


def is_counted_without_gap(text: str, prefix: str = "") -> bool:
    """Whether the counter's lines are all there, in order, each once."""
    return [line for line in text.split() if line != "done"] == [f"{prefix}{number}" for number in range(200)]
