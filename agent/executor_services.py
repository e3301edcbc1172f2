"""What executors find in their containers, opened as one: their sockets, the Python executor, blocks, and a way to Redis."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mesolite.config import AgentConfig
from mesolite.network import advertised_url

from .blocks.http import BlockServer
from .blocks.store import BlockStore
from .blocks.tokens import BlockTokens
from .bundle import assemble_bundle, remove_old_bundles
from .containerizer.policy import default_user
from .executor_links.contract import LinkSink
from .executor_links.doors import sockets_dir
from .executor_links.redis_door import AUTO, REDIS_SOCKET, RedisDoor
from .executor_links.server import UnixExecutorLinks

BLOCKS_SOCKET: Final = "blocks.sock"
_MIB: Final = 1024 * 1024
_LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class ExecutorServices:
    """All of it, serving."""

    links: UnixExecutorLinks
    blocks: BlockServer
    bundle_dir: Path

    def view(self) -> dict[str, object]:
        """Describe it for GET /state."""
        store = self.blocks.store
        return {
            "blocks": {
                "url": self.blocks.url,
                "used_mib": store.used_bytes // _MIB,
                "max_mib": store.max_bytes // _MIB,
                "frameworks": {each: store.used_by(each) // _MIB for each in store.frameworks()},
            }
        }

    def tidy(self) -> None:
        """Remove the blocks of frameworks that have nobody here any more. Now and then, from any thread."""
        self.blocks.store.collect(self.links.frameworks())


def open_executor_services(
    config: AgentConfig, work_dir: Path, sink: LinkSink, crowded: Callable[[], bool], cleanup: ExitStack
) -> ExecutorServices:
    """Open everything; `cleanup` closes it in reverse.

    Args:
        config: The agent's settings.
        work_dir: Where sockets, bundle and blocks lie; the Docker Engine must find it under the same name.
        sink: Takes what executors say.
        crowded: Whether they should not be listened to now.
        cleanup: Collects what is to be closed.

    Raises:
        ConfigError: The bundle cannot be made, or a setting cannot be used.
        Unavailable: The port for blocks is taken.
        OSError: The work_dir takes nothing.
    """
    sockets = sockets_dir(work_dir)
    bundle_dir = assemble_bundle(work_dir)
    if not sockets.is_dir() or not any(sockets.iterdir()):
        # No executor has sockets here, so none of an earlier version runs from its bundle.
        remove_old_bundles(work_dir, bundle_dir)
    max_bytes = config.blocks_max_mib * _MIB if config.blocks_max_mib is not None else None
    tokens = BlockTokens.kept_in(work_dir / "blocks.secret")
    blocks = BlockServer(
        BlockStore(work_dir / "blocks", max_bytes), tokens, host=config.http_host, port=config.blocks_port
    )
    cleanup.callback(blocks.close)
    blocks.url = advertised_url(_start_on_former_port(blocks, work_dir / "blocks.port"), config.http_advertise_host)
    door = RedisDoor(config.redis_url if config.executor_redis == AUTO else config.executor_redis, config.cluster)
    cleanup.callback(door.close)
    links = UnixExecutorLinks(
        sockets,
        sink,
        user=default_user(),
        side_doors={
            REDIS_SOCKET: door.take,
            BLOCKS_SOCKET: lambda _, framework_id, opened: blocks.take(framework_id, opened),
        },
        crowded=crowded,
    )
    cleanup.callback(links.stop)
    return ExecutorServices(links, blocks, bundle_dir)


def _start_on_former_port(blocks: BlockServer, kept_in: Path) -> str:
    """Serve blocks where the agent's last life did, if that port is free: what executors have stored is known by its address."""
    try:
        former_port = int(kept_in.read_text(encoding="ascii"))
    except (OSError, ValueError):
        former_port = 0
    url = blocks.start(former_port if 0 < former_port <= _LAST_PORT else 0)
    # Half a number, after a crash, is a port that is likely to be free as well.
    kept_in.write_text(url.rpartition(":")[2], encoding="ascii")
    return url
