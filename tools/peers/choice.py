"""Which peers run: this package's engine with each IR, and what a user could pick instead."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from depth_anything_ros.errors import ModelError, SettingsError
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.vision.transforms import network_size
from tools.peers.engines import HUB, IR, ONNX

# Kind of peer, and the file of ``peer_files`` that it starts from.
OTHERS = {'pytorch_eager': HUB, 'pytorch_bf16': HUB, 'pytorch_compile': HUB,
          'onnxruntime': ONNX, 'openvino_plain': IR}
OWN_BF16, OWN_F32, OWN_INT8 = 'openvino_bf16', 'openvino_f32', 'int8'
OWN = (OWN_BF16, OWN_F32, OWN_INT8)
REFERENCE = 'pytorch_eager'


@dataclass(frozen=True)
class Peer:
    """One of ``peer_kinds.KINDS``, by the name that its figures carry; ``file`` may not exist."""

    name: str
    kind: str
    file: Path
    precision: str = 'auto'


@dataclass(frozen=True)
class Sizes:
    """What all peers compute: images of one size, by a network of one size."""

    image_hw: tuple[int, int]
    input_size: int
    network_hw: tuple[int, int]


def read_infos(models: Sequence[Path]) -> list[ModelInfo]:
    """Return what the IRs say about themselves; ModelError for one that cannot be read."""
    from depth_anything_ros.inference.ir import read_model
    import openvino

    core = openvino.Core()
    return [read_model(core, model)[1] for model in models]


def settle_sizes(info: ModelInfo, input_size: int, image_hw: tuple[int, int]) -> Sizes:
    """Return the sizes that the first IR leads to; ``input_size`` 0 takes its own."""
    size = input_size or info.input_size
    return Sizes(image_hw, size, info.fixed_size_hw
                 or network_size(image_hw, size, info.patch_multiple))


def choose_peers(models: Sequence[Path], infos: Sequence[ModelInfo], folder: Path,
                 names: Sequence[str]) -> list[Peer]:
    """
    Return the peers of these names, or all; the files of the others lie in ``folder``.

    SettingsError for a name that there is not, ModelError for two IRs of one name.
    """
    peers: dict[str, Peer] = {}
    for model, info in zip(models, infos):
        found = ([Peer(OWN_INT8, 'engine', model)] if info.precision == 'int8' else
                 [Peer(OWN_BF16, 'engine', model), Peer(OWN_F32, 'engine', model, 'f32')])
        if found[0].name in peers:
            raise ModelError(model, f'{peers[found[0].name].file} is such a model already',
                             'give one IR with int8 and one with floating point weights')
        peers |= {peer.name: peer for peer in found}
    peers |= {name: Peer(name, name, folder / file) for name, file in OTHERS.items()}
    for name in names:
        if name not in peers:
            raise SettingsError('peers', name, f'one of {", ".join(peers)}')
    return [peer for name, peer in peers.items() if not names or name in names]
