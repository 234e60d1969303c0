"""From a teacher and images to a student: output, files, and resuming after a stop."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from checkpoints import FAMILY, random_weights, TINY_LIGHT
import cv2
from depth_anything_ros.distill.main import main
import numpy as np
import pytest

torch = pytest.importorskip('torch')
for package in ('typer', 'openvino', 'onnx', 'onnxscript', 'onnxruntime', 'matplotlib'):
    pytest.importorskip(package)

from depth_anything_ros.cli.progress import count_in_lines  # noqa: E402, I100
from depth_anything_ros.convert.sources.records import (  # noqa: E402
    DistillationRecord, read_distillation_record, sha256_of, write_distillation_record)
from depth_anything_ros.distill import distill as distilling  # noqa: E402
from depth_anything_ros.distill.dataset import LabelledImage  # noqa: E402
from depth_anything_ros.distill.job import (  # noqa: E402
    DistillJob, has_options, MEDIUM, Recipe, store_options)
from depth_anything_ros.distill.students import vit_student  # noqa: E402
from depth_anything_ros.distill.train_loop import (  # noqa: E402
    mean_rank_correlation, resume, RunFolder, train)
from depth_anything_ros.distill.trainer import Trainer  # noqa: E402
from depth_anything_ros.errors import CheckpointError  # noqa: E402
from depth_anything_ros.media.folders import read_list  # noqa: E402

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / 'test' / 'support'
RECIPE = Recipe(4, 2, (28, 42), warmup=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of twelve small images; --hold-out 4 holds out three of them."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        coarse = rng.integers(0, 255, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), cv2.resize(coarse, (64, 48)))
    return folder


@pytest.fixture(scope='session')
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a student with random weights, because the teacher here is an IR."""
    path = tmp_path_factory.mktemp('start') / 'start.pth'
    torch.save(random_weights(TINY_LIGHT), path)
    return path


def arguments(teacher: Path, photos: Path, output: Path, start: Path, *more: str) -> list[str]:
    return [str(teacher), str(photos), '-o', str(output), '--start', str(start), '--batch', '2',
            '--crop', '28x42', '--steps', '3', '--hold-out', '4', '--look-every', '2',
            '--device', 'cpu', *more]


def is_one_error(err: str, message: str) -> bool:
    return err.startswith('error: ') and err.count('\n') == 1 and message in err


def test_a_student_is_trained_recorded_and_converted_and_its_work_folder_stays(
        tiny_ir: Path, photos: Path, start: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / 'models' / 'mine.xml'
    line = arguments(tiny_ir, photos, output, start, '--licence', 'MIT', '--augmentation',
                     'medium', '--order-weight', '0.5', '--weight-decay', '0.1', '--drop-path',
                     '0.2')
    assert main(line, FAMILY) == 0
    out, err = capsys.readouterr()
    assert err == ''
    for text in ('images: 9 for training, 3 held out', 'student: tiny, 3 steps of 2 crops of '
                 '42x28', 'step 2: rank correlation', f'{output} is ready',
                 f'try it: depth_anything_run {output} --input {photos}'):
        assert text in out
    assert sorted(path.name for path in output.parent.iterdir()) == [
        'mine.bin', 'mine.distill', 'mine.pth', 'mine.pth.distilled.json', 'mine.xml']
    record = read_distillation_record(output.with_suffix('.pth'))
    assert record is not None
    assert (record.student, record.teacher, record.licence, record.images, record.held_out) == (
        'tiny', 'tiny.pth', 'MIT', 9, 3)
    assert -1 <= record.rank_correlation <= 1
    assert (record.recipe['steps'], record.recipe['order_weight']) == (3, 0.5)
    assert (record.recipe['weight_decay'], record.recipe['drop_path']) == (0.1, 0.2)
    assert record.recipe['augmentation'] == asdict(MEDIUM)
    folder = output.with_suffix('.distill')
    assert cv2.imread(str(folder / 'curves.png')) is not None
    steps = [json.loads(entry)['step'] for entry in (folder / 'journal.jsonl').open()]
    assert steps[-2:] == [2, 3]
    from depth_anything_ros.convert.inspect.inspect import inspect
    facts = str(inspect(output))
    assert 'tiny' in facts and 'MIT' in facts
    assert main(line, FAMILY) == 1
    assert is_one_error(capsys.readouterr().err, 'the file exists already; add --force')


def make_trainer(start: Path, photos: Path, folder: Path
                 ) -> tuple[Trainer, list[LabelledImage]]:
    """Return a trainer on all images but the first, labelled with their brightness, and all."""
    folder.mkdir(exist_ok=True)
    pairs = []
    for path in sorted(photos.iterdir()):
        pairs.append(LabelledImage(path, folder / f'{path.stem}.npy'))
        np.save(pairs[-1].label, cv2.imread(str(path)).mean(2).astype(np.float16))
    student = vit_student(TINY_LIGHT)
    student.network.load_state_dict(torch.load(start, weights_only=True))
    return Trainer(student, RECIPE, pairs[1:]), pairs


def silent(line: str) -> None:
    pass


def run(trainer: Trainer, pairs: list[LabelledImage], folder: Path,
        counting: Any = None) -> float:
    resume(RunFolder(folder), trainer, False)
    return train(RunFolder(folder), trainer, pairs[:1], 500, silent,
                 counting or partial(count_in_lines, silent))


def test_an_interrupted_training_resumes_with_the_same_result(
        photos: Path, start: Path, tmp_path: Path) -> None:
    whole, pairs = make_trainer(start, photos, tmp_path / 'whole')
    found = run(whole, pairs, tmp_path / 'whole')

    class Interrupting:

        def __init__(self, *args: object) -> None:
            self.steps = 0

        def __enter__(self) -> Callable[[str], None]:
            return self.advance

        def __exit__(self, *args: object) -> None:
            pass

        def advance(self, note: str) -> None:
            self.steps += 1
            if self.steps == 1:
                signal.getsignal(signal.SIGINT)(signal.SIGINT, None)

    first, pairs = make_trainer(start, photos, tmp_path / 'parts')
    with pytest.raises(KeyboardInterrupt):
        run(first, pairs, tmp_path / 'parts', Interrupting)
    assert first.step == 2
    second, pairs = make_trainer(start, photos, tmp_path / 'parts')
    assert run(second, pairs, tmp_path / 'parts') == found
    expected = whole.averaged.values
    assert all(torch.equal(value, expected[name])
               for name, value in second.averaged.values.items())


def test_the_rank_correlation_on_training_images_is_reported_too(
        photos: Path, start: Path, tmp_path: Path) -> None:
    trainer, pairs = make_trainer(start, photos, tmp_path / 'work')
    lines: list[str] = []
    found = train(RunFolder(tmp_path / 'work'), trainer, pairs[:1], 500, lines.append,
                  partial(count_in_lines, silent))
    on_training = mean_rank_correlation(trainer.result(), pairs[1:])
    assert on_training != found == mean_rank_correlation(trainer.result(), pairs[:1])
    assert f'{found:.4f} on validation images, {on_training:.4f} on training images' in lines[-1]


def test_a_state_of_other_images_is_refused_and_removed_with_force(
        photos: Path, start: Path, tmp_path: Path) -> None:
    trainer, pairs = make_trainer(start, photos, tmp_path / 'work')
    run(trainer, pairs, tmp_path / 'work')
    other, _ = make_trainer(start, photos, tmp_path / 'work')
    other.images = other.images[1:]
    with pytest.raises(CheckpointError, match='number of images'):
        resume(RunFolder(tmp_path / 'work'), other, False)
    resume(RunFolder(tmp_path / 'work'), other, True)
    assert other.step == 0 and not RunFolder(tmp_path / 'work').state.exists()


def test_a_work_folder_continues_with_its_own_options_only(tmp_path: Path) -> None:
    job = DistillJob(Path('teacher.pth'), ('photos',), tmp_path / 'mine.xml', Recipe(100))
    options = job.options('a' * 64)
    assert not has_options(tmp_path, options, False)
    store_options(tmp_path, options)
    assert has_options(tmp_path, options, False)
    for name, changed in (
            ('--steps 100, not 200', replace(job, recipe=Recipe(200))),
            ('--crop 196, 266, not 64, 64', replace(job, recipe=Recipe(100, crop_hw=(64, 64)))),
            ('--order-weight 2.0, not 0.5', replace(job, recipe=Recipe(100, order_weight=0.5))),
            ('--weight-decay 0.02, not 0.1', replace(job, recipe=Recipe(100, weight_decay=0.1))),
            ('--drop-path 0.0, not 0.2', replace(job, recipe=Recipe(100, drop_path=0.2))),
            ('--flip off, not on', replace(job, flip=True)),
            ('--sizes none, not 518, 700', replace(job, sizes=(518, 700))),
            ('DATA .*photos, not .*other', replace(job, data=('other',)))):
        with pytest.raises(CheckpointError, match=f'was made with {name}; .*start over'):
            has_options(tmp_path, changed.options('a' * 64), False)
        assert not has_options(tmp_path, changed.options('a' * 64), True)
    with pytest.raises(CheckpointError, match='made with TEACHER aaaa.*, not bbbb'):
        has_options(tmp_path, job.options('b' * 64), False)


@pytest.mark.parametrize(('more', 'message'), [
    (['--hold-out', '2000'], 'training images and 1 held-out images'),
    (['--hold-out', '2'], '6 training images and 6 held-out images are too few'),
    (['--crop', '33x64'], 'multiples of 14 for the student tiny'),
    (['--crop', 'large'], 'HEIGHTxWIDTH or one side'),
    (['--sizes', '518;700'], 'sides in pixels with commas between'),
    (['--topic', '/image'], 'is no bag'),
    (['--start', 'none.pth'], 'none.pth: there is no such file'),
    (['-o', 'mine.pth'], 'the name of an IR ends in .xml'),
    (['-o', 'n' * 240 + '.xml'], '.pth.distilled.json: its name is longer than 255 bytes')])
def test_unusable_input_is_one_line_and_leaves_no_model(
        more: list[str], message: str, tiny_ir: Path, photos: Path, start: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if more[0] == '--hold-out' and more[1] == '2000':
        for number in range(1, 8):
            (photos / f'{number}.png').unlink()
    output = tmp_path / 'models' / 'mine.xml'
    assert main(arguments(tiny_ir, photos, output, start, *more), FAMILY) == 1
    assert is_one_error(capsys.readouterr().err, message)
    assert not output.exists()


def test_a_checkpoint_of_that_name_is_replaced_with_force_only(
        tiny_ir: Path, photos: Path, start: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'mine.pth').write_bytes(b'precious')
    assert main(arguments(tiny_ir, photos, tmp_path / 'mine.xml', start), FAMILY) == 1
    assert is_one_error(capsys.readouterr().err, 'the checkpoint goes there; add --force')
    assert (tmp_path / 'mine.pth').read_bytes() == b'precious'


@pytest.mark.skipif(sys.platform == 'darwin', reason='names are Unicode there')
@pytest.mark.parametrize(('own', 'more', 'expected'), [
    ('CC-BY-NC-4.0', [], 'CC-BY-NC-4.0'), (None, [], 'unknown'), ('Apache-2.0', [], 'Apache-2.0'),
    ('MIT', [], 'Apache-2.0 AND MIT'), ('CC-BY-NC-4.0', ['--licence', 'mine'], 'mine')])
def test_the_licence_of_the_start_counts_like_that_of_the_teacher(
        own: str | None, more: list[str], expected: str, tiny_ir: Path, photos: Path, start: Path,
        tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilling, 'convert_student',
                        lambda job, *others: job.output.with_suffix('.bin').touch())
    first = tmp_path / 'first.pth'
    first.write_bytes(start.read_bytes())
    digest = sha256_of([first])
    if own:
        write_distillation_record(first, DistillationRecord(
            'tiny', 'vitl', '0' * 64, own, 9, 3, 0, {}, 0.9, digest))
    assert main(arguments(tiny_ir, photos, tmp_path / 'mine.xml', first, *more), FAMILY) == 0
    record = read_distillation_record(tmp_path / 'mine.pth')
    assert record is not None and (record.licence, record.start_sha256) == (expected, digest)
    out = capsys.readouterr().out
    assert f', licence {own or "unknown"}' in out
    assert (f'the licence of the student is {expected}, because of its start' in out) == (
        expected not in ('mine', 'Apache-2.0'))


@pytest.mark.parametrize('option', ['teacher', '--start'])
def test_the_source_is_not_replaced_by_the_student(
        option: str, tiny_ir: Path, photos: Path, start: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / 'mine.pth'
    mine.write_bytes(start.read_bytes())
    teacher, first = (mine, start) if option == 'teacher' else (tiny_ir, mine)
    line = arguments(teacher, photos, mine.with_suffix('.xml'), first, '--force')
    assert main(line, FAMILY) == 1
    assert is_one_error(capsys.readouterr().err, 'mine.pth: that is the source, which would be')
    assert mine.read_bytes() == start.read_bytes()
    assert not (tmp_path / 'mine.distill').exists()


def test_names_of_images_need_not_be_unicode(
        tiny_ir: Path, photos: Path, start: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calibrated = []
    monkeypatch.setattr(distilling, 'convert_to_int8', lambda job, images, **others: [
        calibrated.extend(read_list(Path(images))),
        *(job.output.with_suffix(suffix).touch() for suffix in ('.xml', '.bin'))])
    for path in photos.iterdir():
        os.rename(path, os.fsencode(photos) + b'/\xe9' + os.fsencode(path.name))
    line = arguments(tiny_ir, photos, tmp_path / 'mine.xml', start, '--steps', '1')
    assert main([*line, '--precision', 'int8'], FAMILY) == 0
    assert capsys.readouterr().err == ''
    assert len(calibrated) == 9 and set(calibrated) < set(photos.iterdir())


def test_a_training_with_steps_that_are_too_large_writes_no_model(
        tiny_ir: Path, photos: Path, start: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / 'mine.xml'
    line = arguments(tiny_ir, photos, output, start, '--steps', '1', '--head-rate', '1e30')
    assert main(line, FAMILY) == 1
    assert is_one_error(capsys.readouterr().err, 'head_rate is 1e+30; it must be lower, and '
                        'encoder_rate with it: after step 1 the depth is not finite')
    assert not output.exists() and not output.with_suffix('.pth').exists()


def test_parts_that_are_labelled_apart_are_all_that_the_training_needs(
        tiny_ir: Path, photos: Path, start: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilling, 'convert_student', lambda job, *others: [
        job.output.with_suffix(suffix).touch() for suffix in ('.xml', '.bin')])
    output, work = tmp_path / 'mine.xml', tmp_path / 'work'
    line = arguments(tiny_ir, photos, output, start, '--work', str(work), '--steps', '1')
    parts = []
    for shard in ('1/3', '2/3', '3/3'):
        before = set(work.rglob('*.npy'))
        assert main([*line, '--labels-only', '--shard', shard], FAMILY) == 0
        parts.append(set(work.rglob('*.npy')) - before)
        out, err = capsys.readouterr()
        assert err == '' and f'labels: part {shard[0]} of 3, 4 of 12 images' in out
        assert f'the labels are in {work}; the same command without --labels-only' in out
    assert [len(part) for part in parts] == [4, 4, 4]
    assert not output.exists() and not (work / 'options.json').exists()
    written = {path: path.stat().st_mtime_ns for part in parts for path in part}
    assert main(line, FAMILY) == 0 and output.is_file()
    assert {path: path.stat().st_mtime_ns for path in work.rglob('*.npy')} == written


@pytest.mark.parametrize(('more', 'message'), [
    (['--shard', '1/2'], "--shard is '1/2'; it must be left out, or used with --labels-only"),
    *((['--labels-only', '--shard', text], f"--shard is '{text}'; it must be PART/PARTS")
      for text in ('0/2', '3/2', '2', '1/0', 'a/b'))])
def test_an_impossible_part_is_refused_before_the_work(
        more: list[str], message: str, tiny_ir: Path, photos: Path, start: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(tiny_ir, photos, tmp_path / 'mine.xml', start, *more), FAMILY) == 1
    assert is_one_error(capsys.readouterr().err, message)
    assert not (tmp_path / 'mine.distill').exists()


@pytest.mark.parametrize(('line', 'message'), [
    (['teacher.pth'], 'Missing argument'), (['teacher.pth', 'photos'], 'Missing option'),
    (['a.pth', 'photos', '-o', 'b.xml', '--student', 'huge'], "'huge' is not one of"),
    (['a.pth', 'photos', '-o', 'b.xml', '--seed', str(2 ** 63)], "'--seed'"),
    (['a.pth', 'photos', '-o', 'b.xml', '--batch', '10000000'], "'--batch'"),
    (['metric', 'a.pth', 'photos', '-o', 'b.xml', '--batch', '10000000'], "'--batch'"),
    (['a.pth', 'photos', '-o', 'b.xml', '--hold-out', '1'], "'--hold-out'")])
def test_wrong_usage_ends_with_status_2(
        line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 2
    err = capsys.readouterr().err
    assert message in err and 'Usage: depth_anything_distill' in err


def start_program(line: Sequence[str], code: str = 'pass') -> 'subprocess.Popen[str]':
    """Start the program; ``code`` may set the table of models."""
    code = f'import sys; table = (); {code}; from depth_anything_ros.distill.main import main; ' \
        'sys.exit(main(sys.argv[1:], *table))'
    return subprocess.Popen(
        [sys.executable, '-c', code, *line], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={
            **os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{SUPPORT}', 'COLUMNS': '99'})


def test_help_names_the_options_without_loading_torch_or_openvino() -> None:
    program = start_program(['--help'], 'import atexit; atexit.register('
                            "lambda: print({'torch', 'openvino', 'cv2'} & set(sys.modules)))")
    out, err = program.communicate(timeout=240)
    assert (program.returncode, err) == (0, '')
    for option in ('--student', '--steps', '--batch', '--crop', '--seed', '--device', '--work',
                   '--hold-out', '--label-size', '--flip', '--sizes', '--every', '--topic',
                   '--precision', '--licence', '--start', '--force', '--yes', '--look-every',
                   '--labels-only', '--shard'):
        assert option in out
    assert 'Examples:' in out and out.rstrip().endswith('set()')


@pytest.mark.parametrize('package', ['torch', 'matplotlib', 'typer'])
def test_a_missing_package_is_answered_with_the_line_that_installs_it(package: str) -> None:
    program = start_program(['a.pth', 'photos', '-o', 'b.xml'], f'sys.modules[{package!r}] = None')
    _, err = program.communicate(timeout=240)
    assert program.returncode == 1
    assert is_one_error(err, f'depth_anything_distill needs {package}')
    assert "pip install 'depth_anything_ros[distill]'" in err


def test_a_stopped_run_resumes_when_it_is_started_again(
        tiny_ir: Path, photos: Path, start: Path, tmp_path: Path) -> None:
    output = tmp_path / 'mine.xml'
    line = arguments(tiny_ir, photos, output, start, '--steps', '100000')
    folder = output.with_suffix('.distill')
    log = folder / 'journal.jsonl'
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = log.read_text() if log.exists() else ''
        program = start_program(line, 'from checkpoints import FAMILY; table = (FAMILY,)')
        while program.poll() is None and not (
                log.exists() and len(log.read_text()) > len(before)):
            time.sleep(0.05)
        program.send_signal(number)
        out, err = program.communicate(timeout=240)
        assert program.returncode == status, err
        assert 'Traceback' not in err and 'is ready' not in out
        assert (folder / 'state.pth').is_file() and not output.exists()
    assert 'resuming after step' in out
    assert is_one_error(err, 'interrupted; run the same command again to continue')
