"""Text that ends at the first of some words, which may come in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Hands text on until one of ``stop`` appears; holds back what may become one."""

    def __init__(self, stop: Sequence[str]):
        self._stop = [word for word in stop if word]
        self._held = ""
        self.found = False

    def add(self, piece: str) -> str:
        """What of the text so far is safe to hand on."""
        if self.found:
            return ""
        text = self._held + piece
        places = [at for word in self._stop if (at := text.find(word)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        longest = max(
            (n for word in self._stop for n in range(1, len(word)) if text.endswith(word[:n])),
            default=0,
        )
        cut = len(text) - longest
        self._held = text[cut:]
        return text[:cut]

    def end(self) -> str:
        """What was held back, once there is nothing more to come."""
        held, self._held = self._held, ""
        return held
