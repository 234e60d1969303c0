"""A file with an official name says without options what its network is, for each encoder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_anything_ros.networks.models import EncoderSpec, MODELS
import pytest

torch = pytest.importorskip('torch')
for needed in ('onnx', 'onnxscript', 'onnxruntime', 'openvino'):
    pytest.importorskip(needed)

from checkpoints import REFIT  # noqa: E402, I100
from depth_anything_ros.convert.conversion import convert, Job  # noqa: E402
from depth_anything_ros.convert.parity.measure import card_input  # noqa: E402
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402
from depth_anything_ros.convert.sources.load_network import load_network  # noqa: E402

VITS, VITB, VITL, VITG = MODELS[:4]
SMALL = {'width': 48, 'heads': 3, 'features': 16}
# vits has its real size; the others their real depth, blocks and feed-forward.
TABLE = (VITS, replace(VITB, **SMALL, out_channels=(8, 12, 16, 24)),
         replace(VITL, **SMALL, out_channels=(8, 16, 24, 24)),
         replace(VITG, **SMALL, out_channels=(24, 24, 24, 24)))


@pytest.mark.parametrize(('spec', 'name', 'facts'), [
    (TABLE[0], 'depth_anything_v2_vits.pth', ('relative', 'v2', None, 'Apache-2.0')),
    (TABLE[1], 'depth_anything_v2_metric_hypersim_vitb.pth',
     ('metric', 'v2', 20.0, 'CC-BY-NC-4.0')),
    (TABLE[2], 'depth_anything_vitl14.pth', ('relative', 'v1', None, 'Apache-2.0')),
    (TABLE[3], 'depth_anything_v2_metric_vkitti_vitg.pth', ('metric', 'v2', 80.0, 'unknown'))],
    ids=[spec.name for spec in TABLE])
def test_each_encoder_is_read_from_a_file_with_an_official_name(
        tmp_path: Path, make_weights: Callable[..., dict[str, Any]], spec: EncoderSpec, name: str,
        facts: tuple[Any, ...]) -> None:
    torch.save(make_weights(spec), tmp_path / name)
    loaded = load_network(tmp_path / name, Overrides(), TABLE)
    found = loaded.identity
    assert found.encoder == spec.name
    assert (found.kind, found.model_version, found.max_depth_m, found.licence) == facts
    with torch.inference_mode():
        depth = loaded.network(torch.from_numpy(card_input((70, 98))))
    assert depth.shape == (1, 70, 98) and depth.std() > 0


@pytest.mark.skipif(REFIT.is_file(), reason='test_real_checkpoint.py converts real weights')
def test_vits_of_its_real_size_converts(
        tmp_path: Path, make_weights: Callable[..., dict[str, Any]]) -> None:
    torch.save(make_weights(VITS), tmp_path / 'depth_anything_v2_vits.pth')
    done = convert(Job(tmp_path / 'depth_anything_v2_vits.pth', tmp_path / 'depth.xml', 'fp32'),
                   sizes_hw=[(70, 98)], report=lambda line: None)
    assert done.info.encoder == 'vits'
    assert 0 < done.parity.worst('OpenVINO') <= 1e-3
    assert 0 < done.parity.worst('ONNX Runtime') <= 1e-3
