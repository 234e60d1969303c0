"""The web page: the scene in 3-D, and a panel with pictures, statuses, buttons and parameters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
import io
import itertools
from typing import Any, Protocol

from depth_anything_ros.arrays import U8
from depth_anything_ros.cli.listening import listening_port
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.ros.observer import TRANSITIONS
from depth_anything_ros.view.controls import ParameterControls, RUNTIME
from depth_anything_ros.view.own_requests import own_requests_only
from depth_anything_ros.view.pictures import Cloud, View
from depth_anything_ros.view.statuses import CameraStatus, paragraph, statuses_html
import numpy as np
import viser

# Clouds of several cameras stand side by side, each in its optical frame.
_DISTANCE_M = 6.0
# The side of the square that is drawn for a point.
_POINT_M = 0.016
_UNSEEN = Cloud(np.full((2, 3), 6e4, np.float32), np.zeros((2, 3), np.uint8))
_EMPTY = np.zeros((3, 4, 3), np.uint8)
TITLES = {'depth': 'Colour depth', 'image': 'Image', 'cloud': 'Point cloud'}


class Requests(Protocol):
    """What the buttons of the page do; see ``view.requests.NodeRequests``."""

    def change_state(self, transition: str) -> None:
        """Request a transition."""

    def freeze_alignment(self, on: bool) -> None:
        """Freeze the alignment, or release it."""

    def save_snapshot(self) -> None:
        """Write the next frame to a folder."""

    def get_parameters(self, names: Sequence[str],
                       on_values: Callable[[Mapping[str, Any]], object]) -> None:
        """Pass the values of parameters to ``on_values``."""

    def set_parameters(self, values: Mapping[str, Any],
                       on_done: Callable[[], object]) -> None:
        """Set parameters, then call ``on_done``."""


@dataclass
class _CameraPanel:
    """The controls of one camera, and its objects in the scene."""

    folder: Any
    switches: dict[str, Any]
    pictures: dict[str, Any]
    origin: Any
    place: int
    points: Any = None
    frustum: Any = None
    view: View | None = None


class Page:
    """
    The page and its server, which listens as soon as the page exists.

    What ``show_*`` methods and ``say`` display replaces what was there, so that a browser with a
    slow connection gets only the newest of it. All methods may be called from any thread, but
    those that show pictures, clouds and statuses only from one at a time. OSError if ``host`` and
    ``port`` cannot be used.
    """

    def __init__(self, node: str, host: str, port: int) -> None:
        self.port = listening_port(host, port)
        with redirect_stdout(io.StringIO()), own_requests_only(host):
            self._server = viser.ViserServer(host, self.port, label=node, verbose=False)
        # Any visitor could ask for a tunnel from the internet to this page.
        self._server.request_share_url = _open_no_tunnel
        gui = self._server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, control_width='large')
        # The optical frame: x to the right, y down, z forward. The view is from behind and above.
        self._server.scene.set_up_direction('-y')
        self._server.initial_camera.position = (0.0, -0.8, -1.8)
        self._server.initial_camera.look_at = (0.0, 0.2, 3.0)
        # The page makes a new material for the cloud of each message. Browsers would compile its
        # shader each time if no other cloud, here one too far to be seen, had it.
        self._add_cloud('/shader', _UNSEEN)
        self._cameras: dict[str, _CameraPanel] = {}
        tabs = gui.add_tab_group()
        self._live, self._buttons = tabs.add_tab('Live'), tabs.add_tab('Control')
        self._parameters = tabs.add_tab('Parameters')
        with self._live:
            self._statuses = gui.add_html(statuses_html(()))
        with self._parameters:
            self._controls = ParameterControls(gui)
        self._answer = gui.add_html('')
        self.say(f'requests go to {node}')

    @property
    def watchers(self) -> int:
        """Return the number of browsers that show the page."""
        return len(self._server.get_clients())

    def connect(self, requests: Requests) -> None:
        """Add the buttons, which send ``requests``."""
        self._requests = requests
        gui = self._server.gui
        with self._buttons:
            with gui.add_folder('Lifecycle'):
                for name in TRANSITIONS:
                    _on_click(gui.add_button(name), partial(requests.change_state, name))
            with gui.add_folder('Services'):
                _on_click(gui.add_button('freeze alignment'),
                          partial(requests.freeze_alignment, True))
                _on_click(gui.add_button('release alignment'),
                          partial(requests.freeze_alignment, False))
                _on_click(gui.add_button('save snapshot'), requests.save_snapshot)
        with self._parameters:
            _on_click(gui.add_button('apply changes', order=-2), self._apply)
            _on_click(gui.add_button('read the values of the node', order=-1),
                      self.read_parameters)

    def read_parameters(self, keep_changes: bool = False) -> None:
        """Show the values that the parameters of the node have now."""
        self._requests.get_parameters(
            [spec.name for spec in RUNTIME],
            partial(self._controls.show, keep_changes=keep_changes))

    def set_cameras(self, names: Iterable[str]) -> None:
        """Show a folder for each camera, and none for others."""
        names = list(names)
        for gone in set(self._cameras) - set(names):
            panel = self._cameras.pop(gone)
            panel.folder.remove()
            panel.origin.remove()
        for name in names:
            if name not in self._cameras:
                self._cameras[name] = self._camera_panel(name)

    def wanted(self) -> set[tuple[str, str]]:
        """Return the (camera, panel) pairs that are switched on."""
        return {(camera, name) for camera, panel in self._cameras.items()
                for name, switch in panel.switches.items() if switch.value}

    def show_statuses(self, statuses: Mapping[str, CameraStatus]) -> None:
        """Show the statuses, or that there is none."""
        self._statuses.content = statuses_html(statuses.values())

    def show_picture(self, camera: str, panel: str, image_rgb: U8) -> None:
        """Show an image [H, W, 3] in the panel depth or image of a camera."""
        found = self._cameras.get(camera)
        if found is None or not found.switches[panel].value:
            return
        found.pictures[panel].image = image_rgb
        if not found.pictures[panel].visible:
            found.pictures[panel].visible = True

    def show_cloud(self, camera: str, cloud: Cloud) -> None:
        """Show the points of a camera."""
        found = self._cameras.get(camera)
        if found is None or not len(cloud.points) or not found.switches['cloud'].value:
            return
        if found.points is None:
            found.points = self._add_cloud(f'{_scene_name(camera)}/points', cloud)
            return
        with self._server.atomic():
            found.points.points = cloud.points
            found.points.colors = cloud.colors
        if not found.points.visible:
            found.points.visible = True

    def show_view(self, camera: str, view: View) -> None:
        """Show the frustum of a camera."""
        found = self._cameras.get(camera)
        if found is not None and found.view != view:
            found.view = view
            found.frustum = self._server.scene.add_camera_frustum(
                f'{_scene_name(camera)}/frustum', view.vertical_fov, view.aspect, scale=0.5,
                color=(230, 119, 0))

    def forget_views(self) -> None:
        """Let the frustums of all cameras be read again, as of a node that has started again."""
        for panel in self._cameras.values():
            panel.view = None

    def has_view(self, camera: str) -> bool:
        """Return whether the frustum of a camera is shown."""
        found = self._cameras.get(camera)
        return found is not None and found.view is not None

    def say(self, sentence: str) -> None:
        """Show a sentence below the buttons: the answer to the latest request."""
        self._answer.content = paragraph(sentence)

    def close(self) -> None:
        """Stop the server; idempotent."""
        with redirect_stdout(io.StringIO()):
            self._server.stop()

    def _apply(self) -> None:
        try:
            changes = self._controls.changes()
        except SettingsError as error:
            self.say(str(error))
            return
        if changes:
            # Refused values stay in the controls, so that they can be corrected.
            self._requests.set_parameters(
                changes, partial(self.read_parameters, keep_changes=True))
        elif self._controls.shown:
            self.say('no parameter was changed')
        else:
            self.read_parameters()

    def _add_cloud(self, name: str, cloud: Cloud) -> viser.PointCloudHandle:
        return self._server.scene.add_point_cloud(
            name, cloud.points, cloud.colors, point_size=_POINT_M, point_shape='square',
            point_shading='flat')

    def _camera_panel(self, name: str) -> _CameraPanel:
        gui = self._server.gui
        with self._live:
            folder = gui.add_folder(name or 'Camera')
        with folder:
            switches = {panel: gui.add_checkbox(title, True) for panel, title in TITLES.items()}
            pictures = {panel: gui.add_image(_EMPTY, label=TITLES[panel], format='jpeg',
                                             visible=False) for panel in ('depth', 'image')}
        taken = {panel.place for panel in self._cameras.values()}
        place = next(place for place in itertools.count() if place not in taken)
        origin = self._server.scene.add_frame(
            _scene_name(name), show_axes=False, position=(_DISTANCE_M * place, 0, 0))
        panel = _CameraPanel(folder, switches, pictures, origin, place)
        for switch in switches.values():
            switch.on_update(lambda event: _hide_what_is_off(panel))
        return panel


def _on_click(button: Any, call: Callable[[], object]) -> None:
    button.on_click(lambda event: call())


def _hide_what_is_off(panel: _CameraPanel) -> None:
    """Hide what does not move any more; the next message shows it again."""
    for name, switch in panel.switches.items():
        element = panel.points if name == 'cloud' else panel.pictures[name]
        if element is not None and element.visible and not switch.value:
            element.visible = False


def _open_no_tunnel(verbose: bool = True) -> None:
    """Stand in for the function of viser that opens one."""


def _scene_name(camera: str) -> str:
    return f'/{camera or "camera"}'
