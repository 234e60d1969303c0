"""The alignment of one camera without topics: what it keeps, what it warns of, when."""

from collections.abc import Callable
from dataclasses import replace
import math
from types import SimpleNamespace
from typing import Any

from depth_anything_ros.alignment.fit import AlignmentFrame, Fit
from depth_anything_ros.alignment.ground import GroundSource
from depth_anything_ros.alignment.tracker import Alignment
from depth_anything_ros.errors import AlignmentError, AlignmentHeldError, CameraInfoError
from depth_anything_ros.node.aligner import Aligner, alignment_values
from depth_anything_ros.node.camera_info import CameraView
from depth_anything_ros.parameters import AlignmentSettings, Settings
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np
import pytest
from std_msgs.msg import Header
from tiny import TINY_INFO

MAP = np.full((24, 32), 0.5, np.float32)
VIEW = CameraView(None, Intrinsics(50.0, 50.0, 31.5, 23.5, (48, 64)))
FIT = Fit(2.0, 0.5, 100, 0.1, 0.02, (0.1, 1.0))


class Source:
    """An ``AlignmentSource`` that returns or raises what the test wants."""

    def __init__(self) -> None:
        self.result: Fit | Exception | None = FIT
        self.asked: list[tuple[AlignmentFrame, bool]] = []
        self.closed = 0

    def fit(self, frame: AlignmentFrame, with_shift: bool) -> Fit | None:
        """Return or raise ``result``."""
        self.asked.append((frame, with_shift))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def close(self) -> None:
        """Count the calls."""
        self.closed += 1


class Rig:
    """An Aligner whose source the test controls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, info: dict[str, Any] | None = None,
                 **alignment: Any) -> None:
        self.settings = Settings(metric_scale=1.5, metric_offset=0.25, alignment=AlignmentSettings(
            **{'source': 'motion', 'timeout': 1.0, **alignment}))
        self.warned: list[str] = []
        self.source = Source()
        self.aligner = Aligner(SimpleNamespace(), '', replace(TINY_INFO, **(info or {})),
                               lambda: self.settings, self.warned.append, lambda: False)
        monkeypatch.setattr(self.aligner, 'open_source', lambda name: self.source)

    def update(self, stamp_s: float, result: Fit | Exception | None = FIT) -> Alignment:
        """Return the alignment of an image whose fit is ``result``."""
        self.source.result = result
        return self.aligner.update(header_at(stamp_s), MAP, VIEW, (48, 64))


def header_at(stamp_s: float) -> Header:
    """Return the header of an image."""
    header = Header(frame_id='camera')
    header.stamp.sec, header.stamp.nanosec = divmod(round(stamp_s * 1e9), 10 ** 9)
    return header


@pytest.fixture
def make_rig(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rig]:
    """Return a function that makes an aligner with these parameters, which has begun."""
    def make(**parameters: Any) -> Rig:
        rig = Rig(monkeypatch, **parameters)
        rig.aligner.start()
        return rig
    return make


def test_before_the_first_image_and_without_a_source_there_is_an_answer(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    assert rig.aligner.latest().state == 'waiting' and not rig.aligner.tracks_images
    rig.aligner.track(SimpleNamespace())  # as while the source is being closed
    rig.settings = Settings()
    assert rig.aligner.latest() is None
    with pytest.raises(AlignmentError, match='nothing to freeze'):
        rig.aligner.freeze(True)


def test_the_source_gets_the_frame_at_the_size_of_the_map(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    assert (rig.update(10.25).scale, rig.update(10.25).shift) == (2.0, 0.5)
    frame, with_shift = rig.source.asked[0]
    assert (frame.stamp_s, frame.frame_id, with_shift) == (10.25, 'camera', True)
    assert frame.inverse_depth is MAP
    assert frame.require_camera().size_hw == MAP.shape
    assert frame.require_camera().fx == pytest.approx(25.0, rel=0.03)
    rig.aligner.update(header_at(10.3), MAP, CameraView(None, None, 'not calibrated'),
                       (48, 64))
    with pytest.raises(AlignmentError, match='not calibrated'):
        rig.source.asked[-1][0].require_camera()


@pytest.mark.parametrize(('info', 'fit', 'expected'), [
    ({}, 'scale', False), ({'kind': 'metric', 'max_depth_m': 20.0}, 'auto', False),
    ({'kind': 'metric', 'max_depth_m': 20.0}, 'scale_shift', True),
    ({'has_shift': False}, 'auto', False)])
def test_model_and_parameter_decide_whether_a_shift_is_fitted(
        make_rig: Callable[..., Rig], info: dict[str, Any], fit: str, expected: bool) -> None:
    rig = make_rig(info=info, fit=fit)
    rig.update(10.0)
    assert rig.source.asked[0][1] is expected


def test_a_rejected_image_ages_the_fit_and_one_that_needs_none_does_not(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.update(10.0)
    for stamp_s in (10.5, 11.0, 11.5, 12.0):
        found = rig.update(stamp_s, AlignmentHeldError('standing'))
        assert (found.state, found.reason) == ('fitted', 'standing')
    assert rig.update(12.5, CameraInfoError('no camera')).reason == 'no camera'
    assert rig.update(12.9, None).state == 'fitted', 'no new fit, but no reason against the last'
    found = rig.update(13.1, AlignmentError('dark'))
    assert (found.state, found.reason) == ('stale', 'no good fit for 3.1 s: dark')
    assert rig.aligner.latest() == found


def test_missing_metres_are_a_warning_after_two_seconds_of_images(
        make_rig: Callable[..., Rig]) -> None:
    """Since the first image, since the last metres, and since a clock that is set back."""
    rig, dark = make_rig(), AlignmentError('dark')

    def warns_at(*stamps_s: float) -> list[float]:
        found = []
        for stamp_s in stamps_s:
            rig.warned.clear()
            rig.update(stamp_s, dark)
            found += [stamp_s] if rig.warned else []
        return found

    assert warns_at(10.0, 11.0, 12.0, 12.1) == [12.1]
    assert rig.warned == ['no metric depth: dark']
    assert warns_at(5.0, 6.9, 7.1) == [7.1]
    rig.update(8.0)
    assert warns_at(9.0, 9.5, 10.9, 11.1, 12.0) == [11.1, 12.0]
    rig.aligner.stop()
    rig.aligner.start()
    assert warns_at(60.0, 62.1) == [62.1]


def test_starting_again_forgets_all_but_a_frozen_alignment(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.update(10.0)
    rig.aligner.stop()
    rig.aligner.stop()
    assert rig.source.closed == 1
    assert 'deactivate and activate' in rig.update(10.1).reason
    rig.aligner.start()
    assert rig.aligner.latest().state == 'waiting'
    rig.update(10.2)
    assert rig.aligner.freeze(True).state == 'frozen'
    rig.aligner.stop()
    rig.aligner.start()
    asked = len(rig.source.asked)
    frozen = rig.update(99.0, replace(FIT, scale=9.0))
    assert (frozen.state, frozen.scale, len(rig.source.asked)) == ('frozen', 2.0, asked)
    assert rig.aligner.freeze(False).state != 'frozen'


def test_parameters_of_the_present_settings_judge_the_next_fit(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.settings = replace(rig.settings, alignment=replace(rig.settings.alignment,
                                                           min_support=101))
    assert 'at least 101 are needed' in rig.update(10.0).reason


@pytest.mark.parametrize(('info', 'fit', 'words'), [
    ({}, FIT, 'relative_scale: 2, relative_shift: 0.5'),
    ({'kind': 'metric', 'max_depth_m': 20.0}, FIT,
     'scale 2, shift 0.5 1/m; a metric model has no parameter for a shift'),
    ({'kind': 'metric', 'max_depth_m': 20.0}, replace(FIT, shift=0.0),
     'metric_scale: 0.75, metric_offset: 0.125')])
def test_the_parameters_that_give_the_same_metres_are_named(
        make_rig: Callable[..., Rig], info: dict[str, Any], fit: Fit, words: str) -> None:
    rig = make_rig(info=info)
    assert rig.aligner.as_parameters(rig.update(10.0, fit)).startswith(words)


def test_depth_of_a_sensor_needs_that_source_and_a_fit(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    stale = replace(rig.update(10.0), state='stale', reason='dark')
    with pytest.raises(AlignmentError, match='dark'):
        rig.aligner.measured_depth(header_at(10.0), stale)
    for alignment in (None, rig.update(10.1)):
        with pytest.raises(AlignmentError, match='it needs alignment.source depth'):
            rig.aligner.measured_depth(header_at(10.0), alignment)


def test_values_are_texts_and_those_that_are_unknown_say_so() -> None:
    assert alignment_values(None) == {}
    values = alignment_values(Alignment('fitted', 1 / 3, 0.0, 7, math.nan, 0.125, 1e-3, 'dark'))
    assert values == {
        'state': 'fitted', 'scale [1/m]': '0.333333', 'shift [1/m]': '0', 'residual': '0.125',
        'support': '7', 'outliers': 'none yet', 'age [s]': '0.001', 'reason': 'dark'}


def test_none_has_no_source_and_the_floor_needs_no_topic() -> None:
    aligner = Aligner(SimpleNamespace(), '', TINY_INFO, Settings, [].append, lambda: False)
    assert aligner.open_source('none') is None
    assert isinstance(aligner.open_source('ground'), GroundSource)
