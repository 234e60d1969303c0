"""A relative model learns metres, and what it has reached is said honestly."""

from collections.abc import Callable, Sequence
from dataclasses import replace
import json
import os
from pathlib import Path
import re
from typing import Any

from checkpoints import FAMILY, random_weights, TINY_LIGHT
import cv2
from depth_anything_ros.distill.main import main
from depth_anything_ros.errors import CheckpointError
import numpy as np
import pytest

torch = pytest.importorskip('torch')
for package in ('typer', 'openvino', 'onnx', 'onnxscript', 'onnxruntime', 'matplotlib'):
    pytest.importorskip(package)

from depth_anything_ros import load_model  # noqa: E402, I100
from depth_anything_ros.convert.conversion import convert, Job  # noqa: E402
from depth_anything_ros.convert.main import main as convert_main  # noqa: E402
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402
from depth_anything_ros.convert.sources.records import read_metric_record  # noqa: E402
from depth_anything_ros.distill.curves import Measure  # noqa: E402
from depth_anything_ros.distill.dataset import DatasetImage, LabelledImage  # noqa: E402
from depth_anything_ros.distill.job import NO_AUGMENTATION, Recipe  # noqa: E402
from depth_anything_ros.distill.metric import metric as fine_tuning  # noqa: E402
from depth_anything_ros.distill.metric.frame_fit import fit_linear, SeenCrops  # noqa: E402
from depth_anything_ros.distill.metric.frames import Frame  # noqa: E402
from depth_anything_ros.distill.metric.objective import (  # noqa: E402
    MetricObjective, MetricPair, MetricScale)
from depth_anything_ros.distill.metric.result import (  # noqa: E402
    CONSTANT, DENSE, judge, mean_abs_rel, MethodScores, METRIC, predict_metres, Result)
from depth_anything_ros.distill.metric.start import (  # noqa: E402
    add_frame_fit, begin_at, constant_fit, full_view_focal, open_start)
from depth_anything_ros.distill.students import vit_student  # noqa: E402
from depth_anything_ros.distill.train_loop import RunFolder, train, Validation  # noqa: E402
from depth_anything_ros.distill.trainer import Trainer  # noqa: E402
from depth_anything_ros.networks.depth_anything import build_network  # noqa: E402
from depth_anything_ros.networks.dpt import mean_tokens  # noqa: E402
from depth_anything_ros.networks.models import identify_network  # noqa: E402
from depth_anything_ros.vision.depth import DepthRange  # noqa: E402
from depth_anything_ros.vision.geometry import Intrinsics  # noqa: E402

SCALE = MetricScale(80.0, DepthRange(0.5, 10.0))
SMALL = Recipe(4, 2, (70, 70), encoder_rate=2e-3, head_rate=4e-3, warmup=1, average=0.9,
               gradient_weight=0.5, augmentation=NO_AUGMENTATION)


@pytest.fixture
def pairs(tmp_path: Path) -> list[MetricPair]:
    """Return eight images of a ball before a slope, with depth that has a hole."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:70, :70] / 69
    found = []
    for number in range(8):
        row, column, near = generator.uniform(0.3, 0.7, 3)
        ball = np.hypot(rows - row, columns - column) < 0.2
        inverse = 0.2 + 0.2 * rows + near * ball
        image = np.stack([255 * rows, 255 * columns, 30 * number * np.ones_like(rows)], -1)
        image[ball] = 255 * near
        paths = [tmp_path / f'{number}{suffix}' for suffix in ('.png', '.npy', '.depth.npy')]
        cv2.imwrite(str(paths[0]), image.astype(np.uint8))
        np.save(paths[1], (3 * inverse + 1).astype(np.float16))
        depth = (1 / inverse).astype(np.float16)
        depth[:5] = np.nan
        np.save(paths[2], depth)
        found.append(MetricPair(
            Frame(DatasetImage(str(number), paths[0], number), paths[2], (64.0, 64.0), 0, number),
            LabelledImage(*paths[:2])))
    return found


def make_trainer(pairs: list[MetricPair], recipe: Recipe) -> Trainer:
    torch.manual_seed(1)
    student = vit_student(replace(TINY_LIGHT, input_spec=replace(TINY_LIGHT.input_spec, size=70)))
    add_frame_fit(student.network)
    objective = MetricObjective(pairs, (1,), SCALE, recipe, 0.1)
    return Trainer(student, recipe, [pair.labelled for pair in pairs], objective=objective)


def test_a_short_run_overfits_eight_images_in_metres(pairs: list[MetricPair]) -> None:
    trainer = make_trainer(pairs, replace(SMALL, steps=40, batch=8, warmup=4))
    before = mean_abs_rel(trainer.result(), pairs, SCALE)
    losses = [result.loss for result in trainer.run()]
    assert losses[-1] < 0.5 * losses[0]
    assert mean_abs_rel(trainer.result(), pairs, SCALE) < 0.3 * before


def test_the_same_seed_gives_the_same_weights_with_and_without_a_stop(
        pairs: list[MetricPair]) -> None:
    def weights(seed: int, stops: bool = False) -> dict[str, Any]:
        trainer = make_trainer(pairs, replace(SMALL, seed=seed))
        if stops:
            steps = trainer.run()
            next(steps), next(steps)
            steps.close()
            state = trainer.state_dict()
            trainer = make_trainer(pairs, replace(SMALL, seed=seed))
            trainer.load_state_dict(state)
        list(trainer.run())
        return trainer.averaged.values

    first = weights(3)
    for other, same in ((weights(3), True), (weights(3, stops=True), True), (weights(4), False)):
        assert all(torch.equal(value, other[name]) for name, value in first.items()) == same


def test_only_the_head_learns_where_the_encoder_has_no_rate(pairs: list[MetricPair]) -> None:
    trainer = make_trainer(pairs, replace(SMALL, encoder_rate=0.0))
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    list(trainer.run())
    changed = {name for name, value in trainer.network.state_dict().items()
               if not torch.equal(value, before[name])}
    assert 'depth_head.scratch.output_conv2.0.weight' in changed
    assert all(name.startswith('depth_head.') and 'frame_fit' not in name for name in changed)


def test_each_source_is_drawn_as_often_as_its_weight(pairs: list[MetricPair]) -> None:
    mixed = [replace(pair, frame=replace(pair.frame, source=int(pair.frame.number >= 4)))
             for pair in pairs]
    objective = MetricObjective(mixed, (1, 3), SCALE, replace(SMALL, batch=16), 0.0)
    source = objective.batches(0)
    batch = next(source)
    source.close()
    # The third colour is the number of the image.
    numbers = (batch.images[:, -1, 0, 2].numpy() / 30).round().astype(int)
    assert sorted(numbers) == sorted([0, 1, 2, 3, *[4, 5, 6, 7] * 3])


def test_a_longer_lens_sees_the_same_picture_farther_away(pairs: list[MetricPair]) -> None:
    network = make_trainer(pairs, SMALL).result()
    begin_at(network, (0.1, 1.0))
    image_bgr, _ = pairs[0].labelled.read()
    near, far = (predict_metres(network, image_bgr, (focal, focal), MetricScale(
        80.0, DepthRange(1e-3, 1e6))) for focal in (50.0, 100.0))
    np.testing.assert_allclose(far, 2 * near, rtol=1e-5)


def test_the_best_weights_are_kept_and_the_training_ends_early(
        pairs: list[MetricPair], tmp_path: Path) -> None:
    trainer = make_trainer(pairs, replace(SMALL, steps=40))
    # Five validations, the last weights, the shares of the first weights, the result.
    answers = iter([0.6, 0.5, 0.3, 0.4, 0.4, 0.9, *[0.31] * 7, 0.31, 0.35])
    kept: list[dict[str, Any]] = []

    def score(network: Any, images: Any) -> float:
        kept.append(network.state_dict())
        return next(answers)

    lines: list[str] = []
    found = train(RunFolder(tmp_path), trainer, [pairs[0].labelled], 2, lines.append,
                  _counting, Validation(Measure('abs_rel', 'AbsRel', 2), score))
    assert found == 0.31 and trainer.step == 9
    assert any('ends early: 2 validations without' in line for line in lines)
    best = trainer.result().state_dict()
    assert all(torch.equal(value, kept[2][name]) for name, value in best.items())


class _counting:

    def __init__(self, *args: object) -> None:
        pass

    def __enter__(self) -> Callable[[str], None]:
        return lambda text: None

    def __exit__(self, *args: object) -> None:
        pass


def test_the_training_begins_at_the_fit_for_all_images(pairs: list[MetricPair]) -> None:
    """The labels are 3 / z + 1, so the fit is exact, and fits are no better than it."""
    network = make_trainer(pairs, SMALL).network.eval()
    image = torch.zeros(1, 3, 70, 70)
    before = network(image).detach()
    scale, shift = constant_fit(pairs, SCALE, network.input_spec)
    begin_at(network, (scale, shift))
    assert (scale, shift) == pytest.approx((64 / 80 / 3, -64 / 80 / 3), rel=0.02)
    assert torch.allclose(network(image), (before * scale + shift).clamp(min=0), atol=1e-4)
    result = judge(make_trainer(pairs, SMALL).result(), pairs, SCALE, (scale, shift))
    assert result.scores[CONSTANT].abs_rel < 0.02 and result.scores[DENSE].abs_rel < 0.02
    assert result.scores[METRIC].abs_rel > 0.1 and not result.is_worth_it


def test_scale_and_shift_of_an_image_follow_its_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(160, 6, generator=generator)
    values = 0.5 + torch.rand(160, 50, generator=generator)
    wanted = torch.stack([0.4 * tokens[:, 0] - 0.2, 0.3 + 0.1 * tokens[:, 1]], 1)
    targets = values * wanted[:, :1].exp() + wanted[:, 1:]
    targets[:, :10] = 0
    weight, bias = fit_linear(SeenCrops(tokens, values, targets), (1.0, 0.3), torch.log)
    assert torch.allclose(tokens @ weight.T + bias, wanted, atol=0.05)


def test_the_fit_is_the_mean_of_fits_with_few_and_with_more_components() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(160, 6, generator=generator) * torch.arange(1, 7)
    values = 0.5 + torch.rand(160, 50, generator=generator)
    crops = SeenCrops(tokens, values, values * (0.1 * tokens[:, :1]).exp() + 0.2)

    def fit(*components: int) -> Any:
        weight, bias = fit_linear(crops, (1.0, 0.2), torch.log, components)
        return torch.cat([weight, bias[:, None]], dim=1)

    assert not torch.allclose(fit(2), fit(5), atol=1e-3)
    assert torch.allclose(fit(2, 5), (fit(2) + fit(5)) / 2)
    assert torch.equal(fit(5, 100), (fit(5) + fit(6)) / 2)


def test_the_network_scales_and_shifts_its_map_and_is_known_by_the_tensors_of_that() -> None:
    torch.manual_seed(0)
    student = vit_student(TINY_LIGHT)
    network, image = student.network.eval(), torch.randn(2, 3, 56, 70)
    before = network(image)
    add_frame_fit(network)
    assert torch.equal(network(image), before)
    linear = network.depth_head.frame_fit.linear
    torch.nn.init.normal_(linear.weight, std=0.2)
    log_scale, shift = linear(mean_tokens(network.pretrained(image)))[:, :, None, None].unbind(1)
    assert torch.allclose(network(image), (before * log_scale.exp() + shift).relu(), atol=1e-6)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    spec = identify_network(shapes, FAMILY)
    assert spec == replace(FAMILY[1], has_frame_fit=True)
    again = build_network(spec, 'v2', None, network.state_dict())
    assert torch.equal(again(image), network(image))


def test_depth_that_contradicts_the_model_is_refused(pairs: list[MetricPair]) -> None:
    for pair in pairs:
        np.save(pair.labelled.label, -np.load(pair.labelled.label))
    with pytest.raises(CheckpointError, match='does not fit the measured one .*pairs.png'):
        constant_fit(pairs, SCALE, TINY_LIGHT.input_spec)


@pytest.mark.parametrize(('new', 'advice'), [
    (0.1, 'deploy the new model: its AbsRel is 0.100'),
    (0.2, 'deploy the new model on robots without a depth sensor'),
    (0.4, 'deploy the relative model with one fit')])
def test_the_advice_follows_the_figures(new: float, advice: str) -> None:
    scores = {name: MethodScores(error, 0.9, 0.5, {'0-1': -0.05, '1-2': 0.1}) for name, error in (
        (METRIC, new), (DENSE, 0.15), (CONSTANT, 0.3))}
    result = Result(scores)
    assert result.advice.startswith(advice)
    assert result.is_worth_it == (new < 0.3)
    assert '0-1 m -5 %, 1-2 m +10 %' in result.table()


@pytest.fixture(scope='module')
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an IR to start with."""
    folder = tmp_path_factory.mktemp('start')
    torch.save(random_weights(TINY_LIGHT), folder / 'start.pth')
    convert(Job(folder / 'start.pth', folder / 'start.xml', 'fp32', Overrides('relative', 'v2')),
            table=FAMILY, sizes_hw=((56, 70),), report=lambda line: None)
    return folder / 'start.xml'


def record_drive(start: Path, folder: Path, scales: Sequence[float]) -> Path:
    """Write images whose depth is a curve of what the start sees, times a scale for each."""
    folder.mkdir()
    network = open_start(start, Overrides(), FAMILY).student.network.eval()
    rng = np.random.default_rng(0)
    for number, scale in enumerate(scales):
        coarse = rng.integers(0, 255, (4, 5, 3), np.uint8)
        image = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'rgb_{number:02}.png'), image)
        found = predict_metres(network, image, (80.0, 80.0), MetricScale(
            72.0, DepthRange(1e-3, 1e3)))
        depth_m = scale * (0.5 + 1.5 * (found / np.median(found)) ** 1.5)
        cv2.imwrite(str(folder / f'depth_{number:02}.png'),
                    np.clip(1000 * depth_m, 0, 65535).astype(np.uint16))
    (folder / 'drive.yaml').write_text(
        "color: 'rgb_*.png'\ndepth: 'depth_*.png'\ndepth_scale: 1000\nmax_depth: 20\n"
        'camera: [80, 80, 40, 30]\n')
    return folder / 'drive.yaml'


@pytest.fixture(scope='module')
def drive(start: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return an IR to start with, and 24 images with depth."""
    return start, record_drive(start, tmp_path_factory.mktemp('drive') / 'room', [1.0] * 24)


def arguments(drive: tuple[Path, Path], output: Path, *more: str) -> list[str]:
    start, data = drive
    return ['metric', str(start), str(data), '-o', str(output), '--batch', '4', '--device', 'cpu',
            '--trust-data', '--tries', '1', *more]


def test_a_model_in_metres_says_its_range_and_focal_length(
        drive: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / 'mine.xml'
    line = arguments(drive, output, '--steps', '20', '--look-every', '10', '--max-depth', '12')
    assert main(line, FAMILY) == 0
    out, err = capsys.readouterr()
    assert err == ''
    for text in ('images: 15 for training; 3 for validation, the first of each source; 6 held '
                 'out, its last 25 %', 'metres for a focal length of 72 px',
                 '(a) the new model', '(c) the relative model, one fit', 'deploy the new model',
                 'try it: ros2 launch depth_anything_ros depth_anything.launch.py '
                 f'model:={output}'):
        assert text in out
    record = read_metric_record(output.with_suffix('.pth'))
    assert record is not None and record.range_m == (0.1, 12.0) and record.images == 15
    figures = json.loads(json.dumps(record.figures))
    assert figures['metric']['abs_rel'] < figures['constant_fit']['abs_rel']
    card = output.with_suffix('.md').read_text()
    assert 'Metres from 0.1 to 12 m, for a focal length of 72 px' in card and '- 0-1' not in card
    with load_model(output, device='CPU') as model:
        info = model.info
        assert (info.kind, info.has_shift, info.focal_px, info.range_m) == (
            'relative', False, 72.0, (0.1, 12.0))
        image = cv2.imread(str(drive[1].parent / 'rgb_20.png'))
        inverse = model.infer(image)
        scale = model.focal_scale(Intrinsics(80, 80, 40, 30, (60, 80)))
    depth_m = cv2.imread(str(drive[1].parent / 'depth_20.png'), cv2.IMREAD_UNCHANGED) / 1000
    error = np.abs(1 / (scale * inverse) - depth_m) / depth_m
    assert error.mean() < 2 * figures['metric']['abs_rel'] + 0.02
    assert convert_main(['inspect', str(output)]) == 0
    shown = capsys.readouterr().out
    assert 'for a focal length of 72 px of its image' in shown and '0.1 to 12 m' in shown
    assert main([*arguments((output, drive[1]), tmp_path / 'other.xml')], FAMILY) == 1
    assert 'it gives metres already' in capsys.readouterr().err


def test_a_model_that_does_not_beat_one_fit_is_written_with_force_only(
        start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tuning, 'convert_student', lambda job, *others: [
        job.output.with_suffix(suffix).touch() for suffix in ('.xml', '.bin')])
    output = tmp_path / 'mine.xml'
    # Scales that no image shows: the network learns them by heart, one fit takes that of the most.
    data = record_drive(start, tmp_path / 'room', [0.5, 2.0] * 9 + [2.0] * 6)
    # A name of Latin-1, with a line feed.
    data = data.parent.rename(os.fsdecode(os.fsencode(tmp_path) + b'/r\xe9\nom')) / data.name
    line = arguments((start, data), output, '--steps', '2')
    assert main(line, FAMILY) == 1
    out, err = capsys.readouterr()
    assert 'deploy the relative model with one fit' in out
    assert err.startswith('error: ') and err.count('\n') == 1 and 'nothing was written' in err
    assert 'add --force to write it in spite of that' in err
    assert not list(tmp_path.glob('mine.[xpb]*'))
    assert main([*line, '--force'], FAMILY) == 0
    assert 'resuming after step 2' in capsys.readouterr().out
    record = read_metric_record(output.with_suffix('.pth'))
    assert record is not None
    assert record.figures['metric']['abs_rel'] >= record.figures['constant_fit']['abs_rel']
    assert output.exists()
    card = output.with_suffix('.md').read_text()
    assert 'Deploy the relative model with one fit' in card
    assert f'\n- {tmp_path}/r\\udce9 om/drive.yaml\n' in card


def test_the_best_of_several_seeds_is_kept_and_tries_may_be_added_later(
        drive: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tuning, 'convert_student', lambda job, *others: None)
    errors, weights = [], []
    for seed in (7, 8):
        output = tmp_path / f'{seed}.xml'
        assert main(arguments(drive, output, '--steps', '2', '--seed', str(seed)), FAMILY) == 0
        found = re.search(r'AbsRel in metres: ([0-9.]+) on val', capsys.readouterr().out)
        assert found is not None
        errors.append(float(found[1]))
        weights.append(torch.load(output.with_suffix('.pth'), weights_only=True))
    assert errors[0] != errors[1]
    best = int(errors[1] < errors[0])
    line = arguments(drive, tmp_path / '7.xml', '--steps', '2', '--seed', '7', '--tries', '2')
    assert main([*line, '--force'], FAMILY) == 0
    out = capsys.readouterr().out
    assert out.count('resuming after step 2') == 1
    assert f'of 2 trainings the one with seed {7 + best} is the best on validation images' in out
    kept = torch.load(tmp_path / '7.pth', weights_only=True)
    assert all(torch.equal(kept[name], value) for name, value in weights[best].items())
    record = read_metric_record(tmp_path / '7.pth')
    assert record is not None and (record.recipe['seed'], record.recipe['tries']) == (7 + best, 2)
    # Other options begin all tries anew.
    line = arguments(drive, tmp_path / '7.xml', '--steps', '1', '--seed', '7')
    assert main([*line, '--force'], FAMILY) == 0
    assert 'resuming' not in capsys.readouterr().out
    assert not (tmp_path / '7.metric' / 'try-2').exists()


@pytest.mark.parametrize(('more', 'message'), [
    (['--weights', '1,2'], "--weights is '1,2'; it must be 1 whole numbers"),
    (['--weights', '1000'], 'from 1 to 999'),
    (['--min-depth', '30'], '--max-depth is 20.0; it must be larger than --min-depth'),
    (['--crop', '33'], 'multiples of 14 for the student tiny'),
    (['--hold-out', '0.9'], 'too few')])
def test_unusable_options_are_one_line_before_the_training(
        drive: tuple[Path, Path], more: list[str], message: str, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(drive, tmp_path / 'mine.xml', *more), FAMILY) == 1
    err = capsys.readouterr().err
    assert err.startswith('error: ') and err.count('\n') == 1 and message in err
    assert not (tmp_path / 'mine.xml').exists()


def test_the_start_is_not_replaced_by_the_model_in_metres(
        start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / 'mine.pth'
    mine.write_bytes(start.with_suffix('.pth').read_bytes())
    line = arguments((mine, tmp_path), tmp_path / 'mine.xml', '--force', '--kind', 'relative',
                     '--model-version', 'v2')
    assert main(line, FAMILY) == 1
    assert 'mine.pth: that is the source, which would be lost' in capsys.readouterr().err
    assert mine.read_bytes() == start.with_suffix('.pth').read_bytes()


def test_a_start_of_which_the_kind_is_unknown_is_refused(
        drive: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = drive[0].with_suffix('.pth')
    assert main(arguments((start, drive[1]), tmp_path / 'mine.xml'), FAMILY) == 1
    assert 'its kind is unknown' in capsys.readouterr().err


def test_an_ir_is_a_start_with_its_weights_and_licence(start: Path) -> None:
    found = open_start(start, Overrides(), FAMILY)
    image = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    with load_model(start, precision='f32', image_hw=(30, 40)) as model:
        assert (found.name, found.licence) == (model.info.source_name, model.info.licence)
        expected = model.infer(image)
    focal_px = full_view_focal((40.0, 40.0), (30, 40), found.student.input_spec)
    depth = predict_metres(found.student.network.eval(), image, (40.0, 40.0), MetricScale(
        focal_px, DepthRange(1e-6, 1e6)))
    np.testing.assert_allclose(1 / depth, expected, atol=1e-3 * expected.max())


def test_the_check_alone_writes_a_picture_and_no_model(
        drive: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(drive, tmp_path / 'mine.xml', '--check-only'), FAMILY) == 0
    assert 'the same command without --check-only trains' in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / 'mine.metric' / 'pairs.png')) is not None
    assert not (tmp_path / 'mine.xml').exists()
