"""Changes the device, precision or input size of an engine while images are computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
import threading

from depth_anything_ros.errors import DepthAnythingError, InferenceError
from depth_anything_ros.inference.engine import Engine, EngineOptions, EngineState
from depth_anything_ros.inference.ir import error_reason, IrFiles
from depth_anything_ros.inference.pool import OnDone
from depth_anything_ros.inference.rate_engine import RateControlledEngine
from depth_anything_ros.inference.variants import ModelVariants
from depth_anything_ros.model_info import ModelInfo, Size
from depth_anything_ros.process import lower_priority
from depth_anything_ros.vision.color_image import ColorImage

AnyEngine = Engine | RateControlledEngine
Failure = DepthAnythingError | RuntimeError


@dataclass(frozen=True)
class _Switch:
    options: EngineOptions
    image_sizes: tuple[Size, ...]
    done: Callable[[Failure | None], None]


class SwitchableEngine:
    """
    An engine whose options can change without a pause.

    The constructor makes the first engine, a RateControlledEngine if ``options.rate_hz`` is set,
    and raises the errors of Engine. After ``switch`` a thread makes the next engine while the
    present one runs; both need memory until the old one is closed. All of them run what the files
    of the model, or of its INT8 version (see ModelVariants), contained at the start. ``warn`` gets
    problems, ``report`` which variant runs, and the measurements and changes of a
    RateControlledEngine. ``submit`` must be called from one thread at a time; everything else may
    be called from any thread.
    """

    def __init__(self, model: Path | IrFiles, options: EngineOptions,
                 warn: Callable[[str], None] = lambda line: None,
                 report: Callable[[str], None] = lambda line: None) -> None:
        self._variants = ModelVariants(model, warn, report)
        self._warn = warn
        self._report = report
        self._options = options
        self._engine = self._start(options, None)
        self._lock = threading.Lock()
        self._wanted: _Switch | None = None
        self._switching: threading.Thread | None = None
        self._closed = False

    @property
    def options(self) -> EngineOptions:
        """Return the options of the present engine."""
        return self._options

    @property
    def info(self) -> ModelInfo:
        """Return the metadata of the network that runs now."""
        return self._engine.info

    @property
    def state(self) -> EngineState:
        """Return what runs now."""
        return self._engine.state

    @property
    def capacity(self) -> int:
        """Return how many images may be in flight."""
        return self._engine.capacity

    def submit(self, image: ColorImage, on_done: OnDone) -> None:
        """Start inference on the present engine; arguments and errors as in Engine."""
        while True:
            engine = self._engine
            try:
                return engine.submit(image, on_done)
            except InferenceError:
                if engine is self._engine:
                    raise

    def switch(self, options: EngineOptions, image_sizes: Sequence[Size],
               done: Callable[[Failure | None], None]) -> None:
        """
        Run with ``options`` as soon as an engine with them is ready; returns at once.

        The new engine is warmed up for ``image_sizes`` (height, width), the most recent last. A
        thread calls ``done`` with None once the new engine runs, or with the error that keeps the
        old one running. ``done`` is not called if newer options replace these or if the engine is
        closed. RuntimeError if no thread can be started.
        """
        with self._lock:
            if self._closed:
                return
            if self._switching is None:
                switching = threading.Thread(target=self._switch, name='switch_engine',
                                             daemon=True)
                switching.start()
                self._switching = switching
            self._wanted = _Switch(options, tuple(image_sizes), done)

    def close(self) -> None:
        """Wait for a running switch and the images in flight, release everything; idempotent."""
        with self._lock:
            self._closed = True
            self._wanted = None
            switching = self._switching
        if switching is not None and switching is not threading.current_thread():
            switching.join()
        self._engine.close()

    def _switch(self) -> None:
        while (wanted := self._next()) is not None:
            with lower_priority():
                engine, failure = self._make(wanted)
            with self._lock:
                replaced = self._closed or self._wanted is not None
                if engine is not None and not replaced:
                    engine, self._engine, self._options = self._engine, engine, wanted.options
            if engine is not None:
                engine.close()
            if not replaced:
                self._call_done(wanted, failure)

    def _next(self) -> _Switch | None:
        with self._lock:
            wanted, self._wanted = self._wanted, None
            if wanted is None:
                self._switching = None
            return wanted

    def _start(self, options: EngineOptions, before: AnyEngine | None) -> AnyEngine:
        """Return an engine; it uses what ``before`` found of the same files and precision."""
        files = self._variants.fastest(options)
        if before is not None and not self._runs(files, options.precision):
            before = None
        if before is not None and self._options.self_check:
            options = replace(options, checked_device=before.state.device)
        if not options.rate_hz:
            return Engine(files, options, self._warn)
        return RateControlledEngine(files, options, self._warn, self._report,
                                    before if isinstance(before, RateControlledEngine) else None)

    def _make(self, wanted: _Switch) -> tuple[AnyEngine | None, Failure | None]:
        """Return a warm engine or its error; neither if the present one has these options."""
        if wanted.options == self._options:
            return None, None
        first, *others = wanted.image_sizes or (wanted.options.image_hw,)
        engine = None
        try:
            engine = self._start(replace(wanted.options, image_hw=first), self._engine)
            for image_hw in others:
                engine.warm_up(image_hw)
        except Exception as error:  # noqa: B902 - the old engine must keep running
            if engine is not None:
                engine.close()
            if isinstance(error, (DepthAnythingError, RuntimeError)):
                return None, error
            return None, InferenceError(error_reason(error))
        return engine, None

    def _runs(self, files: IrFiles, precision: str) -> bool:
        """Return whether the present engine runs ``files`` in this precision."""
        now = self._options
        return precision == now.precision and files is self._variants.fastest(now)

    def _call_done(self, switch: _Switch, failure: Failure | None) -> None:
        try:
            switch.done(failure)
        except Exception as error:  # noqa: B902 - a fault of ``done`` must not end the thread
            self._warn(f'{type(error).__name__} after the engine was changed: {error}')
