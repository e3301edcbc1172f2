"""Which tasks are shown in Flower, where more come than it can follow."""

from collections.abc import Callable


class Sampler:
    """A token bucket over tasks: above its rate, new tasks are not shown in Flower (a failed one still is)."""

    def __init__(self, tasks_per_s: float, clock_s: Callable[[], float]) -> None:
        assert tasks_per_s > 0, "a sampler that shows nothing is an absent presence"
        self._rate_per_s = tasks_per_s
        self._clock_s = clock_s
        #: One second's worth may come at once.
        self._tokens = tasks_per_s
        self._filled_s = clock_s()

    def admit(self) -> bool:
        """Say whether one more task is shown. Called by one thread only."""
        now_s = self._clock_s()
        self._tokens = min(self._rate_per_s, self._tokens + (now_s - self._filled_s) * self._rate_per_s)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
