"""What the server counts, in the text format of Prometheus."""

from __future__ import annotations

import time
from collections import Counter, deque

WINDOW = 30.0  # seconds over which tokens a second are counted


class Metrics:
    """Counters. The event loop and the thread of the models write to different ones."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.refused = 0
        self.cancelled = 0
        self.tokens: Counter[str] = Counter()
        self.steps = 0
        self.step_seconds = 0.0
        self._recent: deque[tuple[float, int]] = deque()

    def request(self, route: str, status: int, seconds: float) -> None:
        self.requests[route, status] += 1
        self.seconds[route] += seconds  # type: ignore[assignment]

    def step(self, model: str, tokens: int, seconds: float) -> None:
        self.tokens[model] += tokens
        self.steps += 1
        self.step_seconds += seconds
        now = time.monotonic()
        self._recent.append((now, tokens))
        while self._recent and self._recent[0][0] < now - WINDOW:
            self._recent.popleft()

    def text(self, waiting: int, running: int, loaded: int) -> str:
        """All of it, a line for each value."""
        now = time.monotonic()
        recent = sum(tokens for at, tokens in list(self._recent) if at > now - WINDOW)
        lines: list[str] = []

        def metric(name: str, kind: str, about: str, values: dict[str, float]) -> None:
            lines.append(f"# HELP liquid_{name} {about}")
            lines.append(f"# TYPE liquid_{name} {kind}")
            lines.extend(f"liquid_{name}{labels} {value:g}" for labels, value in values.items())

        metric(
            "requests_total",
            "counter",
            "Requests answered.",
            {f'{{route="{r}",status="{s}"}}': n for (r, s), n in sorted(self.requests.items())},
        )
        metric(
            "request_seconds_total",
            "counter",
            "Seconds from a request to the end of its answer.",
            {f'{{route="{route}"}}': n for route, n in sorted(self.seconds.items())},
        )
        metric("refused_total", "counter", "Requests refused: queue full.", {"": self.refused})
        metric("cancelled_total", "counter", "Jobs whose client left.", {"": self.cancelled})
        metric("queue", "gauge", "Jobs that wait.", {"": waiting})
        metric("running", "gauge", "Jobs that run.", {"": running})
        metric("models_loaded", "gauge", "Models in memory.", {"": loaded})
        metric(
            "tokens_total",
            "counter",
            "Tokens drawn and written.",
            {f'{{model="{_label(name)}"}}': n for name, n in sorted(self.tokens.items())},
        )
        metric("steps_total", "counter", "Steps of the batches.", {"": self.steps})
        metric("step_seconds_total", "counter", "Seconds in steps.", {"": self.step_seconds})
        metric("tokens_per_second", "gauge", "Over the last 30 s.", {"": recent / WINDOW})
        return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
