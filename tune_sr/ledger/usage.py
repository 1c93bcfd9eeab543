"""How long drivers have worked on a study, and the GPU time that its trials have used."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Usage:
    """Driver time and GPU time of a study, all its starts together; times are since 1970.

    A trial uses its GPUs from the event that issued it (`trial_added`, `attempt`) to the one that
    ended it, or to the last event of a driver that died.

    >>> usage = Usage()
    >>> usage.start(0.0, gpus_per_trial=0.5)
    >>> usage.issue("0000", 10.0)
    >>> usage.gpu_seconds(now=30.0)
    10.0
    """

    began: float | None = None
    """When the newest driver started, in seconds; None before the first."""
    last: float = 0.0
    """When the last event was written, in seconds."""
    _earlier: float = 0.0
    """Seconds of all drivers but the newest."""
    _gpus: float = 0.0
    _spent: float = 0.0
    """GPU-seconds of trials that hold no GPU any more."""
    _since: dict[str, float] = field(default_factory=dict)
    """When each trial that holds its GPUs was issued."""
    _seconds: dict[str, float] = field(default_factory=dict)
    """By trial: seconds of its attempts that are over."""

    def start(self, time: float, gpus_per_trial: float) -> None:
        """Begin to count for a new driver; the one before it ended with its last event."""
        self.release_all(self.last)
        self._earlier = self.driver_seconds()
        self.began = self.last = time
        self._gpus = gpus_per_trial

    def issue(self, trial: str, time: float) -> None:
        """Give a trial its GPUs; those of an earlier attempt are released."""
        self.release(trial, time)
        self._since[trial] = time

    def release(self, trial: str, time: float) -> None:
        """Take a trial's GPUs back, if it has any."""
        since = self._since.pop(trial, None)
        if since is not None:
            seconds = max(0.0, time - since)
            self._seconds[trial] = self._seconds.get(trial, 0.0) + seconds
            self._spent += self._gpus * seconds

    def release_all(self, time: float) -> None:
        """Take the GPUs of all trials back."""
        for trial in list(self._since):
            self.release(trial, time)

    def trial_seconds(self, trial: str) -> float:
        """Seconds that a trial's attempts have taken, up to the last event; 0 before the first."""
        since = self._since.get(trial)
        running = 0.0 if since is None else max(0.0, self.last - since)
        return self._seconds.get(trial, 0.0) + running

    def driver_seconds(self) -> float:
        """Seconds that drivers have worked, each from its start to its last event."""
        return self._earlier + (0.0 if self.began is None else self.last - self.began)

    def gpu_seconds(self, now: float | None = None) -> float:
        """GPU-seconds up to `now`; None: up to the last event."""
        until = self.last if now is None else now
        return self._spent + self._gpus * sum(
            max(0.0, until - since) for since in self._since.values()
        )
