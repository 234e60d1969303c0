"""Described networks in every program: run, evaluate, quantize, teach."""

from dataclasses import replace
import json
from pathlib import Path
import re
from typing import Any

import cv2
from depth_anything_ros.errors import CheckpointError, QualityError
from depth_anything_ros.evaluate.main import main as evaluate
from depth_anything_ros.run.main import main as run
import numpy as np
from numpy.testing import assert_allclose
import pytest

for package in ('torch', 'onnx', 'openvino', 'onnxruntime', 'yaml', 'typer', 'nncf'):
    pytest.importorskip(package)

from depth_anything_ros.api import load_model  # noqa: E402, I100
from depth_anything_ros.convert.conversion import convert, Job  # noqa: E402
from depth_anything_ros.convert.parity.verify import verify  # noqa: E402
from depth_anything_ros.convert.quantize.gate import Gate  # noqa: E402
from depth_anything_ros.convert.quantize.quantize import quantize, QuantizeJob  # noqa: E402
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402
from depth_anything_ros.distill.teacher import open_teacher, TeacherOptions  # noqa: E402
from foreign import sum_of, write_facts, write_network, write_zipdepth  # noqa: E402
from openvino import opset13 as op  # noqa: E402

HW = (48, 80)


def silent(line: str) -> None:
    pass


@pytest.fixture(scope='module')
def letterbox_ir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of 64x64 BGR images between borders whose depth is s + 1 up to scale."""
    folder = tmp_path_factory.mktemp('letterbox')
    source = write_network(folder / 'a.onnx', {'y': 'linear', 'extra': 'points'},
                           shape=(1, 3, 64, 64))
    facts = write_facts(folder / 'a.yaml', output='depth', resize='letterbox', color='bgr',
                        depth_output='y', name='boxed', licence='MIT')
    return convert(Job(source, folder / 'boxed.xml', 'fp32', describe=facts), report=silent).path


@pytest.fixture(scope='module')
def zipdepth_ir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a stand-in for ZipDepth."""
    folder = tmp_path_factory.mktemp('zip')
    source = write_zipdepth(folder / 'a.onnx', (64, 96))
    return convert(Job(source, folder / 'zip.xml', 'fp32'), report=silent).path


def smooth(seed: int, size_hw: tuple[int, int] = HW) -> np.ndarray:
    """Return a smooth random BGR image."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def inverse_depth(image_bgr: np.ndarray) -> np.ndarray:
    """Return what the model in a letterbox gives: its input is BGR, so s counts R as B."""
    return 1 / (sum_of(image_bgr[..., ::-1]) + 1)


def test_it_runs_in_python_and_over_files(letterbox_ir: Path, tmp_path: Path) -> None:
    image = smooth(0)
    with load_model(letterbox_ir, precision='f32', image_hw=HW) as model:
        assert (model.info.encoder, model.info.kind, model.info.licence) == (
            'boxed', 'relative', 'MIT')
        native = model.infer(image, output_size='native')
        depth = model.infer(image)
    inner = cv2.resize(image, (64, 38), interpolation=cv2.INTER_LINEAR)
    assert_allclose(native, inverse_depth(inner), rtol=1e-4)
    assert depth.shape == HW
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    assert run([str(letterbox_ir), '--img-path', str(tmp_path / 'a.png'), '--format', 'npy',
                '--precision', 'f32', '--outdir', str(tmp_path / 'out')]) == 0
    saved = np.load(next((tmp_path / 'out').rglob('*.npy')))
    assert_allclose(saved, depth, rtol=1e-5)


def test_metres_without_sky_become_files_and_labels(tmp_path: Path) -> None:
    source = write_network(tmp_path / 'a.onnx', {'z': 'exp', 'sky': 'step'})
    facts = write_facts(tmp_path / 'a.yaml', output='depth', metres=True, depth_output='z',
                        sky_output='sky', sky_threshold=0.5)
    model = convert(Job(source, tmp_path / 'a.xml', 'fp32', describe=facts), report=silent).path
    image = np.full((64, 64, 3), 200, np.uint8)
    image[:30] = 0
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    assert run([str(model), '--img-path', str(tmp_path / 'a.png'), '--format', 'npy',
                '--precision', 'f32', '--outdir', str(tmp_path / 'out')]) == 0
    depth_m = np.load(next((tmp_path / 'out').rglob('*.npy')))
    assert np.isnan(depth_m[:30]).all()
    metres = np.exp(7 * 200 / 255 - 3)
    assert_allclose(depth_m[30:], metres, rtol=1e-4)
    teacher = open_teacher(model, Overrides(), TeacherOptions(tmp_path), report=silent)
    label = teacher.label(image)
    teacher.close()
    assert (label[:30] == 0).all()
    assert_allclose(label[30:], 1 / metres, rtol=0.02)


def test_a_wrong_sky_passes_neither_the_gate_nor_the_comparison_with_the_source(
        tmp_path: Path) -> None:
    source = write_network(tmp_path / 'a.onnx', {'z': 'exp', 'sky': 'step'})
    facts = write_facts(tmp_path / 'a.yaml', output='depth', metres=True, depth_output='z',
                        sky_output='sky', sky_threshold=0.5)
    model = convert(Job(source, tmp_path / 'a.xml', 'fp32', describe=facts), report=silent).path
    assert verify(model, source=source).verdict == 'PASS'

    def without_sky(network: Any, images: Any, kept_float: Any = (), compress: bool = True) -> Any:
        copy = network.clone()
        result = copy.get_results()[1]
        wrong = op.subtract(np.float32(1), result.input_value(0))
        result.input(0).replace_source_output(wrong.output(0))
        return copy

    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    for seed in range(5):
        cv2.imwrite(str(pictures / f'{seed}.png'), smooth(seed))
    job = QuantizeJob(model, tmp_path / 'int8.xml', str(pictures))
    with pytest.raises(QualityError, match=r'sky 1.0000 worst; allowed are .* sky 0.02 worst'):
        quantize(job, report=silent, quantizer=without_sky)
    wrong = quantize(replace(job, force=True), report=silent, quantizer=without_sky).path
    assert re.fullmatch(r'FAIL: (CPU f32 against ONNX Runtime sky at \S+(, )?)+',
                        verify(wrong, source=source).verdict)


def test_an_ir_of_one_size_is_compared_with_the_ir_that_it_was_made_from(
        tmp_path: Path) -> None:
    """Its description is that of the first source, whose outputs had other names and units."""
    source = write_network(tmp_path / 'a.onnx', {'y': 'linear', 'extra': 'points'})
    facts = write_facts(tmp_path / 'a.yaml', output='depth', depth_output='y')
    whole = convert(Job(source, tmp_path / 'a.xml', 'fp32', describe=facts), report=silent).path
    small = convert(Job(whole, tmp_path / 'b.xml', size_hw=(64, 64)), report=silent).path
    assert verify(small, source=whole).verdict == 'PASS'
    other = write_network(tmp_path / 'other.onnx', {'x': 'linear'})
    with pytest.raises(CheckpointError, match='other.onnx: it has no output y, its outputs are x'):
        verify(small, source=other)


def test_its_accuracy_is_that_of_its_depth(letterbox_ir: Path, tmp_path: Path) -> None:
    """The truth is its depth times a factor, so only millimetres remain as an error."""
    for seed in range(2):
        image = smooth(seed, (64, 64))
        cv2.imwrite(str(tmp_path / f'rgb_{seed}.png'), image)
        cv2.imwrite(str(tmp_path / f'depth_{seed}.png'),
                    np.round(2000 * (sum_of(image[..., ::-1]) + 1) / 8).astype(np.uint16))
    (tmp_path / 'data.yaml').write_text(
        'color: rgb_*.png\ndepth: depth_*.png\ndepth_scale: 1000\nmax_depth: 10\n')
    assert evaluate(['rgbd', str(letterbox_ir), str(tmp_path), '--config',
                     str(tmp_path / 'data.yaml'), '--precision', 'f32', '--json',
                     str(tmp_path / 'found.json')]) == 0
    found = json.loads((tmp_path / 'found.json').read_text())
    assert (found['model']['encoder'], found['model']['kind']) == ('boxed', 'relative')
    assert found['mean']['abs_rel'] < 0.01


def test_it_teaches_and_its_labels_have_no_borders(letterbox_ir: Path, tmp_path: Path) -> None:
    teacher = open_teacher(letterbox_ir, Overrides(), TeacherOptions(tmp_path), report=silent)
    label = teacher.label(np.full((*HW, 3), (10, 100, 200), np.uint8))
    teacher.close()
    assert label.shape == HW
    assert_allclose(label, inverse_depth(np.full((*HW, 3), (10, 100, 200), np.uint8)), rtol=0.02)


def test_it_is_quantized_and_keeps_its_facts(zipdepth_ir: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for seed in range(5):
        cv2.imwrite(str(folder / f'{seed}.png'), smooth(seed, (64, 96)))
    done = quantize(QuantizeJob(zipdepth_ir, tmp_path / 'int8.xml', str(folder),
                                gate=Gate(0.5, 0.9, 0.1)), report=silent)
    assert (done.info.precision, done.info.encoder, done.info.resize) == (
        'int8', 'zipdepth', 'shortest_side')
    with load_model(done.path) as int8, load_model(zipdepth_ir, precision='f32') as f32:
        image = smooth(9, (64, 96))
        assert np.corrcoef(int8.infer(image).ravel(), f32.infer(image).ravel())[0, 1] > 0.9
