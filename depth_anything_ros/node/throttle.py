"""Saying a thing once: the same sentence is not repeated for every frame."""

from collections.abc import Callable
import time

_KEPT = 64


class ThrottledLogger:
    """
    Pass a sentence on at once, and again only after ``period_s``.

    Use one per logger method; at most 64 sentences are remembered.
    """

    def __init__(self, say: Callable[[str], object], period_s: float = 10.0) -> None:
        self._say = say
        self._period_s = period_s
        self._said_at: dict[str, float] = {}

    def __call__(self, sentence: str) -> None:
        """Say ``sentence`` unless it was said within the period."""
        now = time.monotonic()
        if now - self._said_at.get(sentence, float('-inf')) < self._period_s:
            return
        if len(self._said_at) >= _KEPT:
            self._said_at.clear()
        self._said_at[sentence] = now
        self._say(sentence)
