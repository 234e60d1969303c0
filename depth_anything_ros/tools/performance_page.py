"""The page docs/performance.md, made of docs/figures/performance.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from depth_anything_ros.tools.benchmarking.report import to_markdown
from depth_anything_ros.tools.figures import ROOT
from depth_anything_ros.tools.markdown import markdown_table

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
    Target('age_p50_ratio', 'median time from the receipt of an image to the publication of its '
           'depth, fed at 30 Hz ÷ one inference', '≤', 1.15),
    Target('age_p95_ratio', 'the same, 95th percentile', '≤', 1.4),
    Target('host_ms_per_frame', 'milliseconds of CPU time beside the inference of a 640×480 '
           'image: decoding, resizing, publishing depth and camera_info', '≤', 4.0),
    Target('vs_pytorch_bf16', 'images a second of the engine in bf16 ÷ PyTorch, eager', '≥', 2.8),
    Target('vs_pytorch_int8', 'the same with the INT8 model, which passed its gate', '≥', 4.0),
    Target('vs_onnxruntime_bf16', 'images a second of the engine in bf16 ÷ ONNX Runtime',
           '≥', 2.8),
    Target('vs_plain_openvino', 'images a second of the engine in bf16 ÷ OpenVINO called in a '
           'plain loop on an IR that `ovc` made of a naive export', '≥', 1.3),
    Target('activation_ratio', 'time from activation to the first depth with a warm cache ÷ (one '
           'inference + 0.5 s)', '≤', 1.5),
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
depth_anything_benchmark peers  CHECKPOINT.pth FP16.xml INT8.xml --images FOLDER
depth_anything_benchmark node   FP16.xml --images FOLDER
depth_anything_benchmark ladder FP16.xml INT8.xml --images FOLDER --rgbd FOLDER
depth_anything_benchmark limit  FP16.xml
```

`node` needs ROS 2. `--json FILE`, `--markdown FILE` and `--picture FILE.png` write the report to
files, `--rounds` trades time for certainty, `--help` says the rest.

## Targets

"""

# What was learnt on the way and left no trace in the code.
WHAT_WAS_TRIED = """## What was tried

- OpenVINO's CPU plugin fuses attention. It reaches about half of the matmul peak, because the
  heads are 64 wide and the softmax between its matmuls is no matmul.
- Transparent huge pages, SDPA kept as an operation of its own, and resizing as separable passes or
  as matmuls brought no gain that could be measured.
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
