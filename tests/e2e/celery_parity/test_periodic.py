"""Beat beside it: what it sends is run."""

import os
import subprocess
import sys
from pathlib import Path

from .client import Client, same
from .conftest import MARKS
from .servers import MAIN, ROOT, CeleryServer

pytestmark = MARKS


def test_what_beat_sends_is_run(
    clients: tuple[Client, Client], plain_server: CeleryServer, mesolite_server: CeleryServer, tmp_path: Path
) -> None:
    folders = {"plain": plain_server.folder, "mesolite": mesolite_server.folder}

    def scenario(client: Client) -> bool:
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            MAIN,
            "beat",
            "-s",
            str(tmp_path / client.server),
            "-l",
            "ERROR",
        ]
        beat = subprocess.Popen(
            [*command, "--pidfile="], cwd=folders[client.server], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        try:
            return len(client.notes("beat", at_least=2)) >= 2
        finally:
            beat.terminate()
            beat.wait(10)

    told = [client.begin(scenario).result().told for client in clients]
    assert told == [True, True]
    assert same(clients, lambda client: client.server != "").told
