"""
Measure models, and write docs/figures/models.json, docs/models.md and its chart.

``python -m tools.measure.models`` needs a folder ../shared with weights/ (a checkpoint), images/
(photos, rgbd, sequence) and corpus/. It takes about an hour on two idle cores, most of it for the
INT8 model. ``--only PART`` measures one part and keeps the figures of the others.
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
from depth_anything_ros.benchmark.report import as_dict
from depth_anything_ros.cli.reports import markdown_table
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.resources import shipped_model
from tools.measure.figures import (
    model_mib, read_content, requote_pages, ROOT, rounded, write_figures)
from tools.measure.performance import Inputs, make_inputs, shrink_picture
from tools.shared_data import (
    calibration_images, gate_images, SEQUENCE, write_int8_lists, write_sequence)

COMMAND = 'python -m tools.measure.models'
PARTS = ('int8', 'ladder', 'run', 'encoders')
_CALIBRATION_SIZE = 392
_ROUNDS, _PHASE_S, _RUN_IMAGES = 5, 10.0, 120
# Frames of the sequence for the flicker.
_FRAMES = 16

Figures = dict[str, float]
PAGE, CHART = ROOT / 'docs' / 'models.md', ROOT / 'docs' / 'images' / 'models.png'
SIZES = (518, 392, 252)
_LADDER_SIZES = (*SIZES, 196)

_HEAD = """# Which model

Written by `{command}` from
[figures/models.json](figures/models.json). Machine: {machine}.
vits is Depth-Anything-V2-Small, from a checkpoint with one refit layer, so its figures are close
to those of the published weights, but not equal. Its file states no licence; the published weights
are under Apache-2.0. depth_anything_tiny is the model of the package.
The rank is that on ten photographs of 2000 pixels; on the small ones of the
[model card](../models/depth_anything_tiny.md) that of a small network is higher.

## Speed, accuracy, licence

"""
_OWN = """
## A row for your own model

```
pip install 'path/to/depth_anything_ros[tools]'    # in a virtual environment
depth_anything_benchmark ladder models/depth_anything_tiny.xml mine.xml --teacher vits.xml \\
    --input-size 0 --precision auto --rgbd RGBD_FOLDER --sequence MOVING_FOLDER --picture front.png
```

Every IR of `depth_anything_convert` can be a row, in any mixture: relative and metric models,
Depth Anything 3, [networks of others](converting.md#other-networks), INT8 models, your own
students. All are measured side by side on this machine.

- `--teacher` is the model whose order of pixels counts, by default the first one. Metres are
  compared as inverse depth.
- `--images FOLDER` are the photographs for the rank; default: those of the package.
- `--rgbd FOLDER` has images with measured depth, `--sequence FOLDER` consecutive frames with depth
  and poses. A `dataset.yaml` in the folder describes its files ([evaluating.md](evaluating.md)).
  Without the two options their columns are missing.
- `--input-size 0 --precision auto` is each model at its own size, in the precision that the device
  prefers. Without them each is measured at eight input sizes, in f32 too.
- The licence is that in the IR, from the download, the official name, the record of a distillation
  or the `licence` of a description
  ([converting.md](converting.md#which-model-and-under-which-licence)). It is «unknown» where none
  of them states it.
- A model that cannot run is named with the reason, the others keep their rows, and the exit status
  is 1. A file in a folder that cannot be read is named before anything is measured.

## Larger encoders

Measured with random weights, which have the same file size and speed as trained ones; their depth
has no meaning. Speed is for 4:3 images, relative to vits in bf16 at 518.

"""
_INT8 = """
## INT8

Measured on 15 photographs that were not used for calibration, at input size 392, compared with the
f32 depth of the model:

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

This package's network differs from `transformers`, with random weights at 518×518, by at most
{vits_transformers_parity:.1e} (vits), {vitb_transformers_parity:.1e} (vitb) and
{vitl_transformers_parity:.1e} (vitl) standard deviations of the output.
[choosing.md](choosing.md#how-good-and-how-fast) has the difference of the IRs from PyTorch.

`depth_anything_run`, from a folder of 640×480 JPEG files to PNG files, reaches \
{run_throughput_ratio:.2f} of the rate of bare inference calls.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 with a sentence if data is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--only', choices=PARTS, action='append', help='default: all')
    parser.add_argument('--models', type=Path, metavar='FOLDER', help='folder with fp16.xml and '
                        'int8.xml; missing ones are made and kept there, int8.xml only by part '
                        'int8: without it the ladder has no row of it')
    options = parser.parse_args(arguments)
    try:
        content = read_content('models') if options.only else {'figures': {}, 'reports': {}}
        figures, reports, kept = Figures(), content['reports'], content['figures']
        with tempfile.TemporaryDirectory() as folder:
            parts = options.only or PARTS
            inputs = make_inputs(options.models or Path(folder), 'int8' in parts)
            for part in parts:
                if part == 'ladder':
                    reports['ladder'] = _ladder(inputs, Path(folder))
                else:
                    figures |= _rounded(_measure(part, inputs, Path(folder)))
                path = write_figures('models', COMMAND, figures, reports, kept)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'wrote {path} and {write_page(read_content("models"))}')
    requote_pages()
    return 0


def _measure(part: str, inputs: Inputs, folder: Path) -> Figures:
    if part == 'int8':
        return _int8(inputs, folder)
    if part == 'run':
        return {'run_throughput_ratio': _throughput_ratio(inputs.fp16, folder)}
    return _random_weights(inputs.fp16, folder)


def _rounded(figures: Figures) -> Figures:
    for name, value in figures.items():
        print(f'{name:32} {value:.4g}')
    return rounded(figures)


def _ladder(inputs: Inputs, folder: Path) -> dict[str, Any]:
    """Draw the chart and return the report of ``depth_anything_benchmark ladder``."""
    from depth_anything_ros.benchmark.ladder import LadderOptions, measure_ladder
    models = {'vits': inputs.fp16, 'vits_int8': inputs.int8}
    models = {name: model for name, model in models.items() if model.is_file()}
    for name, model in models.items():
        for suffix in ('.xml', '.bin'):
            (folder / f'{name}{suffix}').symlink_to(model.with_suffix(suffix).absolute())
    named = [folder / f'{name}.xml' for name in models]
    report = measure_ladder(LadderOptions(
        (shipped_model(), *named), inputs.photos, inputs.rgbd, _LADDER_SIZES, teacher=named[0],
        sequence=write_sequence(folder / 'sequence', _FRAMES)), print)
    if report.failed:
        raise DepthAnythingError(report.failed[0])
    assert report.draw is not None
    report.draw(CHART)
    shrink_picture(CHART)
    found = as_dict(report)
    del found['figures']
    return found


def _int8(inputs: Inputs, folder: Path) -> Figures:
    """Compare the INT8 model with bf16 and with NNCF's preset."""
    from depth_anything_ros.convert.quantize.gate import Loss
    from depth_anything_ros.convert.quantize.images import (
        inputs_of_one_size, inputs_of_own_size, read_pictures)
    from depth_anything_ros.convert.quantize.measure import make_samples, measure, speedup
    from depth_anything_ros.inference.ir import read_model
    import openvino

    calibration, gate = write_int8_lists(folder)
    core = openvino.Core()
    network, info = read_model(core, inputs.int8)
    if info.quantization is None:
        raise DepthAnythingError(f'{inputs.int8} is not INT8; remove it')
    floating, _ = read_model(core, inputs.fp16)
    pictures = read_pictures(str(gate), None, len(gate_images()), print)
    samples = make_samples(floating, inputs_of_own_size(pictures, info, _CALIBRATION_SIZE))
    losses = {name: Loss.of(measure(one, samples, info))
              for name, one in (('int8', network), ('bf16', floating),
                                ('preset', _preset(floating, str(calibration), info)))}
    image = inputs_of_one_size(pictures, info, _CALIBRATION_SIZE)[0]
    figures = {'int8_speedup_vs_bf16': speedup(network, floating, image, rounds=25),
               'int8_layers_in_float': float(len(info.quantization.kept_float))}
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
            open_output(task, options, engine.info, lambda: True) as output:
        for number in range(1, _ROUNDS + 1):
            before = bare.rate(_PHASE_S)
            rate = run_images(engine, task.items, output.write, writers=output.writers).rate
            ratios.append(rate / statistics.mean((before, bare.rate(_PHASE_S))))
            print(f'round {number}: {rate:.2f} images/s, ratio {ratios[-1]:.3f}', flush=True)
    return statistics.median(ratios)


def row_name(encoder: str, precision: str, size: int) -> str:
    """Return the prefix of the figures of one row of the table."""
    return f'{encoder}_{precision}_{size}'


def render(content: Mapping[str, Any]) -> str:
    """Return the page for the content of models.json: command, machine, figures, reports."""
    figures, report = content['figures'], content['reports']['ladder']
    table, = report['tables']
    larger = [_larger(figures, encoder, size) for encoder in ('vitb', 'vitl') for size in SIZES]
    return '\n'.join((
        _HEAD.format(**content) + '\n'.join(markdown_table(table['columns'], table['rows'])), '',
        table['note'], '',
        f'![{", ".join(_compared(table))} over the time of an image](images/{CHART.name})', '',
        *(f'- {name}: {value}' for name, value in report['settings'].items()
          if name != 'machine'),
        _OWN + '\n'.join(markdown_table(('encoder', 'weights', 'input size', 'MiB', 'speed'),
                                        larger)),
        _INT8.format(**figures)))


def _compared(table: Mapping[str, Any]) -> list[str]:
    return [name for name in ('rank', 'AbsRel', 'flicker') if name in table['columns']]


def write_page(content: Mapping[str, Any]) -> Path:
    """Write docs/models.md and return its path."""
    PAGE.write_text(render(content), encoding='utf-8')
    return PAGE


def _larger(figures: Mapping[str, float], encoder: str, size: int) -> list[str]:
    name = row_name(encoder, 'fp16', size)
    return [encoder, 'fp16', str(size), f'{figures[f"{name}_mib"]:.0f}',
            f'{figures[f"{name}_speed"]:.2f}']


if __name__ == '__main__':
    sys.exit(main())
