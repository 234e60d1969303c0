"""The benchmark of what a user could pick: the same weights everywhere, each in its process."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
import os
from pathlib import Path
import signal
from typing import Any

import cv2
from depth_anything_ros.benchmark.report import as_dict
from depth_anything_ros.errors import (
    CheckpointError, ImageError, InferenceError, ModelError, SettingsError)
from depth_anything_ros.networks.models import EncoderSpec
import numpy as np
import pytest
from tiny import TINY_INFO, weighted_sum
from tools.peers.engines import load_peer, Peer, PeerTask, rate_in_a_loop, Sizes
from tools.peers.measure import (
    measure_peers, parity, PeerMeasurement, peers_report, PeersOptions, read_images)
from tools.peers.process import PeerProcess, PeerUsage, RunningPeer

TINY = EncoderSpec('tiny', 48, 5, 3, 16, (8, 12, 16, 24), (0, 1, 2, 4), 'Apache-2.0')
TABLE = (TINY,)
CARD = read_images(None)
SMALL = Sizes((480, 640), 28, (28, 42))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an official checkpoint with the weights of a random model of transformers."""
    torch = pytest.importorskip('torch')
    pytest.importorskip('transformers')
    from depth_anything_ros.convert.sources.hf_folder import to_official
    from tools.transformers_parity import random_model

    path = tmp_path_factory.mktemp('checkpoint') / 'mine.pth'
    torch.save(to_official(random_model(TINY).state_dict()), path)
    return path


@pytest.fixture(scope='module')
def files(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with all that the peers of other software start from."""
    pytest.importorskip('onnxscript')
    pytest.importorskip('openvino')
    from tools.peers.engines import IR, make_files

    folder = tmp_path_factory.mktemp('files')
    make_files(checkpoint, TINY_INFO, folder, SMALL.network_hw, IR, TABLE)
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return the test card as the workers get it."""
    np.save(tmp_path / 'images.npy', CARD)
    return tmp_path / 'images.npy'


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[PeerProcess]:
    """Start a worker."""
    with closing(PeerProcess(tmp_path / 'worker.log')) as process:
        yield process


def options(tmp_path: Path, *models: Path, **changes: Any) -> PeersOptions:
    """Return options for a short run; the checkpoint is none."""
    (tmp_path / 'broken.pth').write_bytes(b'nothing')
    return PeersOptions(tmp_path / 'broken.pth', models, rounds=2, seconds=0.05, input_size=28,
                        **changes)


def no_more_workers() -> bool:
    """Return whether no child of this process is a worker."""
    for entry in Path('/proc').glob('[0-9]*'):
        try:
            parent = (entry / 'stat').read_text().rpartition(')')[2].split()[1]
            command = (entry / 'cmdline').read_bytes()
            if int(parent) == os.getpid() and b'tools.peers.process' in command:
                return False
        except OSError:
            continue
    return True


def measured(name: str, rates: list[float], precision: str = 'f32',
             failure: str = '') -> PeerMeasurement:
    """Return a peer whose depth is a ramp."""
    depth = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4)
    return PeerMeasurement(name, precision, rates, [1000 / rate for rate in rates],
                           PeerUsage(2, 300.0, 40.0), depth, failure)


def test_the_model_of_transformers_gets_every_weight(checkpoint: Path) -> None:
    from depth_anything_ros.convert.parity.measure import card_input
    from depth_anything_ros.convert.parity.runners import torch_runner
    from depth_anything_ros.convert.sources.hf_folder import to_official
    from depth_anything_ros.convert.sources.identity import Overrides
    from depth_anything_ros.convert.sources.load_network import load_network
    from tools.transformers_parity import load_transformers_model
    import torch

    model = load_transformers_model(checkpoint, TINY_INFO, TABLE)
    expected = torch.load(checkpoint)
    found = to_official(model.state_dict())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    # Only here neither of the two interpolates the position embedding.
    image, overrides = card_input((518, 518)), Overrides('relative', 'v2')
    ours = torch_runner(load_network(checkpoint, overrides, TABLE).network).run(image)
    with torch.inference_mode():
        theirs = model(pixel_values=torch.from_numpy(image)).predicted_depth[0].numpy()
    assert np.abs(ours - theirs).max() < 1e-4 * ours.std()


def test_a_weight_without_a_place_is_named(checkpoint: Path) -> None:
    from tools.transformers_parity import random_model, to_hub_layout
    import torch

    weights = {**torch.load(checkpoint), 'pretrained.register_tokens': torch.zeros(1, 4, 48)}
    with pytest.raises(ValueError, match='pretrained.register_tokens'):
        to_hub_layout(weights, random_model(TINY).state_dict())


@pytest.mark.parametrize(('kind', 'file', 'limit'), [
    ('pytorch_bf16', 'transformers', 0.3), ('onnxruntime', 'naive.onnx', 1e-3),
    ('onnxruntime_int8', 'naive_int8.onnx', 0.5), ('openvino_plain', 'naive.xml', 0.3)])
def test_all_software_computes_the_same_from_its_file(
        files: Path, kind: str, file: str, limit: float) -> None:
    if kind.startswith('onnxruntime'):
        pytest.importorskip('onnxruntime')
    task = partial(PeerTask, precision='', input_size=28, image_hw=SMALL.image_hw,
                   network_hw=SMALL.network_hw)
    expected = load_peer('pytorch_eager', task(files / 'transformers')).compute(CARD[0])
    peer = load_peer(kind, task(files / file))
    found = peer.compute(CARD[0])
    assert found.shape == expected.shape == SMALL.network_hw
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < limit * expected.std()
    if kind == 'onnxruntime_int8':
        assert 'MatMulInteger' in (files / file).read_bytes().decode('latin-1')
    assert 1 <= peer.threads() <= (os.cpu_count() or 1)


def test_a_worker_measures_the_engine(
        worker: PeerProcess, tiny_ir: Path, images: Path, tmp_path: Path) -> None:
    loaded = worker.ask(60, 'load', kind='engine', file=str(tiny_ir), precision='f32',
                        input_size=28, images=str(images), network_hw=SMALL.network_hw)
    assert loaded == {'precision': 'f32'}
    assert worker.ask(60, 'throughput', seconds=0.05)['rate'] > 0
    assert min(worker.ask(60, 'latency', seconds=0.05)['latency_ms']) > 0
    usage = worker.ask(60, 'usage')
    assert usage['peak_mib'] > usage['start_mib'] > 1
    assert usage['threads'] >= 1
    assert worker.ask(60, 'depth', file=str(tmp_path / 'depth.npy')) == {}
    resized = cv2.resize(CARD[0], (42, 28), interpolation=cv2.INTER_CUBIC)
    depth = np.load(tmp_path / 'depth.npy')
    np.testing.assert_allclose(depth, weighted_sum(resized)[None], atol=1e-3)


def test_memory_is_that_of_the_peer_and_not_of_who_started_it(
        tmp_path: Path, tiny_ir: Path, images: Path) -> None:
    ballast = np.ones(100_000_000)
    with closing(RunningPeer(Peer('openvino_plain', 'openvino_plain', tiny_ir), tmp_path)) as one:
        one.load(SMALL, images)
        usage = one.usage()
    assert usage is not None
    assert usage.peak_mib < ballast.nbytes / 2**20


def test_an_engine_of_another_network_size_says_so(
        worker: PeerProcess, make_ir: Callable[..., Path], images: Path) -> None:
    fixed = make_ir(fixed_size_hw=(56, 56))
    answer = worker.ask(60, 'load', kind='engine', file=str(fixed), precision='f32',
                        input_size=28, images=str(images), network_hw=SMALL.network_hw)
    assert 'it computes 56x56 and not 42x28' in answer['error']


def test_a_worker_that_is_killed_says_so_and_rests(
        tmp_path: Path, tiny_ir: Path, images: Path) -> None:
    with closing(RunningPeer(Peer('int8', 'engine', tiny_ir), tmp_path)) as one:
        one.load(SMALL, images)
        assert one.turn(0.05) > 0
        os.kill(one.process.process.pid, signal.SIGKILL)
        assert np.isnan(one.turn(0.05))
        assert one.failure == 'it ended (SIGKILL)'
        assert np.isnan(one.turn(0.05)) and one.usage() is None and one.depth() is None


def test_a_worker_that_hangs_is_given_up(worker: PeerProcess) -> None:
    os.kill(worker.process.pid, signal.SIGSTOP)
    assert worker.ask(0.3, 'usage') == {'error': 'it did not answer within 0.3 s'}
    assert worker.process.returncode == -signal.SIGKILL
    assert 'error' in worker.ask(0.3, 'usage')


def test_a_worker_ends_when_nobody_can_ask_it_any_more(worker: PeerProcess) -> None:
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.process.wait(60) == 0


def test_a_failed_peer_has_a_row_and_the_others_go_on(tmp_path: Path, tiny_ir: Path) -> None:
    pytest.importorskip('torch')
    lines: list[str] = []
    report = measure_peers(options(tmp_path, tiny_ir, peers=(
        'openvino_bf16', 'openvino_f32', 'onnxruntime')), lines.append)
    peers, failed = report.tables
    assert [row[0] for row in peers.rows][-1] == 'onnxruntime'
    assert peers.rows[-1][1] == 'failed'
    assert peers.rows[0][3] == '1 (1 to 1)'
    assert failed.rows[0][0] == 'onnxruntime'
    assert 'its file could not be made' in failed.rows[0][1]
    assert 'broken.pth' in failed.rows[0][1]
    assert report.figures['memory_mib_openvino_bf16'] > 1
    assert 'memory_mib_onnxruntime' not in report.figures
    assert report.settings['network size'] == '42x28'
    assert any(line.startswith('round 2 of 2') for line in lines)
    assert no_more_workers()


def test_workers_end_with_an_interrupted_run(tmp_path: Path, tiny_ir: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith('round 1'):
            assert not no_more_workers()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_peers(options(tmp_path, tiny_ir, peers=('openvino_f32',)), interrupt)
    assert no_more_workers()


def test_a_run_of_failures_only_is_an_error(tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    wrong = make_ir(wrong_check=True)
    with pytest.raises(InferenceError, match='openvino_f32: no device can run the model'):
        measure_peers(options(tmp_path, wrong, peers=('openvino_f32',)), str)


def test_options_that_cannot_work_are_refused(
        tmp_path: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    with pytest.raises(SettingsError, match='must be one of openvino_bf16, openvino_f32, pytorch'):
        measure_peers(options(tmp_path, tiny_ir, peers=('int8',)), str)
    with pytest.raises(ModelError, match='is such a model already'):
        measure_peers(options(tmp_path, tiny_ir, make_ir()), str)
    with pytest.raises(CheckpointError, match='there is no such file'):
        measure_peers(PeersOptions(tmp_path / 'missing.pth', (tiny_ir,)), str)
    with pytest.raises(SettingsError, match='rounds'):
        measure_peers(PeersOptions(tiny_ir, (tiny_ir,), rounds=0), str)


def test_images_of_a_folder_have_one_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, size_hw in enumerate([(40, 60), (60, 40), (80, 120), (40, 60), (40, 60)]):
        cv2.imwrite(str(tmp_path / f'{number}.png'), rng.integers(0, 256, (*size_hw, 3), np.uint8))
    found = read_images(tmp_path)
    assert found.shape == (4, 40, 60, 3)
    np.testing.assert_array_equal(found[3], cv2.imread(str(tmp_path / '3.png')))


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / 'torn.png').write_bytes(b'nothing')
    with pytest.raises(ImageError, match='torn.png: OpenCV cannot decode'):
        read_images(tmp_path)


def test_a_loop_counts_what_it_computed() -> None:
    seen: list[int] = []

    def compute(image: np.ndarray) -> np.ndarray:
        seen.append(int(image))
        return image

    rate = rate_in_a_loop(compute, [np.uint8(number) for number in range(3)], 0.1)
    assert seen[:5] == [0, 1, 2, 0, 1]
    assert 0.1 <= len(seen) / rate < 10


def test_ratios_are_computed_round_by_round() -> None:
    pytest.importorskip('openvino')
    report = peers_report([measured('openvino_bf16', [1, 2, 9], 'bf16'),
                           measured('pytorch_eager', [1, 4, 3])], True, {})
    assert report.figures['vs_pytorch_bf16'] == 1
    assert report.figures['vs_pytorch_bf16_low'] == 0.5
    assert report.figures['vs_pytorch_bf16_high'] == 3
    assert report.figures['parity_openvino_bf16'] == pytest.approx(0, abs=1e-6)
    assert report.figures['memory_mib_pytorch_eager'] == 300
    assert 'vs_onnxruntime_bf16' not in report.figures
    assert report.tables[0].rows[1][6:8] == ('300', '260')


@pytest.mark.parametrize(('peer', 'precision', 'expected'), [
    ('int8_f32', 'int8 and f32', 2.0), ('int8', 'int8 and f32', 2.0),
    ('int8', 'int8 and bf16', None)])
def test_figures_of_cpus_without_bf16_are_of_peers_that_use_none(
        peer: str, precision: str, expected: float | None) -> None:
    """Either because the CPU has none, or because the peer is told so."""
    pytest.importorskip('openvino')
    report = peers_report([measured('pytorch_eager', [1.0]), measured(peer, [2.0], precision)],
                          True, {})
    assert report.figures.get('vs_pytorch_vnni') == expected


def test_a_row_says_what_really_executes() -> None:
    pytest.importorskip('openvino')
    report = peers_report([measured('openvino_bf16', [2.0], 'f32'),
                           measured('pytorch_eager', [1.0])], True, {})
    assert report.tables[0].rows[0][0] == 'openvino_f32'
    assert report.figures['vs_pytorch_bf16'] == 2


def test_parity_forgives_scale_and_shift_only_after_alignment() -> None:
    depth = np.linspace(1, 2, 24, dtype=np.float32).reshape(2, 3, 4)
    found = parity(2 * depth + 1, depth, relative=True)
    assert found.abs_rel == pytest.approx(0, abs=1e-6)
    assert found.max_error == pytest.approx(max(
        float((one.max() + 1) / one.std()) for one in depth))


def test_the_picture_has_a_bar_for_each_peer(tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    pytest.importorskip('openvino')
    report = peers_report([measured('openvino_bf16', [4.0, 5.0], 'bf16'),
                           measured('onnxruntime', [1.0, 2.0]),
                           measured('pytorch_eager', [1.0], failure='gone')], True, {})
    assert report.draw is not None
    report.draw(tmp_path / 'peers.png')
    picture = cv2.imread(str(tmp_path / 'peers.png'))
    assert picture.shape == (600, 960, 3)
    colored = np.ptp(picture.astype(int), axis=2) > 60
    grey = (picture == (160, 160, 160)).all(axis=2)
    # A bar that is as long as the whole scale, and one of a third of it.
    assert 2 < colored.sum() / grey.sum() < 5
    assert as_dict(report)['tables'][1]['rows'] == [['pytorch_eager', 'gone']]
