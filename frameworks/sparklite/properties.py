"""Local properties: what a thread says of the jobs that it submits (`SparkContext.setLocalProperty`)."""

import threading


class LocalProperties(threading.local):
    """Properties of each thread. A thread begins with none."""

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, str] = {}

    def set(self, key: str, value: str | None) -> None:
        """Set one; None takes it away."""
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = str(value)

    def get(self, key: str) -> str | None:
        """One of them; None where it is not set."""
        return self._values.get(key)

    def all(self) -> dict[str, str]:
        """All of them, as they are now."""
        return dict(self._values)
