"""How much faster the small model is than ViT-S, in turn on one machine."""

from functools import partial
from pathlib import Path

from depth_anything_ros.errors import ModelError
from depth_anything_ros.tools.bare_model import BareModel
from depth_anything_ros.tools.benchmarking.results import interleaved, ratio, Say, Spread

# Multiples of 14, which ViT-S takes, and of 32.
COMMON_SIZES = {'speed_vs_vits_bf16': 448, 'speed_vs_vits_bf16_224': 224}
CAMERA_HW = (480, 640)
_ROUNDS, _PHASE_S = 7, 2.0


def speed_figures(model: Path, vits: Path, say: Say, rounds: int = _ROUNDS,
                  phase_s: float = _PHASE_S) -> dict[str, float]:
    """
    Return inferences per second over those of ViT-S in bf16; the median, lowest, highest round.

    Both run at network sizes that they have in common, and at 640x480 each at its own input size.
    ModelError if the networks do not take one size.
    """
    figures: dict[str, float] = {}
    for name, size in COMMON_SIZES.items():
        say(f'both at {size}x{size}')
        figures |= _named(name, _ratio(_pair(model, vits, size), rounds, phase_s, say))
    say(f'each at its own input size for {CAMERA_HW[1]}x{CAMERA_HW[0]}')
    return figures | _named('speed_own_size', _ratio(_pair(model, vits, 0), rounds, phase_s, say))


def _pair(model: Path, vits: Path, size: int) -> tuple[BareModel, BareModel]:
    image_hw = (size, size) if size else CAMERA_HW
    one, other = BareModel(model, size, 'auto', image_hw), BareModel(vits, size, 'bf16', image_hw)
    if size and one.network_hw != other.network_hw:
        raise ModelError(model, f'it or {vits} does not run at {size}x{size}',
                         'measure models whose size is free')
    return one, other


def _ratio(pair: tuple[BareModel, BareModel], rounds: int, phase_s: float, say: Say) -> Spread:
    runs = {name: partial(one.rate, phase_s) for name, one in zip(('nano', 'vits'), pair)}
    found = interleaved(runs, rounds, say)
    return ratio(found['nano'], found['vits'])


def _named(name: str, spread: Spread) -> dict[str, float]:
    return {name: spread.median, f'{name}_low': spread.low, f'{name}_high': spread.high}
