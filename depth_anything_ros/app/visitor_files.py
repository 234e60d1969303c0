"""The files of visitors: which of them may be read, and when they are removed."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
import shutil
import tempfile
import threading
import time

from depth_anything_ros.errors import ImageError
from depth_anything_ros.resources import photographs

# Files of visitors are removed after this time [s], and the page's own copies of answers, which
# Gradio copies once more when it sends them; both are looked for at this period.
KEPT_S, _ANSWER_KEPT_S, _PERIOD_S = 3600, 600, 300


class VisitorFiles:
    """
    The files below ``folder``: what visitors sent, and what they get.

    All methods may be called from any thread.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: set[Path] = set()
        self._closing = threading.Event()

    def uploaded(self, file: str) -> Path:
        """Return a file that a visitor named; ImageError for any other file of this machine."""
        path = Path(file).resolve()
        if not any(path.is_relative_to(folder.resolve())
                   for folder in (self._folder, photographs())):
            raise not_sent(file)
        return path

    def new_folder(self) -> Path:
        """Return a folder for the files of one answer."""
        return Path(tempfile.mkdtemp(prefix='answer-', dir=self._folder))

    @contextmanager
    def written_folder(self) -> Iterator[Path]:
        """Yield a folder for an answer that stays while the block runs, however long that is."""
        folder = self.new_folder()
        self._written.add(folder)
        try:
            yield folder
        finally:
            self._written.remove(folder)

    @contextmanager
    def removed_when_old(self) -> Iterator[None]:
        """Remove old files while the block runs, but none that are there at its beginning."""
        kept = set(self._folder.rglob('*'))

        def remove() -> None:
            while not self._closing.wait(_PERIOD_S):
                self._remove_old(kept)

        thread = threading.Thread(target=remove, name='remove old files', daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closing.set()
            thread.join()

    def _remove_old(self, kept: set[Path]) -> None:
        now = time.time()
        for folder in self._folder.glob('answer-*'):
            # Its file may be written all the time without a change of the folder.
            if folder not in self._written and _age_s(folder, now) > _ANSWER_KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
        for path in set(self._folder.rglob('*')) - kept:
            if (path.is_file() and not self._written.intersection(path.parents)
                    and _age_s(path, now) > KEPT_S):
                # Gradio may have removed it meanwhile.
                with suppress(OSError):
                    path.unlink()


def not_sent(file: str) -> ImageError:
    """Return the error for a file that was not uploaded."""
    return ImageError(f'{file} was not sent to this page; upload it')


def _age_s(path: Path, now: float) -> float:
    """Return the time since a path changed, 0 for one that is gone; copies keep their mtime."""
    with suppress(OSError):
        return now - path.stat().st_ctime
    return 0.0
