"""Writes docs/performance.md from docs/figures/performance.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from depth_anything_ros.benchmark.report import to_markdown
from depth_anything_ros.cli.reports import markdown_table
from tools.measure.figures import ROOT

PAGE = ROOT / 'docs' / 'performance.md'
MODES = ('peers', 'node', 'box', 'box_profile', 'box_load', 'jpeg', 'demo', 'limit')


@dataclass(frozen=True)
class Target:
    """The meaning of a figure and its target; ``limit`` None: no target."""

    figure: str
    meaning: str
    sense: Literal['≥', '≤', '<'] = '≥'
    limit: float | None = None

    def is_met(self, value: float) -> bool:
        """Return whether a value meets the target."""
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
    Target('box_node_ratio_depth', 'messages of depth a second of the saturated node with the '
           'model of the package at 640×480, depth and camera_info subscribed ÷ calls of the bare '
           'model', '≥', 0.9),
    Target('box_node_ratio_all', 'the same with colours and cloud subscribed too', '≥', 0.8),
    Target('box_profile_node_ratio_depth', 'both with the profiles of config/fastdds.xml: depth',
           '≥', 0.9),
    Target('box_profile_node_ratio_all', 'all', '≥', 0.8),
    Target('box_host_ms_per_frame', 'milliseconds of CPU time beside the inference: depth', '≤',
           3.5),
    Target('box_host_ms_per_frame_all', 'all', '≤', 7.0),
    Target('box_floor_ms_per_frame', 'the same of a node that only receives the image and '
           'publishes a message of that size with rclpy, at 30 Hz: depth'),
    Target('box_floor_ms_per_frame_all', 'all'),
    Target('box_age_p50_ratio', 'age of the depth at its arrival, from the stamp, at 30 Hz ÷ one '
           'inference of the model of the package: median', '≤', 1.6),
    Target('box_age_p95_ratio', '95th percentile', '≤', 2.2),
    Target('box_profile_age_p50_ratio', 'both with the profiles of config/fastdds.xml: median',
           '≤', 1.6),
    Target('box_profile_age_p95_ratio', '95th percentile', '≤', 2.2),
    Target('jpeg_node_ratio', 'messages of depth a second ÷ calls of the bare model for that '
           'size, from a camera that sends 1280×720 as JPEG ÷ the same from one that sends '
           '640×480 raw', '≥', 0.9),
    Target('jpeg_rate_ratio', 'messages of depth a second from the first ÷ from the second, whose '
           'network is smaller'),
    Target('demo_hz', 'messages of depth a second of `make demo`, whose camera sends 30, without '
           'bf16', '≥', 22.0),
    Target('demo_bare_ratio', 'the same ÷ calls of the bare model, or ÷ 30 if those are more',
           '≥', 0.8),
    Target('vs_pytorch_bf16', 'images a second of the engine in bf16 ÷ PyTorch, eager', '≥', 2.8),
    Target('vs_pytorch_int8', 'the same with the INT8 model, which passed its gate', '≥', 4.0),
    Target('vs_pytorch_vnni', 'the same without bf16, as on a CPU with VNNI that lacks it ÷ '
           'PyTorch, eager, in f32', '≥', 4.0),
    Target('vs_onnxruntime_vnni', 'the same ÷ ONNX Runtime in f32', '≥', 3.0),
    Target('vs_onnxruntime_int8_vnni', 'the same ÷ ONNX Runtime with its own INT8'),
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
[figures/performance.json](figures/performance.json). Each section names its machine.
One layer of the Depth-Anything-V2-Small checkpoint was refit, which does not change the speed.

## Method

Speeds are measured side by side in one run and never compared with figures from elsewhere. The
candidates have the same weights, network size and images, are warmed up before the measurement,
and alternate, round by round, so that all see the same load of the machine. Each figure is the
median of the rounds, with the lowest and the highest beside it. Ratios are computed round by
round. Each section states its settings.

To measure your own machine, which should be idle otherwise:

```
pip install 'path/to/depth_anything_ros[tools,convert]' transformers
depth_anything_benchmark node FP16.xml --images FOLDER
cd path/to/depth_anything_ros
python -m tools.peers         CHECKPOINT.pth FP16.xml INT8.xml --images FOLDER
python -m tools.limit         FP16.xml
```

[models.md](models.md#a-row-for-your-own-model) compares models, input sizes and precisions.

`node` needs ROS 2; `tools` is not installed and runs from the checkout. `--json FILE`,
`--markdown FILE` and `--picture FILE.png` write the report to files. More `--rounds` give more
reliable figures. `--help` lists all options.

## Targets

"""

# Results of experiments that left no trace in the code.
WHAT_WAS_TRIED = """## What limits the figures

- **Rate and age of the node.** Camera, DDS and subscriber run on the same two cores as the
  inference, which uses both fully, so their CPU time is lost to it. About a third of the work
  beside the inference is resizing, serialising and publishing the depth; reading and resizing the
  image is a fifth, the threads of DDS another fifth, and the rest is receiving, thread wake-ups
  and diagnostics. Each step takes two to three times as long as in a loop of its own, because the
  network replaces the content of the caches.
- **Age** includes the time that the newest image waits for the current inference to end, on
  average half a camera period.
- **The model of the package** needs so little time that camera, DDS and subscriber count: beside
  the saturated node they take nearly as much CPU time per image as its host work, and all of it is
  lost to an inference that uses both cores. `box_floor_ms_per_frame` is what is left when the
  node does nothing but receive and publish: Fast DDS copies messages of 1.2 MB of depth, 0.9 MB of
  colours and 1.2 MB of cloud twice, from memory that is no longer in the caches. So about half of
  the host work with all outputs is receiving and copying; `points_stride: 4` publishes a quarter
  of the cloud, `output_size: native` less of all outputs.
- **Beside busy loops** the age is a matter of the scheduler: camera and subscriber wait for a core
  as the node does, so a higher priority of the node alone gains a fifth.
- **bf16 is not always faster.** With AVX-512 alone, without AMX, some processors compute longer in
  bf16 than in f32, others half as long. `precision: auto` and trainings use the faster one, which
  a small product decides at the start of each program.
- **Noise.** On a shared machine single rounds differ by several percent; the medians of two runs
  of the same code differed by up to four percent.

## What was tried

These changes were measured side by side with the code. But for those that say so, they brought no
gain and are not in it.

- **Attention** is fused by OpenVINO's CPU plugin and is the main reason why the model stays below
  the peak: its heads are 64 wide, and the softmax between the two products is not a product. As
  one SDPA operation, with three projections instead of one, or without the maximum that softmax
  subtracts, it takes the same time within the noise.
- **Folding constants**: mean and standard deviation into the patch convolution, that convolution
  as a product, the scale of attention, LayerScale and the affine part of the norms into the
  neighbouring weights. Together they gain about one percent and increase the error in bf16,
  because the folded weights are rounded.
- **The last convolutions of the head before the last upsampling** instead of after it: a few
  percent faster, with more than twice the loss of bf16. A smaller `input_size` gives more speed
  and loses less accuracy on measured depth.
- **Resizing in the head** as separable passes or as products with two matrices: equal or slower.
- **Huge pages** for OpenVINO's buffers (glibc.malloc.hugetlb): no difference.
- **Self-check and warm-up at the same time** at the start: both use all cores, no gain. A stored
  result of the self-check is what makes a start shorter.
- **Starting the next inference after the last result is published**, so that the two do not
  compete: no difference beyond the noise.
- **Upsampling in the graph**, as an f32 node that bf16 leaves alone: exact, and slower than on
  the host.
- **Publishing without rclpy's copies**, from memory that rcl reads: a little faster for a
  cloud, and other threads run meanwhile. This is in the code.
- **JPEG at half its size**, which libjpeg can decode directly: most of the time goes into the
  entropy coding, so it saves a quarter of the decoding (`jpeg_half_time_ratio`), and AbsRel
  rises a little (`jpeg_absrel_half`). **Linear or area interpolation** instead of cubic for the
  input: less accurate too (`jpeg_absrel_raw_linear`, `jpeg_absrel_raw_area`).
- **A CPU with AVX2 only**, by `ONEDNN_MAX_CPU_ISA=AVX2`: OpenVINO's plugin still sees AVX-512
  and bf16 and cannot compile the network, so this machine cannot stand for one. Without bf16 it
  can: `precision: f32` uses none.
- **Resizing the depth in stripes** that fit into the cache: slightly faster alone, not in the
  node, where the network replaces the content of the caches.
"""


def render(content: Mapping[str, Any]) -> str:
    """Return the page for the content of performance.json: command, machine, figures, reports."""
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
