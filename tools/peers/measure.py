"""
Compare peers: the same weights, network size and images in different software, and the report.

Every peer has a process of its own; only one computes at a time.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing, ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
import os
from pathlib import Path
import tempfile
from typing import Any

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.benchmark.machine import describe_machine
from depth_anything_ros.benchmark.report import (
    interleaved, Log, new_figure, ratio, Report, Spread, Table)
from depth_anything_ros.errors import (
    CheckpointError, ImageError, InferenceError, MissingDependencyError, SettingsError)
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.vision.agreement import agreement
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.self_check import self_check_image
from depth_anything_ros.vision.transforms import crop_to_aspect, resize_for_network
import numpy as np
from tools.peers.engines import (
    choose_peers, FILES, OTHERS, OWN, OWN_BF16, OWN_F32, OWN_INT8, OWN_INT8_F32, Peer, read_infos,
    REFERENCE, resolve_sizes, Sizes)
from tools.peers.process import LOAD_LIMIT_S, PeerProcess, PeerUsage, RunningPeer

_IMAGES = 4
_CARD_HW = (480, 640)
_RATIOS = {
    'vs_pytorch_bf16': (OWN_BF16, REFERENCE),
    'vs_pytorch_int8': (OWN_INT8, REFERENCE),
    'vs_pytorch_bf16_in_bf16': (OWN_BF16, 'pytorch_bf16'),
    'vs_pytorch_compile': (OWN_BF16, 'pytorch_compile'),
    'vs_onnxruntime_bf16': (OWN_BF16, 'onnxruntime'),
    'vs_plain_openvino': (OWN_BF16, 'openvino_plain'),
    'vs_pytorch_vnni': (OWN_INT8_F32, REFERENCE),
    'vs_onnxruntime_vnni': (OWN_INT8_F32, 'onnxruntime'),
    'vs_onnxruntime_int8_vnni': (OWN_INT8_F32, 'onnxruntime_int8'),
}
# The peer without bf16, and what stands for it on a CPU that has none.
_WITHOUT_BF16 = {OWN_F32: OWN_BF16, OWN_INT8_F32: OWN_INT8}
_COLUMNS = ('peer', 'executes', 'threads', 'images/s', 'latency p50', 'latency p95', 'peak MiB',
            'above start', 'AbsRel', 'largest error')
_OWN_COLOR, _OTHER_COLOR = '#1f77b4', '#a0a0a0'


@dataclass(frozen=True)
class PeersOptions:
    """
    What to compare.

    ``models`` are IRs of ``checkpoint``, at most one in int8 and one in floating point; an empty
    tuple means one that is converted for the run. ``images`` is a folder, whose first four images
    are used, None the test card. ``input_size`` 0 is that of the first model. Each round measures
    every peer for ``seconds`` of throughput and ``seconds`` of latency. ``peers`` are names; an
    empty tuple means all that are installed.
    """

    checkpoint: Path
    models: tuple[Path, ...] = ()
    images: Path | None = None
    input_size: int = 0
    rounds: int = 5
    seconds: float = 4.0
    peers: tuple[str, ...] = ()


@dataclass(frozen=True)
class PeerMeasurement:
    """
    The measurements of one peer: images/s by round, latencies, usage and depth [N, H, W].

    ``failure`` is the reason why some are missing, empty if none is.
    """

    name: str
    precision: str
    rates: Sequence[float]
    latencies_ms: Sequence[float]
    usage: PeerUsage | None
    depth: F32 | None
    failure: str = ''

    @property
    def label(self) -> str:
        """Return the name for tables, with the precision that is executed."""
        return f'openvino_{self.precision}' if self.name == OWN_BF16 and self.precision else (
            self.name)


@dataclass(frozen=True)
class Parity:
    """Mean AbsRel to the reference after alignment; largest difference in std of the reference."""

    abs_rel: float
    max_error: float


def measure_peers(options: PeersOptions, log: Log) -> Report:
    """
    Return the report on speed, memory and parity of all peers.

    A peer that fails gets a row with the reason. Errors of this package for wrong options;
    InferenceError if every peer failed.
    """
    _check(options)
    images, load = read_images(options.images), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix='depth_anything_peers_') as name:
        folder = Path(name)
        models = options.models or (_convert(options.checkpoint, folder, log),)
        infos = read_infos(models)
        sizes = resolve_sizes(infos[0], options.input_size, (images.shape[1], images.shape[2]))
        peers = choose_peers(models, infos, folder, options.peers)
        np.save(folder / 'images.npy', images)
        files_error = _make_files(options.checkpoint, infos[0], folder, sizes, peers, log)
        with ExitStack() as stack:
            running: dict[str, RunningPeer] = {}
            for peer in peers:
                one = stack.enter_context(closing(RunningPeer(peer, folder)))
                _load(one, sizes, folder, files_error, log)
                if not _runs_already(one, running):
                    running[peer.name] = one
            measured = _measure(running, options, log)
    if all(one.failure for one in measured):
        raise InferenceError('no peer could be measured: ' + '; '.join(
            f'{one.name}: {one.failure}' for one in measured))
    return peers_report(measured, infos[0].kind == 'relative', {
        'checkpoint': options.checkpoint.name,
        'models': ', '.join(model.name for model in options.models) or 'converted from it',
        'images': f'{len(images)} of {images.shape[2]}x{images.shape[1]}, from '
                  f'{options.images or "the test card"}',
        'load before': f'{load:.1f}',
        'network size': f'{sizes.network_hw[1]}x{sizes.network_hw[0]}',
        'rounds': f'{options.rounds}, alternating, each {options.seconds:g} s for throughput and '
                  f'{options.seconds:g} s for latency'})


def read_images(folder: Path | None) -> U8:
    """
    Return images as 8-bit BGR [N, H, W, 3]: the first four of a folder, or the test card.

    Images of another size are cropped and resized to the size of the first. ImageError names one
    that cannot be read.
    """
    if folder is None:
        return self_check_image(_CARD_HW)[None]
    from depth_anything_ros.media.open_images import open_images

    found: list[U8] = []
    for item in islice(open_images(str(folder)), _IMAGES):
        try:
            image = to_bgr(item.read())
        except ImageError as error:
            raise ImageError(f'{item.name}: {error}') from error
        size_hw = found[0].shape[:2] if found else image.shape[:2]
        found.append(image if image.shape[:2] == size_hw else
                     resize_for_network(crop_to_aspect(image, size_hw), size_hw))
    return np.stack(found)


def _check(options: PeersOptions) -> None:
    if options.rounds < 1:
        raise SettingsError('rounds', options.rounds, 'at least 1')
    if not options.seconds > 0:
        raise SettingsError('seconds', options.seconds, 'more than 0')
    if options.input_size < 0:
        raise SettingsError('input_size', options.input_size, "0 for the model's own, or more")
    if not options.checkpoint.exists():
        raise CheckpointError(options.checkpoint, 'there is no such file or folder',
                              'give the checkpoint that the models were made from')


def _convert(checkpoint: Path, folder: Path, log: Log) -> Path:
    try:
        from depth_anything_ros.convert.conversion import convert, Job
    except ImportError as error:
        raise MissingDependencyError(error.name or 'torch', 'making a model',
                                     "pip install 'depth_anything_ros[convert]'") from error
    return convert(Job(checkpoint, folder / 'converted.xml'), report=log).path


def _make_files(checkpoint: Path, info: ModelInfo, folder: Path, sizes: Sizes,
                peers: Sequence[Peer], log: Log) -> str:
    """Write the files that other software starts from; return the error, empty if none."""
    wanted = [FILES.index(OTHERS[peer.name]) for peer in peers if peer.name in OTHERS]
    if not wanted:
        return ''
    last = FILES[max(wanted)]
    log(f'making {", ".join(FILES[:max(wanted) + 1])} from {checkpoint}')
    with closing(PeerProcess(folder / 'files.log')) as process:
        answer = process.ask(LOAD_LIMIT_S, 'make', checkpoint=str(checkpoint),
                             info=info.to_strings(), folder=str(folder),
                             network_hw=sizes.network_hw, last=last)
    return str(answer.get('error', ''))


def _load(one: RunningPeer, sizes: Sizes, folder: Path, files_error: str,
          log: Log) -> None:
    if one.peer.name in OTHERS and files_error and not one.peer.file.exists():
        one.fail(f'its file could not be made ({files_error})')
    else:
        one.load(sizes, folder / 'images.npy')
    log(f'{one.peer.name}: {one.failure or f"ready, executes {one.precision}"}')


def _runs_already(one: RunningPeer, running: dict[str, RunningPeer]) -> bool:
    """Return whether the same model is measured in f32 already, because the CPU has no bf16."""
    if one.peer.name not in _WITHOUT_BF16 or one.failure:
        return False
    return any(other.peer.file == one.peer.file and other.precision == one.precision
               for other in running.values())


def _measure(running: dict[str, RunningPeer], options: PeersOptions,
             log: Log) -> list[PeerMeasurement]:
    rates = interleaved({name: partial(one.turn, options.seconds)
                         for name, one in running.items()}, options.rounds, log)
    # Usage first: the arrays of depth() are not memory of the peer.
    usage = {name: one.usage() for name, one in running.items()}
    depths = {name: one.depth() for name, one in running.items()}
    return [PeerMeasurement(name, one.precision, rates[name], one.latencies_ms, usage[name],
                            depths[name], one.failure) for name, one in running.items()]


def peers_report(measured: Sequence[PeerMeasurement], relative: bool,
                 settings: Mapping[str, str]) -> Report:
    """Return the report; at least one peer must have been measured."""
    done = {one.name: one for one in measured if not one.failure}
    base = next(iter(done.values()))
    against = done.get(REFERENCE)
    parities = {name: parity(one.depth, against.depth, relative) for name, one in done.items()
                if against is not None and one.depth is not None and against.depth is not None}
    rows = tuple(_row(one, base, parities.get(one.name)) for one in measured)
    tables = [Table('Peers', _COLUMNS, rows, _note(base, against is not None))]
    failed = tuple((one.name, one.failure) for one in measured if one.failure)
    if failed:
        tables.append(Table('Not measured', ('peer', 'why'), failed))
    return Report('peers', {'machine': describe_machine(), 'software': _versions(), **settings,
                            'warm-up': 'two images after loading, one before each measurement',
                            'threads': 'the default of each library, see the table; not pinned'},
                  tuple(tables), _figures(done, parities), partial(draw, list(done.values())))


def parity(found: F32, expected: F32, relative: bool) -> Parity:
    """Compare the depth [N, H, W] of two peers on the same images."""
    pairs = list(zip(found, expected, strict=True))
    return Parity(
        float(np.mean([agreement(one, other, relative).abs_rel for one, other in pairs])),
        max(float(np.abs(one - other).max() / other.std()) for one, other in pairs))


def draw(measured: Sequence[PeerMeasurement], path: Path) -> None:
    """Write bars of images/s relative to the first peer, with the range of the rounds."""
    base = measured[0]
    speeds = [ratio(one.rates, base.rates) for one in measured]
    figure = new_figure(8, 5)
    axes = figure.add_subplot()
    axes.barh([f'{one.label}\n({one.precision})' for one in measured],
              [speed.median for speed in speeds],
              xerr=[[speed.median - speed.low for speed in speeds],
                    [speed.high - speed.median for speed in speeds]],
              color=[_OWN_COLOR if one.name in OWN else _OTHER_COLOR for one in measured],
              error_kw={'capsize': 3})
    for row, (one, speed) in enumerate(zip(measured, speeds)):
        axes.text(speed.high, row, _at_bar(one, speed), va='center')
    axes.set_xlim(0, 1.35 * max(speed.high for speed in speeds))
    axes.set_title('The same weights in this package (blue) and elsewhere')
    axes.set_xlabel(f'images per second, relative to {base.label}; at the bars: peak memory')
    axes.invert_yaxis()
    axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path)


def _at_bar(one: PeerMeasurement, speed: Spread) -> str:
    memory = f', {one.usage.peak_mib:.0f} MiB' if one.usage else ''
    return f'  {speed.median:.2f}{memory}'


def _row(one: PeerMeasurement, base: PeerMeasurement, found: Parity | None) -> tuple[str, ...]:
    if one.failure or one.usage is None:
        return (one.name, 'failed', *['-'] * (len(_COLUMNS) - 2))
    latencies = [f'{_percentile(one, share) / _percentile(base, share):.3g}'
                 for share in (50, 95)]
    compared = '-', '-'
    if found is not None:
        compared = f'{found.abs_rel:.4f}', f'{found.max_error:.3f}'
    return (one.label, one.precision, str(one.usage.threads), str(ratio(one.rates, base.rates)),
            *latencies, f'{one.usage.peak_mib:.0f}',
            f'{one.usage.peak_mib - one.usage.start_mib:.0f}', *compared)


def _percentile(one: PeerMeasurement, share: int) -> float:
    return float(np.percentile(one.latencies_ms, share))


def _note(base: PeerMeasurement, compared: bool) -> str:
    note = (f'Speed and latency are relative to {base.label}: median and range of the rounds, '
            'percentiles over all images. Memory is the peak of the resident memory, of the whole '
            'process and above its start.')
    if not compared:
        return note
    return (f'{note} AbsRel and largest error (in standard deviations) compare the depth with '
            f'{REFERENCE}. transformers interpolates the position embedding differently from the '
            'reference code, so peers that are made from its model agree more closely.')


def _figures(done: Mapping[str, PeerMeasurement],
             parities: Mapping[str, Parity]) -> dict[str, float]:
    figures: dict[str, float] = {}
    done = {**{name: done[same] for name, same in _WITHOUT_BF16.items()
               if same in done and 'bf16' not in done[same].precision}, **done}
    for name, (one, other) in _RATIOS.items():
        if one in done and other in done:
            spread = ratio(done[one].rates, done[other].rates)
            figures |= {name: spread.median, f'{name}_low': spread.low,
                        f'{name}_high': spread.high}
    for name, found in parities.items():
        if name != REFERENCE:
            figures |= {f'parity_{name}': found.abs_rel, f'parity_max_{name}': found.max_error}
    return figures | {f'memory_mib_{name}': one.usage.peak_mib for name, one in done.items()
                      if one.usage is not None}


def _versions() -> str:
    """Return the versions of the libraries without importing them."""
    found: dict[str, Any] = {}
    for name in ('torch', 'transformers', 'onnxruntime'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return ', '.join(f'{name} {number}' for name, number in found.items())
