"""A system that starts no more threads of one kind."""

import threading

import pytest


def refuse_threads(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let no thread whose name starts with ``name`` start."""
    start = threading.Thread.start

    def start_or_refuse(thread: threading.Thread) -> None:
        if thread.name.startswith(name):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, 'start', start_or_refuse)
