"""How values of Spark's configuration are written: sizes (`512m`, `1g`), times (`3s`, `100ms`), numbers and truths.

See https://spark.apache.org/docs/latest/configuration.html#spark-properties. Each raises `ConfigError`, which names the key.
"""

import re
from typing import Final

from mesolite.errors import ConfigError

from .conf import SparkConf

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(b|kb?|mb?|gb?|tb?|pb?)?", re.IGNORECASE)
_SIZE_UNITS: Final = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}
_TIME: Final = re.compile(r"([0-9]+)\s*(us|ms|s|m|min|h|d)?", re.IGNORECASE)
_TIME_UNITS_MS: Final = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def size_bytes(conf: SparkConf, key: str, default: str, unit: str = "b") -> int:
    """A size in bytes; `unit` is meant where none is written."""
    text = (conf.get(key) or default).strip()
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ConfigError(f"{key} is {text!r}; a size such as 512m or 2g")
    return int(float(found[1]) * _SIZE_UNITS[(found[2] or unit)[0].lower()])


def time_ms(conf: SparkConf, key: str, default: str, unit: str = "ms") -> int:
    """A time in milliseconds; `unit` is meant where none is written."""
    text = (conf.get(key) or default).strip()
    found = _TIME.fullmatch(text)
    if found is None:
        raise ConfigError(f"{key} is {text!r}; a time such as 100ms, 3s or 2min")
    return round(int(found[1]) * _TIME_UNITS_MS[(found[2] or unit).lower()])


def truth(conf: SparkConf, key: str, default: bool) -> bool:
    """Yes or no."""
    text = (conf.get(key) or str(default)).strip().lower()
    if text not in ("true", "false"):
        raise ConfigError(f"{key} is {text!r}; true or false")
    return text == "true"


def whole(conf: SparkConf, key: str, default: int, least: int = 1) -> int:
    """A whole number."""
    text = (conf.get(key) or str(default)).strip()
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"{key} is {text!r}; a whole number from {least} on")
    return int(text)


def whole_or_none(conf: SparkConf, key: str) -> int | None:
    """A whole number from 1 on, where one is set."""
    return whole(conf, key, 1) if conf.get(key) else None


def number(conf: SparkConf, key: str, default: float) -> float:
    """A number above 0."""
    text = (conf.get(key) or str(default)).strip()
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"{key} is {text!r}; a number above 0")
    return value
