"""Routing rules in a file, so that operators can change what tasks are given without touching the application.

    [[route]]                      # routes.toml
    task = "proj.images.*"
    queue = "big"
    mem = "2GiB"

or JSON: what `app.conf.mesolite_routes` takes, or an object with it as `route`.
"""

import json
import tomllib
from pathlib import Path
from typing import Final, cast

from mesolite.errors import ConfigError

#: A thousand rules are about 100 KiB.
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
#: What the list of rules is called where a file is more than a list.
_KEY: Final = "route"


def read_route_file(path: Path) -> object:
    """Read rules for `OptionsBook`, which checks them.

    Raises:
        ConfigError: The file cannot be read, or is neither TOML nor JSON, by its name.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: more than {MAX_FILE_BYTES} bytes are no rules")
        text = path.read_text(encoding="utf-8")
        found: object = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigError(f"{path}: this is no {kind}: {error}") from error
    if isinstance(found, dict):
        tables = cast("dict[str, object]", found)
        if list(tables) == [_KEY]:
            return tables[_KEY]
        if path.suffix != ".json":
            raise ConfigError(f"{path}: rules are written as [[{_KEY}]], and there is nothing beside them")
    return found
