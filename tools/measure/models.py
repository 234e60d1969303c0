"""
Measure the models that the converter makes, and write docs/figures/models.json and docs/models.md.

``python -m tools.measure.models`` needs a folder ../shared with weights/ (a checkpoint), images/
(photos, rgbd, sequence) and corpus/. It takes about 30 minutes on two idle cores. ``--only PART``
measures one part and keeps the figures of the others.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
import statistics
import sys
import tempfile
from typing import Any

from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.model_info import ExecutionPrecision
from tools.measure.figures import model_mib, read_figures, requote_pages, ROOT, write_figures
from tools.shared_data import (
    calibration_images, CHECKPOINT_OVERRIDES, gate_images, IMAGES, require_data, SEQUENCE,
    write_int8_lists)

COMMAND = 'python -m tools.measure.models'
PARTS = ('models', 'run', 'encoders')
_EXECUTED: dict[str, ExecutionPrecision] = {'fp32': 'f32', 'fp16': 'auto', 'int8': 'auto'}
_CALIBRATION_SIZE = 392
_ROUNDS, _PHASE_S, _RUN_IMAGES = 5, 10.0, 120

Figures = dict[str, float]
PAGE = ROOT / 'docs' / 'models.md'
PRECISIONS = {'fp32': 'f32', 'fp16': 'bf16', 'int8': 'INT8 and bf16'}
SIZES = (518, 392, 252)

_HEAD = """# Models: size, accuracy, speed

Written by `python -m tools.measure.models` from
[figures/models.json](figures/models.json), which names the machine. One layer of the
Depth-Anything-V2-Small checkpoint was refit, so its figures are close to those of the published
weights, but not equal.

- **input size** is the short side of the network input. Speed is for 4:3 images, relative to vits
  in bf16 at 518, on a processor with bf16 and VNNI instructions.
- **lost to f32** is the difference from the depth of the fp32 file in f32 at the same size: mean
  AbsRel after alignment over 15 photographs that were not used for calibration.
- **AbsRel** and **δ1** compare with the measured depth of five indoor RGB-D images (MiDaS
  protocol, 10 m).

| encoder | weights | runs in | input size | MiB | lost to f32 | AbsRel | δ1 | speed |
|---|---|---|---|---|---|---|---|---|
"""
_INT8 = """
## INT8

Measured on the same 15 photographs at input size 392, compared with the f32 depth of the model:

| | AbsRel mean | AbsRel worst | Pearson worst |
|---|---|---|---|
| bf16, nothing quantized | {bf16_absrel_mean:.4f} | {bf16_absrel_max:.4f} \
| {bf16_pearson_min:.4f} |
| NNCF's transformer preset, unchanged | {preset_absrel_mean:.4f} | {preset_absrel_max:.4f} \
| {preset_pearson_min:.4f} |
| `depth_anything_convert quantize`, {int8_layers_in_float:.0f} layers without fixed ranges \
| {int8_absrel_mean:.4f} | {int8_absrel_max:.4f} | {int8_pearson_min:.4f} |
| its gate | 0.012 | 0.03 | 0.995 |

The INT8 model is {int8_speedup_vs_bf16:.2f} times as fast as the fp16 model in bf16.
[converting.md](converting.md#int8) explains how it is made.

## Parity

| what | largest difference, in standard deviations of the output |
|---|---|
| fp32 IR from PyTorch | {vits_fp32_parity:.1e} |
| fp16 IR from PyTorch, both in f32 | {vits_fp16_parity:.1e} |
| this package's network from `transformers`, random weights, 518×518: vits | \
{vits_transformers_parity:.1e} |
| vitb | {vitb_transformers_parity:.1e} |
| vitl | {vitl_transformers_parity:.1e} |

`depth_anything_run`, from a folder of 640×480 JPEG files to PNG files, reaches \
{run_throughput_ratio:.2f} of the rate of bare inference calls.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 with a sentence if data is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--only', choices=PARTS, action='append', help='default: all')
    options = parser.parse_args(arguments)
    try:
        figures = read_figures('models') if options.only else {}
        with tempfile.TemporaryDirectory() as folder:
            figures |= _measure(Path(folder), options.only or PARTS)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    rounded = {name: float(f'{value:.4g}') for name, value in figures.items()}
    print(f'wrote {write_figures("models", COMMAND, rounded)} and {write_page(rounded)}')
    requote_pages()
    return 0


def _measure(folder: Path, parts: Sequence[str]) -> Figures:
    figures, models = _convert(require_data(), folder)
    if 'models' in parts:
        figures |= _quantize(models, folder)
        for precision, model in models.items():
            for size in SIZES:
                figures |= _row(model, models, precision, size)
    if 'run' in parts:
        figures['run_throughput_ratio'] = _throughput_ratio(models['fp16'], folder)
    if 'encoders' in parts:
        figures |= _random_weights(models['fp16'], folder)
    for name, value in figures.items():
        print(f'{name:32} {value:.4g}')
    return figures


def _convert(checkpoint: Path, folder: Path) -> tuple[Figures, dict[str, Path]]:
    from depth_anything_ros.convert.conversion import convert, Job
    figures, models = {}, {}
    for precision in ('fp32', 'fp16'):
        models[precision] = folder / f'{precision}.xml'
        done = convert(Job(checkpoint, models[precision], precision, CHECKPOINT_OVERRIDES))
        figures[f'vits_{precision}_parity'] = done.parity.worst('OpenVINO')
    return figures, models


def _quantize(models: dict[str, Path], folder: Path) -> Figures:
    """Quantize the fp16 model and compare the INT8 model with bf16."""
    from depth_anything_ros.convert.quantize.gate import Loss
    from depth_anything_ros.convert.quantize.images import (
        inputs_of_one_size, inputs_of_own_size, read_pictures)
    from depth_anything_ros.convert.quantize.measure import make_samples, measure, speedup
    from depth_anything_ros.convert.quantize.quantize import quantize, QuantizeJob
    from depth_anything_ros.inference.ir import read_model
    import openvino

    calibration, gate = write_int8_lists(folder)
    models['int8'] = folder / 'int8.xml'
    done = quantize(QuantizeJob(models['fp16'], models['int8'], str(calibration),
                                gate_images=str(gate)))
    core = openvino.Core()
    network, info = read_model(core, models['int8'])
    floating, _ = read_model(core, models['fp16'])
    pictures = read_pictures(str(gate), None, len(gate_images()), print)
    samples = make_samples(floating, inputs_of_own_size(pictures, info, _CALIBRATION_SIZE))
    losses = {name: Loss.of(measure(one, samples, relative=True))
              for name, one in (('int8', network), ('bf16', floating),
                                ('preset', _preset(floating, str(calibration), info)))}
    image = inputs_of_one_size(pictures, info, _CALIBRATION_SIZE)[0]
    figures = {'int8_speedup_vs_bf16': speedup(network, floating, image, rounds=25),
               'int8_layers_in_float': float(len(done.trials[-1].kept_float))}
    for name, loss in losses.items():
        figures |= {f'{name}_absrel_mean': loss.abs_rel_mean,
                    f'{name}_absrel_max': loss.abs_rel_max,
                    f'{name}_pearson_min': loss.pearson_min}
    return figures


def _preset(model: Any, calibration: str, info: Any) -> Any:
    """Return the model quantized by NNCF without the settings of this package."""
    from depth_anything_ros.convert.quantize.images import inputs_of_one_size, read_pictures
    import nncf

    pictures = read_pictures(calibration, None, len(calibration_images()), print)
    images = inputs_of_one_size(pictures, info, _CALIBRATION_SIZE)
    fixed, shape = model.clone(), model.input(0).partial_shape
    fixed.reshape(list(images[0].shape))
    quantized = nncf.quantize(fixed, nncf.Dataset(images), subset_size=len(images),
                              model_type=nncf.ModelType.TRANSFORMER)
    quantized.reshape(shape)
    return quantized


def _row(model: Path, models: dict[str, Path], precision: str, size: int) -> Figures:
    """Return file size, agreement with f32, accuracy and speed of one row of the table."""
    from depth_anything_ros.evaluate.compare import compare_models
    from depth_anything_ros.evaluate.predictions import ModelOptions
    from depth_anything_ros.evaluate.rgbd import evaluate_rgbd
    from depth_anything_ros.evaluate.rgbd_folder import open_folder, RgbdConfig
    from depth_anything_ros.vision.depth import DepthRange

    options = ModelOptions(size, precision=_EXECUTED[precision])
    data = open_folder(IMAGES / 'rgbd', RgbdConfig('rgb_*.png', 'depth_*.png', 1000.0,
                                                   DepthRange(0.1, 10.0)))
    scores = evaluate_rgbd(model, data, options).mean
    agreement = compare_models(model, models['fp32'], gate_images(), options).mean
    name = row_name('vits', precision, size)
    return {f'{name}_mib': model_mib(model), f'{name}_agreement': agreement.abs_rel,
            f'{name}_absrel': scores.abs_rel, f'{name}_delta1': scores.delta1,
            f'{name}_speed': _speed(model, _EXECUTED[precision], size, models['fp16'])}


def _random_weights(baseline: Path, folder: Path) -> Figures:
    """Return file size and speed of the larger encoders, and the parity with transformers."""
    from depth_anything_ros.convert.conversion import convert, Job
    from depth_anything_ros.convert.parity.measure import conversion_limits, Limits
    from depth_anything_ros.convert.sources.identity import Overrides
    from depth_anything_ros.networks.models import find_encoder
    from tools.transformers_parity import parity, random_model

    figures: Figures = {}
    for spec in map(find_encoder, ('vits', 'vitb', 'vitl')):
        figures[f'{spec.name}_transformers_parity'] = parity(spec.name)
        if spec.name == 'vits':
            continue
        source, model = folder / f'{spec.name}-hf', folder / f'{spec.name}.xml'
        random_model(spec).save_pretrained(source)
        convert(Job(source, model, 'fp16', Overrides('relative', 'v2')), sizes_hw=((252, 336),),
                limits={**conversion_limits('fp16'), 'OpenVINO': Limits(max_error=1.0)})
        for size in SIZES:
            name = row_name(spec.name, 'fp16', size)
            figures[f'{name}_mib'] = model_mib(model)
            figures[f'{name}_speed'] = _speed(model, 'auto', size, baseline)
        model.with_suffix('.bin').unlink()
    figures['transformers_parity_max'] = max(
        value for name, value in figures.items() if name.endswith('_transformers_parity'))
    return figures


def _speed(model: Path, precision: str, size: int, baseline: Path) -> float:
    """Return inferences per second over those of the fp16 model of vits at 518."""
    one, other = BareModel(model, size, precision), BareModel(baseline, SIZES[0])
    return statistics.median(one.rate(2.0) / other.rate(2.0) for _ in range(_ROUNDS))


def _throughput_ratio(model: Path, folder: Path) -> float:
    """Return images/s of depth_anything_run over bare calls/s, the median of the rounds."""
    from depth_anything_ros.inference.engine import Engine, EngineOptions
    from depth_anything_ros.run.outputs import open_output
    from depth_anything_ros.run.pipeline import run_images
    from depth_anything_ros.run.tasks import make_tasks, RunOptions

    listing = folder / 'frames.txt'
    frames = sorted(SEQUENCE.glob('rgb_*.jpg'))[:_RUN_IMAGES]
    listing.write_text('\n'.join(map(str, frames)), encoding='utf-8')
    options = RunOptions(model, source=str(listing), outdir=folder)
    task, bare, ratios = make_tasks(options)[0], BareModel(model), []
    with closing(Engine(model, EngineOptions(hint='THROUGHPUT', timeout_s=300.0))) as engine, \
            open_output(task, options, engine.info.kind, lambda: True) as output:
        for number in range(1, _ROUNDS + 1):
            before = bare.rate(_PHASE_S)
            rate = run_images(engine, task.items, output.write, writers=output.writers).rate
            ratios.append(rate / statistics.mean((before, bare.rate(_PHASE_S))))
            print(f'round {number}: {rate:.2f} images/s, ratio {ratios[-1]:.3f}', flush=True)
    return statistics.median(ratios)


def row_name(encoder: str, precision: str, size: int) -> str:
    """Return the prefix of the figures of one row of the table."""
    return f'{encoder}_{precision}_{size}'


def render(figures: Mapping[str, float]) -> str:
    """Return the page; the rows of random weights have no accuracy."""
    rows = [_page_row(figures, 'vits', precision, size)
            for precision in PRECISIONS for size in SIZES]
    rows += [_page_row(figures, encoder, 'fp16', size) for encoder in ('vitb', 'vitl')
             for size in SIZES]
    note = ('\nvitb and vitl were measured with random weights, which have the same file size and '
            'speed as trained\nones; their depth has no meaning.\n')
    return _HEAD + '\n'.join(rows) + '\n' + note + _INT8.format(**figures)


def write_page(figures: Mapping[str, float]) -> Path:
    """Write docs/models.md and return its path."""
    PAGE.write_text(render(figures), encoding='utf-8')
    return PAGE


def _page_row(figures: Mapping[str, float], encoder: str, precision: str, size: int) -> str:
    name = row_name(encoder, precision, size)
    accuracy = [f'{figures[key]:.{digits}f}' if (key := f'{name}_{what}') in figures else ''
                for what, digits in (('agreement', 4), ('absrel', 3), ('delta1', 3))]
    cells = [encoder, precision, PRECISIONS[precision], str(size),
             f'{figures[f"{name}_mib"]:.0f}', *accuracy, f'{figures[f"{name}_speed"]:.2f}']
    return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
    sys.exit(main())
