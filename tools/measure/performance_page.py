"""The page docs/performance.md, made of docs/figures/performance.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from depth_anything_ros.benchmark.report import to_markdown
from depth_anything_ros.cli.reports import markdown_table
from tools.measure.figures import ROOT

PAGE = ROOT / 'docs' / 'performance.md'
MODES = ('peers', 'node', 'ladder', 'limit')


@dataclass(frozen=True)
class Target:
    """What a figure means and what it should be; ``limit`` None: it is shown only."""

    figure: str
    meaning: str
    sense: Literal['≥', '≤', '<'] = '≥'
    limit: float | None = None

    def is_met(self, value: float) -> bool:
        """Return whether the figure is what it should be."""
        if self.limit is None:
            return True
        return {'≥': value >= self.limit, '≤': value <= self.limit,
                '<': value < self.limit}[self.sense]


TARGETS = (
    Target('node_ratio_depth', 'messages of depth that the saturated node publishes a second at '
           '640×480, only depth and camera_info subscribed ÷ calls of the bare model', '≥', 0.98),
    Target('node_ratio_all', 'the same with colours and cloud subscribed too', '≥', 0.93),
    Target('age_p50_ratio', 'median time from the receipt of an image to the end of the '
           'publication of its depth, fed at 30 Hz ÷ one inference', '≤', 1.15),
    Target('age_p95_ratio', 'the same, 95th percentile', '≤', 1.4),
    Target('host_ms_per_frame', 'milliseconds of CPU time that the saturated node takes for a '
           '640×480 image beside the inference, with depth and camera_info subscribed: receiving '
           'and sending with all threads of DDS, decoding, resizing', '≤', 4.0),
    Target('vs_pytorch_bf16', 'images a second of the engine in bf16 ÷ PyTorch, eager', '≥', 2.8),
    Target('vs_pytorch_int8', 'the same with the INT8 model, which passed its gate', '≥', 4.0),
    Target('vs_onnxruntime_bf16', 'images a second of the engine in bf16 ÷ ONNX Runtime',
           '≥', 2.8),
    Target('vs_plain_openvino', 'images a second of the engine in bf16 ÷ OpenVINO called in a '
           'plain loop on an IR that `ovc` made of a naive export', '≥', 1.3),
    Target('activation_ratio', 'time from the request to configure, with a warm cache, through '
           'activate to the arrival of the first depth ÷ (one inference + 0.5 s)', '≤', 1.5),
    Target('rss_growth_mib_2000', 'MiB that the node gains over 2,000 images', '<', 2.0),
    Target('peak_fraction', 'arithmetic that the network does a second ÷ what the largest matmuls '
           'reach here in the same precision'),
)

_HEAD = """# Performance

Written by `{command}` from
[figures/performance.json](figures/performance.json). Machine: {machine}.
Depth-Anything-V2-Small has one refit layer here, which changes no speed.

## Method

Speed is compared side by side and never with figures from elsewhere: what is compared has the same
weights, network size and images, is warmed up before anything counts, and takes turns within one
run, round by round, so that all share the moods of the machine. A figure is the median of the
rounds; the lowest and the highest stand beside it. Ratios are formed round by round. Each section
states its settings.

To measure your own machine, which should do nothing else meanwhile:

```
pip install 'path/to/depth_anything_ros[tools,convert]' transformers
python -m tools.peers           CHECKPOINT.pth FP16.xml INT8.xml --images FOLDER
depth_anything_benchmark node   FP16.xml --images FOLDER
depth_anything_benchmark ladder FP16.xml INT8.xml --images FOLDER --rgbd FOLDER
python -m tools.limit           FP16.xml
```

`node` needs ROS 2. `--json FILE`, `--markdown FILE` and `--picture FILE.png` write the report to
files, `--rounds` trades time for certainty, `--help` says the rest.

## Targets

"""

# What was learnt on the way and left no trace in the code.
WHAT_WAS_TRIED = """## What stands in the way

- **The node's rate and age.** Camera, DDS and subscriber share the two cores with the inference,
  which wants both all the time: what any of them takes, the inference lacks. Of the host work
  about a third is resizing, serialising and publishing the depth, a fifth each reading and
  resizing the image and the threads of DDS, the rest receiving, waking and diagnostics. Each
  step costs two to three times what it costs in a loop of its own, because the network has
  emptied the caches before it.
- **Age** also holds the wait of the newest image for the inference before it, on average half a
  period of the camera.
- **Noise.** On a shared machine single rounds differ by several percent either way; the medians
  of two runs on the same code were up to four percent apart.

## What was tried

What a measurement kept is in the code; this is what it did not keep, so that nobody tries it again
without a new idea. Each was measured side by side with what is there.

- **Attention** is fused by OpenVINO's CPU plugin and is what holds the model below the peak: heads
  are 64 wide, and the softmax between the two products is no product. Kept as one SDPA operation,
  written as three projections instead of one, or without the maximum that softmax subtracts, it
  takes the same time within the noise.
- **Folding constants**: mean and standard deviation into the patch convolution, that convolution
  as a product, the scale of attention, LayerScale and the affine part of the norms into the
  weights next to them. Together a gain of about one percent, and a larger error in bf16, because
  the folded weights are rounded. Not taken.
- **The head's last convolutions before the last upsampling** instead of behind it: a gain of some
  percent for more than twice the loss that bf16 costs. A smaller `input_size` gives more speed and
  loses less against measured depth, so that is the lever to use.
- **Resizing inside the head** as separable passes or as products with two matrices: equal or
  slower.
- **Huge pages** for OpenVINO's buffers (glibc.malloc.hugetlb): no difference.
- **Self-check and warm-up side by side** at the start: both keep all cores busy, no gain. What
  shortens a start is to remember that the check has passed.
- **Waiting with the next inference until the last result is published**, so that the two do not
  compete: no difference beyond the noise.
- **The resize of the depth in stripes** that stay in the cache: a little faster alone, not in the
  node, where the network has emptied the caches before.
"""


def render(content: Mapping[str, Any]) -> str:
    """Return the page of what performance.json holds: command, machine, figures, reports."""
    reports = content['reports']
    return '\n'.join([_HEAD.format(**content) + _targets(content['figures']),
                      *(_section(reports[mode]) for mode in MODES if mode in reports),
                      WHAT_WAS_TRIED])


def write_page(content: Mapping[str, Any]) -> Path:
    """Write docs/performance.md and return its path."""
    PAGE.write_text(render(content), encoding='utf-8')
    return PAGE


def _targets(figures: Mapping[str, float]) -> str:
    rows = [_row(target, figures.get(target.figure)) for target in TARGETS]
    return '\n'.join(markdown_table(['figure', 'target', 'measured', ''], rows)) + '\n'


def _row(target: Target, value: float | None) -> list[str]:
    what = f'`{target.figure}`: {target.meaning}'
    wanted = '' if target.limit is None else f'{target.sense} {target.limit:g}'
    if value is None:
        return [what, wanted, 'not measured', '']
    verdict = '' if target.limit is None else 'met' if target.is_met(value) else 'missed'
    return [what, wanted, f'{value:.4g}', verdict]


def _section(report: Mapping[str, Any]) -> str:
    picture = report.get('picture')
    drawn = f'\n![{report["mode"]}: the figures above](images/{picture})\n' if picture else ''
    return to_markdown(report) + drawn
