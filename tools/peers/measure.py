"""
Mode ``peers``: the same weights, network size and images in what a user could pick instead.

Every peer has a process of its own; only one computes at a time.
"""

from collections.abc import Sequence
from contextlib import closing, ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
import os
from pathlib import Path
import tempfile

from depth_anything_ros.arrays import U8
from depth_anything_ros.benchmark.results import interleaved, Report, Say
from depth_anything_ros.errors import (
    CheckpointError, ImageError, InferenceError, MissingDependencyError, SettingsError)
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.self_check import card_image
from depth_anything_ros.vision.transforms import crop_to_aspect, resize_for_network
import numpy as np
from tools.peers.choice import choose_peers, OTHERS, OWN_F32, Peer, read_infos, settle_sizes, Sizes
from tools.peers.engines import FILES
from tools.peers.process import LOAD_LIMIT_S, PeerProcess, RunningPeer
from tools.peers.report import Measured, peers_report

_IMAGES = 4
_CARD_HW = (480, 640)


@dataclass(frozen=True)
class PeersOptions:
    """
    What to compare.

    ``models`` are IRs made of ``checkpoint``, at most one with int8 and one with floating point
    weights; without any, one is converted. ``images`` is a folder, of which the first four are
    taken, None the test card. ``input_size`` 0 takes that of the first model. Each of ``rounds``
    gives every peer ``seconds`` for throughput and again for latency. ``peers`` are names; without
    any, all run that can.
    """

    checkpoint: Path
    models: tuple[Path, ...] = ()
    images: Path | None = None
    input_size: int = 0
    rounds: int = 5
    seconds: float = 4.0
    peers: tuple[str, ...] = ()


def measure_peers(options: PeersOptions, say: Say) -> Report:
    """
    Measure speed, memory and parity of all peers side by side.

    A peer that fails has a row that says so. Errors of this package say what is wrong with the
    options; InferenceError if every peer failed.
    """
    _check(options)
    images, load = read_images(options.images), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix='depth_anything_peers_') as name:
        folder = Path(name)
        models = options.models or (_convert(options.checkpoint, folder, say),)
        infos = read_infos(models)
        sizes = settle_sizes(infos[0], options.input_size, (images.shape[1], images.shape[2]))
        peers = choose_peers(models, infos, folder, options.peers)
        np.save(folder / 'images.npy', images)
        why_not = _make_files(options.checkpoint, infos[0], folder, sizes, peers, say)
        with ExitStack() as stack:
            running: dict[str, RunningPeer] = {}
            for peer in peers:
                one = stack.enter_context(closing(RunningPeer(peer, folder)))
                _load(one, sizes, folder, why_not, say)
                if not _runs_already(one, running):
                    running[peer.name] = one
            measured = _measure(running, options, say)
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
        'rounds': f'{options.rounds} in turn, each {options.seconds:g} s for throughput and '
                  f'{options.seconds:g} s for latency'})


def read_images(folder: Path | None) -> U8:
    """
    Return images as 8-bit BGR [N, H, W, 3]: the first four of a folder, or the test card.

    Those of another size are cropped and resized to that of the first. ImageError names one that
    cannot be read.
    """
    if folder is None:
        return card_image(_CARD_HW)[None]
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


def _convert(checkpoint: Path, folder: Path, say: Say) -> Path:
    try:
        from depth_anything_ros.convert.conversion import convert, Job
    except ImportError as error:
        raise MissingDependencyError(error.name or 'torch', 'making a model',
                                     "pip install 'depth_anything_ros[convert]'") from error
    return convert(Job(checkpoint, folder / 'converted.xml'), report=say).path


def _make_files(checkpoint: Path, info: ModelInfo, folder: Path, sizes: Sizes,
                peers: Sequence[Peer], say: Say) -> str:
    """Write what the peers of other software start from; return why one is missing, if so."""
    wanted = [FILES.index(OTHERS[peer.name]) for peer in peers if peer.name in OTHERS]
    if not wanted:
        return ''
    last = FILES[max(wanted)]
    say(f'making {", ".join(FILES[:max(wanted) + 1])} from {checkpoint}')
    with closing(PeerProcess(folder / 'files.log')) as process:
        answer = process.ask(LOAD_LIMIT_S, 'make', checkpoint=str(checkpoint),
                             info=info.to_strings(), folder=str(folder),
                             network_hw=sizes.network_hw, last=last)
    return str(answer.get('error', ''))


def _load(one: RunningPeer, sizes: Sizes, folder: Path, why_not: str, say: Say) -> None:
    if one.peer.name in OTHERS and why_not and not one.peer.file.exists():
        one.fail(f'its file could not be made ({why_not})')
    else:
        one.load(sizes, folder / 'images.npy')
    say(f'{one.peer.name}: {one.failure or f"ready, executes {one.precision}"}')


def _runs_already(one: RunningPeer, running: dict[str, RunningPeer]) -> bool:
    """Return whether the same model executes in f32 anyway, on a CPU without bf16."""
    if one.peer.name != OWN_F32 or one.failure:
        return False
    return any(other.peer.file == one.peer.file and other.precision == one.precision
               for other in running.values())


def _measure(running: dict[str, RunningPeer], options: PeersOptions, say: Say) -> list[Measured]:
    rates = interleaved({name: partial(one.turn, options.seconds)
                         for name, one in running.items()}, options.rounds, say)
    # Facts first: what depth takes is no peer's own memory.
    facts = {name: one.facts() for name, one in running.items()}
    depths = {name: one.depth() for name, one in running.items()}
    return [Measured(name, one.precision, rates[name], one.latencies_ms, facts[name],
                     depths[name], one.failure) for name, one in running.items()]
