"""`SparkConf`: settings by name, as PySpark's, with those of Mesolite beside them (docs/sparklite.md lists what is read)."""

from collections.abc import Iterable
from typing import Self


class SparkConf:
    """Settings of a context. Keys that sparklite does not know are kept and have no effect."""

    def __init__(self, loadDefaults: bool = True) -> None:
        del loadDefaults  # there is no spark-defaults.conf to load
        self._settings: dict[str, str] = {}

    def set(self, key: str, value: str) -> Self:
        """Set a configuration property."""
        self._settings[key] = str(value)
        return self

    def setIfMissing(self, key: str, value: str) -> Self:
        """Set a configuration property, if not already set."""
        self._settings.setdefault(key, str(value))
        return self

    def setMaster(self, value: str) -> Self:
        """Set the master to connect to."""
        return self.set("spark.master", value)

    def setAppName(self, value: str) -> Self:
        """Set the application's name."""
        return self.set("spark.app.name", value)

    def setSparkHome(self, value: str) -> Self:
        """Kept for programs that set it; nothing reads it."""
        return self.set("spark.home", value)

    def setExecutorEnv(
        self, key: str | None = None, value: str | None = None, pairs: Iterable[tuple[str, str]] | None = None
    ) -> Self:
        """Set environment variables of executors.

        Raises:
            ValueError: Neither a key nor pairs were given, or both.
        """
        if (key is not None and pairs is not None) or (key is None and pairs is None):
            raise ValueError("Either pass one key-value pair or a list of pairs")
        for name, each in [(key, value)] if pairs is None else pairs:
            self.set(f"spark.executorEnv.{name}", str(each))
        return self

    def setAll(self, pairs: Iterable[tuple[str, str]]) -> Self:
        """Set many."""
        for key, value in pairs:
            self.set(key, value)
        return self

    def get(self, key: str, defaultValue: str | None = None) -> str | None:
        """Get the value of a property, or the default."""
        return self._settings.get(key, defaultValue)

    def getAll(self) -> list[tuple[str, str]]:
        """Get all values."""
        return list(self._settings.items())

    def contains(self, key: str) -> bool:
        """Whether there is such a key."""
        return key in self._settings

    def toDebugString(self) -> str:
        """One line for each setting, in order of keys."""
        return "\n".join(f"{key}={value}" for key, value in sorted(self._settings.items()))
