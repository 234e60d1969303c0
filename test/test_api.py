"""The Python API: what is exported, what is loaded when, what it computes and refuses."""

from collections.abc import Callable, Iterator
from itertools import repeat
import logging
from pathlib import Path
import subprocess
import sys
import threading
import time
from typing import Any

import cv2
import depth_anything_ros
from depth_anything_ros import (
    CameraInfoError, DepthModel, DeviceError, errors, ImageError, InferenceError,
    InferenceTimeoutError, Intrinsics, load_model, ModelError, point_cloud, SettingsError,
    to_metric)
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.resources import shipped_model
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image
from depth_anything_ros.vision.transforms import resize_depth
from fake_engine import FakeEngine
import numpy as np
import pytest
from tiny import weighted_sum

pytest.importorskip('openvino')

ROOT = Path(__file__).parents[1]
IMAGE_HW = (120, 160)
IMAGE = self_check_image(IMAGE_HW)
MakeModel = Callable[..., DepthModel]


@pytest.fixture
def make_model(tiny_ir: Path) -> Iterator[MakeModel]:
    """Return ``load_model`` for the tiny IR in f32; all models are closed afterwards."""
    models: list[DepthModel] = []

    def make(path: Path = tiny_ir, **options: Any) -> DepthModel:
        models.append(load_model(path, **{'precision': 'f32', 'image_hw': IMAGE_HW, **options}))
        return models[-1]

    yield make
    for model in models:
        model.close()


def constant_image(value: int, size_hw: tuple[int, int] = IMAGE_HW) -> np.ndarray:
    """Return a BGR image of one value."""
    return np.full((*size_hw, 3), value, np.uint8)


def printed_by(program: str) -> str:
    """Return what a program prints in a fresh interpreter."""
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def request_threads() -> set[threading.Thread]:
    """Return the threads of the infer requests that exist now."""
    return {thread for thread in threading.enumerate()
            if thread.name.startswith('infer_request')}


def test_the_exported_members_are_these_and_all_exist() -> None:
    of_errors = {name for name, value in vars(errors).items()
                 if isinstance(value, type) and issubclass(value, Exception)}
    assert set(depth_anything_ros.__all__) == of_errors | {
        '__version__', 'DepthModel', 'Intrinsics', 'ModelInfo', 'convert_model', 'load_model',
        'point_cloud', 'to_metric'}
    for name in depth_anything_ros.__all__:
        assert getattr(depth_anything_ros, name) is not None
        assert name in dir(depth_anything_ros)
    with pytest.raises(ImportError, match='load_modle'):
        from depth_anything_ros import load_modle  # noqa: F401


def test_no_exported_name_is_that_of_a_subpackage() -> None:
    """Importing the subpackage would replace the member: the converter is ``convert_model``."""
    folders = {path.parent.name for path in (ROOT / 'depth_anything_ros').glob('*/__init__.py')}
    files = {path.stem for path in (ROOT / 'depth_anything_ros').glob('*.py')}
    assert not (folders | files) & set(depth_anything_ros.__all__)


def test_importing_the_package_loads_no_numpy_and_no_openvino() -> None:
    loaded = ("print(sorted({'numpy', 'cv2', 'openvino', 'torch', 'rclpy'} & set(sys.modules)))")
    assert printed_by(f'import sys, depth_anything_ros; {loaded}') == '[]'
    assert printed_by(f'import sys; from depth_anything_ros import load_model; {loaded}') == (
        "['cv2', 'numpy']")


def test_without_opencv_the_error_says_how_to_install_it() -> None:
    assert 'python3-opencv' in printed_by("""
import sys
sys.modules['cv2'] = None
import depth_anything_ros
try:
    from depth_anything_ros import load_model
except depth_anything_ros.MissingDependencyError as error:
    print(error)
""")


def test_without_torch_the_error_of_a_conversion_says_how_to_install_it() -> None:
    assert 'depth_anything_ros[convert]' in printed_by("""
import sys
sys.modules['torch'] = None
from depth_anything_ros import convert_model, MissingDependencyError
try:
    convert_model('a.pth', 'a.xml')
except MissingDependencyError as error:
    print(error)
""")


def test_types_are_shipped_for_type_checkers() -> None:
    assert (ROOT / 'depth_anything_ros' / 'py.typed').is_file()
    assert "package_data={NAME: ['py.typed']}" in (ROOT / 'setup.py').read_text()


def test_the_model_in_the_box_computes_what_the_engine_computes() -> None:
    image = self_check_image((96, 128))
    engine = Engine(shipped_model(), EngineOptions(precision='f32', image_hw=(96, 128)))
    try:
        expected = wait_for_one(
            lambda done: engine.submit(ColorImage(image, 'bgr'), done))
    finally:
        engine.close()
    with load_model(precision='f32', image_hw=(96, 128)) as model:
        assert (model.info.kind, model.info.unit) == ('relative', '')
        native, depth = model.infer(image, output_size='native'), model.infer(image)
        assert native.shape == model.info.output_hw(model.state.network_hw)
    np.testing.assert_array_equal(native, expected)
    np.testing.assert_array_equal(depth, resize_depth(expected, (96, 128)))
    assert depth.dtype == np.float32


def test_a_metric_model_says_its_unit(make_model: MakeModel, make_ir: Callable[..., Path]) -> None:
    model = make_model(make_ir(kind='metric', max_depth_m=20.0))
    assert (model.info.kind, model.info.unit) == ('metric', 'm')


def test_options_reach_the_engine(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(input_size=56, requests=3, cache_dir=tmp_path / 'new')
    assert model.state.input_size == 56 and model.state.network_hw == (56, 70)
    assert model.state.execution_precision == 'f32' and model.state.device == 'CPU'
    assert model.infer(IMAGE).shape == IMAGE_HW
    assert list((tmp_path / 'new').rglob('*.blob'))


def test_an_empty_cache_dir_is_none(
        make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_model(cache_dir='')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('make_other', [
    lambda bgr: np.dstack([bgr, np.full(IMAGE_HW, 255, np.uint8)]),
    lambda bgr: bgr[..., 0],
    lambda bgr: np.asfortranarray(bgr),
    lambda bgr: np.ascontiguousarray(bgr[:, ::-1])[:, ::-1],
    lambda bgr: np.ascontiguousarray(bgr[..., ::-1])[..., ::-1],
    lambda bgr: np.frombuffer(bgr.tobytes(), np.uint8).reshape(bgr.shape)],
    ids=['BGRA', 'gray', 'Fortran order', 'mirrored view', 'RGB view', 'read-only'])
def test_the_layout_of_an_image_does_not_change_its_depth(
        make_model: MakeModel, make_other: Callable[[np.ndarray], np.ndarray]) -> None:
    gray = np.repeat(IMAGE[..., :1], 3, axis=2)
    model = make_model()
    np.testing.assert_array_equal(model.infer(make_other(gray)), model.infer(gray))


@pytest.mark.parametrize(('image', 'fact'), [
    ([[0, 0], [0, 0]], 'NumPy array, not list'),
    (np.zeros((4, 4, 3), np.float32), 'dtype float32; pass uint8'),
    (np.zeros((3, 40, 40), np.uint8), r'shape \(3, 40, 40\); pass BGR'),
    (np.zeros((1, 40, 40, 3), np.uint8), r'shape \(1, 40, 40, 3\); pass BGR'),
    (np.zeros((40, 40, 1), np.uint8), r'shape \(40, 40, 1\); pass BGR'),
    (np.zeros((0, 40, 3), np.uint8), 'empty'),
    (None, 'None, which cv2.imread returns for a file that is missing'),
    (np.zeros((1, 8000, 3), np.uint8), 'too large')])
def test_an_unusable_image_is_refused_with_the_fact_and_the_fix(
        make_model: MakeModel, image: Any, fact: str) -> None:
    model = make_model()
    with pytest.raises(ImageError, match=fact):
        model.infer(image)
    with pytest.raises(ImageError, match=fact):
        list(model.infer_many([image]))
    assert model.infer(IMAGE).shape == IMAGE_HW


@pytest.mark.parametrize('options', [
    {'precision': 'f8'}, {'input_size': -1}, {'requests': -1},
    {'hint': 'FAST'}, {'sizes_kept': 0}, {'image_hw': (0, 10)}, {'image_hw': (480,)},
    {'image_hw': 480}, {'image_hw': (480, 640, 3)}, {'image_hw': (480.0, 640)},
    {'image_hw': ('a', 'b')}, {'request_timeout': 0.0}])
def test_a_wrong_option_is_named(make_model: MakeModel, options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(options))):
        make_model(**options)


def test_a_wrong_output_size_is_named_before_anything_is_computed(make_model: MakeModel) -> None:
    model = make_model()
    for compute in (model.infer, model.infer_many):
        with pytest.raises(SettingsError, match="output_size is 'large'"):
            compute(IMAGE, output_size='large')  # type: ignore[call-overload]


def test_a_missing_model_and_a_missing_device_raise_the_errors_of_the_engine(
        make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='no such file'):
        load_model(str(tmp_path / 'missing.xml'))
    for device in ('GPU.7', 'TPU', ''):
        with pytest.raises(DeviceError, match=f'{device}.* OpenVINO sees: .*CPU'):
            make_model(device=device)


def test_each_device_that_does_not_work_is_logged(
        make_model: MakeModel, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    # Libraries that other tests load configure logging for the whole process.
    monkeypatch.setattr(logging.getLogger('depth_anything_ros.api'), 'disabled', False)
    with caplog.at_level(logging.WARNING, 'depth_anything_ros.api'):
        model = make_model(device='GPU.7,CPU')
    assert model.state.device == 'CPU'
    [record] = caplog.records
    assert record.levelno == logging.WARNING and record.name.startswith('depth_anything_ros')
    assert record.getMessage().startswith('GPU.7 cannot run the model: ')


def test_many_images_of_mixed_sizes_come_back_in_order_at_their_own_size(
        make_model: MakeModel) -> None:
    sizes = ((120, 160), (160, 120), (60, 80), (100, 100))
    images = [constant_image(value, sizes[value % 4]) for value in range(24)]
    model = make_model(requests=3)
    depths = list(model.infer_many(images))
    assert [depth.shape for depth in depths] == [image.shape[:2] for image in images]
    for value, depth in enumerate(depths):
        np.testing.assert_allclose(depth, 7 * value / 255, atol=1e-4)
    assert [depth.shape for depth in model.infer_many(np.stack(images[0:24:4]),
                                                      output_size='native')] == [(112, 154)] * 6


@pytest.mark.parametrize('images', [IMAGE, IMAGE[..., 0]])
def test_one_image_is_not_taken_for_many(make_model: MakeModel, images: np.ndarray) -> None:
    with pytest.raises(ImageError, match='several images'):
        make_model().infer_many(images)


def test_images_are_read_a_few_ahead_of_the_maps(make_model: MakeModel) -> None:
    read: list[int] = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            read.append(len(read))
            yield IMAGE

    model = make_model(requests=2)
    depths = model.infer_many(endless())
    assert read == []
    for number in range(1, 6):
        next(depths)
        assert len(read) == number + 2


def test_stopping_early_leaves_the_model_free_for_others(make_model: MakeModel) -> None:
    model = make_model(requests=2, hint='THROUGHPUT')
    before = request_threads()
    for _ in range(5):
        for _ in model.infer_many(constant_image(0) for _ in range(100)):
            break
    assert request_threads() == before
    np.testing.assert_allclose(model.infer(constant_image(51)), 7 * 0.2, atol=1e-4)


def test_an_error_of_the_images_comes_after_the_maps_before_it(make_model: MakeModel) -> None:
    def images() -> Iterator[np.ndarray]:
        yield from (constant_image(value) for value in range(3))
        raise OSError('the camera was unplugged')

    model, depths = make_model(requests=2), []
    with pytest.raises(OSError, match='unplugged'):
        depths.extend(model.infer_many(images()))
    depths = []
    with pytest.raises(OSError, match='unplugged'):
        for depth in model.infer_many(images()):
            depths.append(float(depth[0, 0]))
    assert depths == pytest.approx([7 * value / 255 for value in range(3)], abs=1e-4)
    assert model.infer(IMAGE).shape == IMAGE_HW


def test_an_unusable_image_among_many_is_raised_in_its_turn(make_model: MakeModel) -> None:
    depths = make_model(requests=2).infer_many([IMAGE, IMAGE, IMAGE.astype(np.float64), IMAGE])
    assert next(depths).shape == next(depths).shape == IMAGE_HW
    with pytest.raises(ImageError, match='float64'):
        next(depths)


def test_errors_of_images_can_be_returned_instead(make_model: MakeModel) -> None:
    images = [constant_image(1), IMAGE.astype(np.float64), np.zeros((1, 8000, 3), np.uint8),
              constant_image(4)]
    first, dtype, size, last = make_model().infer_many(images, return_exceptions=True)
    assert isinstance(dtype, ImageError) and 'float64' in str(dtype)
    assert isinstance(size, ImageError) and 'too large' in str(size)
    np.testing.assert_allclose(first, 7 / 255, atol=1e-4)
    np.testing.assert_allclose(last, 28 / 255, atol=1e-4)


def test_an_error_of_the_device_is_raised_in_its_turn() -> None:
    engine, timeout = FakeEngine(capacity=2), InferenceTimeoutError('NPU', 60.0)
    depths = DepthModel(engine).infer_many([IMAGE] * 3)
    threading.Thread(target=lambda: (engine.answer(1, timeout), engine.answer(0))).start()
    np.testing.assert_array_equal(next(depths), IMAGE[..., 0])
    with pytest.raises(InferenceTimeoutError, match='request_timeout'):
        next(depths)
    assert list(depths) == []


@pytest.mark.parametrize('error', [RuntimeError('Infer Request is busy'), cv2.error('assertion')])
def test_an_error_of_a_library_becomes_one_of_this_package(error: Exception) -> None:
    engine = FakeEngine()
    engine.refuse = error
    with pytest.raises(InferenceError, match=f'cannot be computed: {error}') as raised:
        DepthModel(engine).infer(IMAGE)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(('hint', 'compiled'), [('auto', 2), ('LATENCY', 1), ('THROUGHPUT', 1)])
def test_the_hint_says_how_often_the_model_is_compiled(
        make_model: MakeModel, hint: str, compiled: int) -> None:
    before = request_threads()
    model = make_model(hint=hint, requests=2)
    assert len(request_threads() - before) == 2
    for _ in range(2):
        [depth] = model.infer_many([IMAGE])
        np.testing.assert_array_equal(depth, model.infer(IMAGE))
    assert len(request_threads() - before) == 2 * compiled
    model.close()
    assert request_threads() == before


def test_many_images_take_no_longer_than_one_after_the_other(
        make_model: MakeModel, make_ir: Callable[..., Path]) -> None:
    model = make_model(make_ir(slow_layers=6))
    images = [IMAGE] * 12

    def seconds(compute: Callable[[], object]) -> float:
        started = time.monotonic()
        compute()
        return time.monotonic() - started

    many, serial = [], []
    # On a busy machine the shortest times come late.
    while len(many) < 5 or len(many) < 25 and min(many) >= 1.1 * min(serial):
        many.append(seconds(lambda: list(model.infer_many(images))))
        serial.append(seconds(lambda: [model.infer(image) for image in images]))
    assert min(many) < 1.1 * min(serial)


def test_threads_may_share_a_model(make_model: MakeModel) -> None:
    model, wrong = make_model(sizes_kept=1), []

    def work(value: int) -> None:
        for _ in range(20):
            depth = model.infer(constant_image(value, ((120, 160), (160, 120))[value % 2]))
            if abs(float(depth.mean()) - 7 * value / 255) > 1e-3:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []


def test_a_closed_model_says_so_and_can_be_closed_again(make_model: MakeModel) -> None:
    before = request_threads()
    with make_model() as model:
        depths = model.infer_many([IMAGE] * 20)
        next(depths)
    model.close()
    assert request_threads() == before
    for compute in (model.infer, lambda image: model.infer_many([image])):
        with pytest.raises(InferenceError, match=r'the model is closed; .*load_model\(\)'):
            compute(IMAGE)
    with pytest.raises(InferenceError, match='the model is closed'):
        list(depths)


def test_a_closed_model_ends_an_endless_iteration_that_returns_errors(
        make_model: MakeModel) -> None:
    model = make_model(hint='LATENCY')
    outcomes = model.infer_many(repeat(IMAGE), return_exceptions=True)
    assert next(outcomes).shape == IMAGE_HW
    model.close()
    with pytest.raises(InferenceError, match='the model is closed'):
        for outcome in outcomes:
            assert isinstance(outcome, np.ndarray)


def test_the_focal_length_gives_the_scale_of_a_model_that_needs_it(
        make_model: MakeModel, make_ir: Callable[..., Path]) -> None:
    camera = Intrinsics(500.0, 500.0, 319.5, 239.5, (480, 640))
    model = make_model(make_ir(focal_px=300.0, has_shift=False), image_hw=(480, 640))
    # 640x480 images become 154x112: the focal length there is 500 * (154 / 640 + 112 / 480) / 2.
    assert model.focal_scale(camera) == pytest.approx(300 / (250 * (154 / 640 + 112 / 480)))
    with pytest.raises(CameraInfoError, match='tiny.pth gives no metres for a focal length'):
        make_model().focal_scale(camera)


def test_metric_depth_is_the_inverse_of_scaled_and_shifted_inverse_depth() -> None:
    inverse_depth = np.float32([[1.0, 2.0, 0.0], [-1.0, np.nan, 4.0]])
    np.testing.assert_allclose(to_metric(inverse_depth, 0.25, 0.0), np.float32(
        [[4.0, 2.0, np.nan], [np.nan, np.nan, 1.0]]))
    np.testing.assert_allclose(to_metric(inverse_depth, 0.25, 0.25)[0], [2.0, 4 / 3, 4.0])
    assert inverse_depth[0, 0] == 1.0 and to_metric(inverse_depth, 1, 0).dtype == np.float32


@pytest.mark.parametrize('camera', [
    Intrinsics(100.0, 50.0, 1.0, 0.5, (2, 3)), np.array([[100, 0, 1], [0, 50, 0.5], [0, 0, 1]]),
    [[100, 0, 1], [0, 50, 0.5], [0, 0, 1]]], ids=['Intrinsics', 'K', 'K as a list'])
def test_points_are_where_the_pinhole_camera_sees_them(camera: Any) -> None:
    depth_m = np.float32([[1.0, 2.0, np.nan], [4.0, 0.0, np.inf]])
    points = point_cloud(depth_m, camera)
    assert points.shape == (2, 3, 3) and points.dtype == np.float32
    np.testing.assert_allclose(points[0, 0], [-0.01, -0.01, 1.0])
    np.testing.assert_allclose(points[1, 0], [-0.04, 0.04, 4.0])
    assert np.isnan(points[[0, 1, 1], [2, 1, 2]]).all()


def test_points_carry_the_colours_of_an_image() -> None:
    image = np.uint8([[[1, 2, 3], [4, 5, 6]]])
    points = point_cloud(np.float32([[1.0, 2.0]]), np.eye(3), image)
    assert points.shape == (1, 2, 4)
    assert [hex(value) for value in points[..., 3].view(np.uint32)[0]] == ['0x30201', '0x60504']


@pytest.mark.parametrize(('arguments', 'error', 'fact'), [
    ((np.ones((2, 3, 1)), np.eye(3)), ImageError, r'shape \(2, 3, 1\)'),
    ((np.ones((2, 3)), np.eye(4)), CameraInfoError, r'shape \(4, 4\)'),
    ((np.ones((2, 3)), np.zeros((3, 3))), CameraInfoError, 'not calibrated'),
    ((np.ones((2, 3)), Intrinsics(1.0, 1.0, 0.0, 0.0, (4, 6))), CameraInfoError, '6x4.* 3x2'),
    ((np.ones((2, 3)), np.eye(3), np.zeros((4, 6, 3), np.uint8)), ImageError, '6x4.* 3x2')])
def test_what_does_not_fit_together_gives_no_points(
        arguments: tuple[Any, ...], error: type[Exception], fact: str) -> None:
    with pytest.raises(error, match=fact):
        point_cloud(*arguments)


def test_what_the_tiny_network_computes_reaches_the_caller(make_model: MakeModel) -> None:
    small = self_check_image((112, 154))
    np.testing.assert_allclose(make_model().infer(small), weighted_sum(small), atol=1e-4)
