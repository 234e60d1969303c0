"""The page docs/models.md, made of docs/figures/models.json."""

from collections.abc import Mapping
from pathlib import Path

from depth_anything_ros.tools.figures import ROOT

PAGE = ROOT / 'docs' / 'models.md'
PRECISIONS = {'fp32': 'f32', 'fp16': 'bf16', 'int8': 'INT8 and bf16'}
SIZES = (518, 392, 252)

_HEAD = """# Models: size, accuracy, speed

Written by `python -m depth_anything_ros.tools.measure_models` from
[figures/models.json](figures/models.json), which names the machine. Depth-Anything-V2-Small has
one refit layer here, so its figures are near those of the published weights and not theirs.

- **input size** is the short side of the network's input; speed is for 4:3 images, relative to
  vits in bf16 at 518, and holds for processors with bf16 and VNNI instructions.
- **lost to f32** compares with the depth of the fp32 file in f32 at the same size: mean AbsRel
  after alignment over 15 photographs, none of which was used for calibration.
- **AbsRel** and **δ1** are against the measured depth of five indoor RGB-D images (protocol of
  MiDaS, 10 m).

| encoder | weights | runs in | input size | MiB | lost to f32 | AbsRel | δ1 | speed |
|---|---|---|---|---|---|---|---|---|
"""
_INT8 = """
## INT8

Measured on the same 15 photographs at input size 392, against the f32 depth of the model:

| | AbsRel mean | AbsRel worst | Pearson worst |
|---|---|---|---|
| bf16, nothing quantized | {bf16_absrel_mean:.4f} | {bf16_absrel_max:.4f} \
| {bf16_pearson_min:.4f} |
| NNCF's transformer preset as it is | {preset_absrel_mean:.4f} | {preset_absrel_max:.4f} \
| {preset_pearson_min:.4f} |
| `depth_anything_convert quantize`, {int8_layers_in_float:.0f} layers in float \
| {int8_absrel_mean:.4f} | {int8_absrel_max:.4f} | {int8_pearson_min:.4f} |
| its gate | 0.012 | 0.03 | 0.995 |

The file is {int8_speedup_vs_bf16:.2f} times as fast as the fp16 model, which runs in bf16. How it
is made: [converting.md](converting.md#int8).

## Parity

| what | largest difference, in standard deviations of the output |
|---|---|
| fp32 IR from PyTorch | {vits_fp32_parity:.1e} |
| fp16 IR from PyTorch, both in f32 | {vits_fp16_parity:.1e} |
| this package's network from `transformers`, random weights, 518×518: vits | \
{vits_transformers_parity:.1e} |
| vitb | {vitb_transformers_parity:.1e} |
| vitl | {vitl_transformers_parity:.1e} |

`depth_anything_run` on a folder of 640×480 JPEG files, PNG pictures out, reaches \
{run_throughput_ratio:.2f} of the
rate of bare inference calls.
"""


def row_name(encoder: str, precision: str, size: int) -> str:
    """Return how the figures of one row of the table begin."""
    return f'{encoder}_{precision}_{size}'


def render(figures: Mapping[str, float]) -> str:
    """Return the page; rows without accuracy are of random weights."""
    rows = [_row(figures, 'vits', precision, size) for precision in PRECISIONS for size in SIZES]
    rows += [_row(figures, encoder, 'fp16', size) for encoder in ('vitb', 'vitl')
             for size in SIZES]
    note = ('\nThe rows of vitb and vitl are of random weights, whose depth means nothing; their '
            'files and speed are\nthose of real ones.\n')
    return _HEAD + '\n'.join(rows) + '\n' + note + _INT8.format(**figures)


def write_page(figures: Mapping[str, float]) -> Path:
    """Write docs/models.md and return its path."""
    PAGE.write_text(render(figures), encoding='utf-8')
    return PAGE


def _row(figures: Mapping[str, float], encoder: str, precision: str, size: int) -> str:
    name = row_name(encoder, precision, size)
    accuracy = [f'{figures[key]:.{digits}f}' if (key := f'{name}_{what}') in figures else ''
                for what, digits in (('agreement', 4), ('absrel', 3), ('delta1', 3))]
    cells = [encoder, precision, PRECISIONS[precision], str(size),
             f'{figures[f"{name}_mib"]:.0f}', *accuracy, f'{figures[f"{name}_speed"]:.2f}']
    return f'| {" | ".join(cells)} |'
