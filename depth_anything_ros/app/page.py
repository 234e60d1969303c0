"""The page itself: what visitors see, and what their events call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import functools
import inspect
from pathlib import Path
import threading
from typing import Any, get_args, TypeGuard

from depth_anything_ros.app.models import ModelChoice, ModelSlot
from depth_anything_ros.app.pictures import (
    BACKGROUND, Camera, compute_picture, draw, Look, PictureDepth, write_cloud, write_downloads,
    write_shown)
from depth_anything_ros.app.videos import compute_video, STOPPED
from depth_anything_ros.app.visitor_files import KEPT_S, not_sent, VisitorFiles
from depth_anything_ros.app.visits import Visit
from depth_anything_ros.errors import (
    DepthAnythingError, ImageError, InferenceError, line_of)
from depth_anything_ros.media.folders import files_below
from depth_anything_ros.media.pictures import SUFFIXES
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.resources import photographs
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.colorize import ColorMap
import gradio as gr

# The fonts of the visitor's machine: Gradio's themes load theirs from Google.
PLAIN = gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace'])
# The first two are drawn in the chosen colours and their range.
_DOWNLOADS, _COLORED = ('Colour PNG', 'Gray PNG', '16-bit PNG', 'NumPy', 'PLY'), 2
# The types of the values of an input; Gradio checks only some.
_TYPES: dict[type, Any] = {gr.Dropdown: str, gr.Number: (int, float, type(None)),
                           gr.Checkbox: bool}
# Jobs that use the model run one after the other.
_ONE_BY_ONE = {'concurrency_limit': 1, 'concurrency_id': 'model'}
# By default the browser drops an event that comes while the former one of its kind runs.
_PREPARING = {'concurrency_limit': 2, 'concurrency_id': 'files', 'show_progress': 'minimal',
              'trigger_mode': 'always_last'}


@dataclass
class Page:
    """
    What all visitors share; ``any_path``: they may name models by path.

    Gradio calls the ``on_*`` methods through ``event``, until ``end``.
    """

    slot: ModelSlot
    choice: ModelChoice
    models: dict[Path, ModelInfo]
    devices: list[str]
    files: VisitorFiles
    any_path: bool
    stops: dict[str, threading.Event] = field(default_factory=dict)
    _events: threading.Condition = field(default_factory=threading.Condition)
    _running: int = 0
    _ending: bool = False

    def chosen(self, model: str, input_size: float | None, device: str) -> ModelChoice:
        """Return the model that a visitor chose."""
        return ModelChoice(Path(model), int(input_size or 0), device, self.choice.precision)

    def event(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """
        Return ``handler`` as Gradio calls it.

        It shows an expected error to the visitor, without the folder that an upload is in.
        """
        @functools.wraps(handler)
        def shown(*args: Any, **options: Any) -> Any:
            try:
                with self._counted():
                    return handler(*args, **options)
            except (DepthAnythingError, OSError) as error:
                folder = str(Path(args[0]).parent) if args and isinstance(args[0], str) else ''
                sentence = str(error).replace(f'{folder}/', '') if folder else str(error)
                raise gr.Error(sentence, print_exception=False) from error

        shown.__signature__ = inspect.signature(handler)  # type: ignore[attr-defined]
        return shown

    def end(self) -> None:
        """
        Let videos end after their present frame, wait for every event, and refuse others.

        Gradio's threads are daemons: Python would end them within OpenCV, which aborts.
        """
        with self._events:
            self._ending = True
            for stop in list(self.stops.values()):
                stop.set()
            self._events.wait_for(lambda: not self._running)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._events:
            if self._ending:
                raise InferenceError('the program is ending; start it again')
            self._running += 1
        try:
            yield
        finally:
            with self._events:
                self._running -= 1
                self._events.notify_all()

    def on_picture(self, file: str | None, model: str, input_size: float | None, device: str,
                   color_map: ColorMap, low: float, high: float, former: Visit | None) -> Any:
        """Compute a picture; show it without the former files, and keep the depth."""
        visit, shown, sentence = None, None, ''
        if file is not None:
            look, choice = Look(color_map, low, high), self.chosen(model, input_size, device)
            visit = Visit(compute_picture(self.slot, choice, self.files.uploaded(file)))
            shown = self._shown(visit.result, look)
            sentence = visit.result.inference.sentence(choice)
        if former is not None:
            former.begin_drawing()
        return visit, shown, sentence, *_no_files(len(_DOWNLOADS)), None

    def on_look(self, visit: Visit | None, sentence: str, color_map: ColorMap, low: float,
                high: float) -> Any:
        """Draw the visitor's depth with other colours, and take back the files with others."""
        look = Look(color_map, low, high)
        if not _is_kept(visit, sentence):
            return None, *_no_files(_COLORED)
        event = visit.begin_drawing()
        shown = self._shown(visit.result, look)
        if event is not visit.drawing:
            return [gr.skip()] * (1 + _COLORED)
        return shown, *_no_files(_COLORED)

    def on_camera(self, visit: Visit | None, sentence: str, *values: Any) -> Any:
        """Prepare the files for another camera."""
        return self.on_files(visit if _is_kept(visit, sentence) else None, *values)

    def on_files(self, visit: Visit | None, color_map: ColorMap, low: float, high: float,
                 *camera: float) -> Any:
        """
        Prepare the downloads and the 3-D view of the visitor's depth.

        Without the cloud, and with a warning, if the camera cannot be.
        """
        if visit is None:
            return *_no_files(len(_DOWNLOADS)), None
        event, folder = visit.begin_preparing(), self.files.new_folder()
        files = [gr.update(value=path, interactive=True) for path in write_downloads(
            folder, visit.result, Look(color_map, low, high))]
        try:
            ply, glb, position = write_cloud(folder, visit.result.name, visit.result.cloud(
                Camera(*(value or 0.0 for value in camera))))
        except DepthAnythingError as error:
            files, cloud = [*files, *_no_files(1)], None
            gr.Warning(str(error))
        else:
            files.append(gr.update(value=ply, interactive=True))
            cloud = gr.update(value=glb, camera_position=position)
        return (*files, cloud) if event is visit.preparing else [gr.skip()] * (len(files) + 1)

    def on_compare(self, file: str | None, *choices: Any) -> Any:
        """Compute a picture with two models, one after the other."""
        if file is None:
            raise ImageError('there is no picture to compare; upload one')
        shown, sentences = [], []
        for side in ('A', 'B'):
            choice = self.chosen(*(choices[:3] if side == 'A' else choices[3:]))
            result = compute_picture(self.slot, choice, self.files.uploaded(file))
            shown += write_shown(self.files.new_folder(), side, [draw(result, Look())])
            sentences.append(result.inference.sentence(choice))
        return *shown, *sentences

    def on_video(self, file: str | None, model: str, input_size: float | None, device: str,
                 color_map: ColorMap, alone: bool, request: gr.Request,
                 progress: gr.Progress = gr.Progress()) -> Any:  # noqa: B008
        """Compute a video until its end or until its visitor stops it."""
        if file is None:
            raise ImageError('there is no video; upload one')
        video, session = self.files.uploaded(file), str(request.session_hash)
        stop = self.stops.setdefault(session, threading.Event())
        if self._ending:
            stop.set()

        def advance(done: int, total: int | None) -> None:
            progress((done, total), desc='depth', unit='frames')

        try:
            if stop.is_set():
                return None, *_no_files(1), STOPPED
            with self.files.written_folder() as folder:
                target = folder / f'{video.stem}_depth.mp4'
                result = compute_video(self.slot, self.chosen(model, input_size, device), video,
                                       target, color_map, alone, stop, advance)
                still, = write_shown(folder, 'last', [result.picture_bgr])
        finally:
            self.stops.pop(session, None)
        text = (f'{result.frames} frames in {result.seconds:.1f} s '
                f'({result.frames / result.seconds:.1f}/s)')
        return (still, gr.update(value=target, interactive=True),
                f'{text}; {result.problem}' if result.problem else text)

    def on_video_asked(self, request: gr.Request) -> None:
        """Let the visitor's next video be stopped while it waits for those of others, too."""
        self.stops.setdefault(str(request.session_hash), threading.Event())

    def on_stop(self, request: gr.Request) -> Any:
        """End the visitor's video after its present frame, or before its first one."""
        stop = self.stops.get(str(request.session_hash))
        if stop is None:
            return gr.skip()
        stop.set()
        return 'Stopping: what is done is kept'

    def on_leave(self, request: gr.Request) -> None:
        """End the video of a visitor who closed the page."""
        if stop := self.stops.pop(str(request.session_hash), None):
            stop.set()

    def _shown(self, result: PictureDepth, look: Look) -> tuple[Path, Path]:
        image, depth = write_shown(self.files.new_folder(), result.name,
                                   [to_bgr(result.image), draw(result, look)])
        return image, depth


def make_page(page: Page) -> gr.Blocks:
    """Return the page with its events."""
    with gr.Blocks(title='Depth Anything', analytics_enabled=False) as blocks:
        gr.Markdown('# Depth from one picture\nComputed on this machine. Nothing is sent '
                    'elsewhere; files are removed after an hour and when the program ends.')
        with gr.Tab('Picture'):
            _picture_tab(page)
        with gr.Tab('Compare two models'):
            _compare_tab(page)
        with gr.Tab('Video'):
            _video_tab(page)
        blocks.unload(page.on_leave)
    blocks.preprocess_data = _checked_inputs(blocks.preprocess_data)
    return blocks.queue()


def _picture_tab(page: Page) -> None:
    visit = gr.State(None, time_to_live=KEPT_S)
    with gr.Row():
        with gr.Column():
            picture = _picture_input('picture')
            choice = _model_inputs(page)
            button = gr.Button('Compute depth', variant='primary')
            look = [_color_map(),
                    gr.Slider(0, 100, 0, step=1, label='Colours start at [% of the range]'),
                    gr.Slider(0, 100, 100, step=1, label='Colours end at [% of the range]')]
            with gr.Accordion('Camera, for the point cloud', open=False):
                camera = [gr.Number(60, label='Horizontal field of view [degrees]'),
                          *(gr.Number(0, label=f'{name} [px of the picture]'
                                      + ', 0: use the field of view' * (name == 'fx'))
                            for name in ('fx', 'fy', 'cx', 'cy'))]
            _examples(picture)
        with gr.Column():
            shown = gr.ImageSlider(label='Picture and depth', interactive=False, elem_id='depth')
            sentence = gr.Markdown(elem_id='sentence')
            with gr.Row():
                files = [gr.DownloadButton(name, interactive=False, size='sm', min_width=70,
                                           elem_id=f'file_{number}')
                         for number, name in enumerate(_DOWNLOADS)]
            cloud = gr.Model3D(label='Point cloud; drag to turn', display_mode='point_cloud',
                               clear_color=(*(value / 255 for value in BACKGROUND), 1.0),
                               height=420, elem_id='cloud')
    outputs = [*files, cloud]
    prepared = {'fn': page.event(page.on_files), 'inputs': [visit, *look, *camera],
                'outputs': outputs, **_PREPARING}
    gr.on([picture.change, button.click], page.event(page.on_picture),
          [picture, *choice, *look, visit], [visit, shown, sentence, *outputs], api_name='depth',
          **_ONE_BY_ONE).success(**prepared, api_name='files')
    gr.on([look[0].input, look[1].release, look[2].release], page.event(page.on_look),
          [visit, sentence, *look], [shown, *files[:_COLORED]], api_name='look',
          **_PREPARING).success(**prepared, api_visibility='private')
    gr.on([number.submit for number in camera], page.event(page.on_camera),
          [visit, sentence, *look, *camera], outputs, api_visibility='private', **_PREPARING)


def _compare_tab(page: Page) -> None:
    picture = _picture_input('compared')
    with gr.Row():
        sides = [_compared_side(page, name) for name in ('A', 'B')]
    button = gr.Button('Compare', variant='primary')
    _examples(picture)
    choices = [[choice, shown, sentence] for choice, shown, sentence in sides]
    button.click(page.event(page.on_compare), [picture, *choices[0][0], *choices[1][0]],
                 [choices[0][1], choices[1][1], choices[0][2], choices[1][2]],
                 api_name='compare', **_ONE_BY_ONE)


def _compared_side(page: Page, name: str) -> tuple[list[Any], Any, Any]:
    with gr.Column():
        choice = _model_inputs(page)
        return choice, gr.Image(label=f'Depth {name}', interactive=False), gr.Markdown()


def _video_tab(page: Page) -> None:
    with gr.Row():
        with gr.Column():
            video = gr.File(label='Video', elem_id='video')
            choice = _model_inputs(page)
            look = [_color_map(), gr.Checkbox(label='Depth alone, without the image beside it')]
            with gr.Row():
                button = gr.Button('Compute depth', variant='primary', elem_id='video_start')
                stop = gr.Button('Stop')
        with gr.Column():
            still = gr.Image(label='Last frame', interactive=False)
            sentence = gr.Markdown(elem_id='video_sentence')
            file = gr.DownloadButton('mp4', interactive=False, elem_id='video_file')
    button.click(page.on_video_asked, queue=False, api_visibility='private').success(
        page.event(page.on_video), [video, *choice, *look], [still, file, sentence],
        api_name='video', **_ONE_BY_ONE)
    stop.click(page.on_stop, None, sentence, queue=False, api_visibility='private')


def _no_files(count: int) -> list[Any]:
    """Return ``count`` buttons for download without a file."""
    return [gr.update(value=None, interactive=False)] * count


def _is_kept(visit: Visit | None, sentence: str) -> TypeGuard[Visit]:
    """Return whether there is depth; ImageError if only the page of the visitor shows some."""
    if visit is None and sentence:
        raise ImageError('the depth of this picture is no longer kept; press Compute depth')
    return visit is not None


def _picture_input(name: str) -> gr.Image:
    """Return an input that gives events the path of the file as it was uploaded."""
    picture = gr.Image(sources=['upload', 'clipboard', 'webcam'], label='Picture', elem_id=name,
                       type='filepath', height=320)
    # read_picture decodes the file and says what is wrong with it, instead of Gradio.
    picture.preprocess = lambda payload: None if payload is None else payload.path
    return picture


def _model_inputs(page: Page) -> list[Any]:
    names = [(f'{path.stem} ({info.kind}, {info.precision})', str(path))
             for path, info in page.models.items()]
    devices = list(dict.fromkeys([page.choice.device, *page.devices]))
    model = gr.Dropdown(
        names, value=str(page.choice.path), allow_custom_value=page.any_path,
        label='Model, or path of an .xml' if page.any_path else 'Model')
    with gr.Row():
        size = gr.Number(page.choice.input_size, precision=0,
                         label='Input size [px], 0: default of the model')
        device = gr.Dropdown(devices, value=page.choice.device, label='Device')
    return [model, size, device]


def _color_map() -> gr.Dropdown:
    return gr.Dropdown(list(get_args(ColorMap)), value='spectral_r', label='Colour map')


def _examples(picture: gr.Image) -> None:
    files = files_below(photographs(), SUFFIXES)
    if files:
        gr.Examples([str(file) for file in files], picture, label='Photographs of the package')


def _checked_inputs(preprocess: Callable[..., Any]) -> Callable[..., Any]:
    """Answer wrong values of a request with a sentence; Gradio would print a traceback."""
    async def checked(event: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        try:
            _refuse_addresses(inputs)
            values = await preprocess(event, inputs, *args, **options)
            for component, value in zip(event.inputs, values):
                if not isinstance(value, _TYPES.get(type(component), object)):
                    raise TypeError(f'{component.label}: {value!r:.40}')
        except Exception as error:  # noqa: B902 - wrong values lead Gradio to any exception
            reason = (error.message if isinstance(error, gr.Error) else
                      str(error) if isinstance(error, ImageError) else
                      f'a value is missing or of the wrong type ({line_of(error):.200})')
            raise gr.Error(reason, print_exception=False) from error
        return values

    return checked


def _refuse_addresses(value: Any) -> None:
    """Raise ImageError for a file of another server, which Gradio would fetch."""
    if isinstance(value, dict):
        path = value.get('path')
        if isinstance(path, str) and '://' in path:
            raise not_sent(path)
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        _refuse_addresses(inner)
