"""Each encoder of the family converts, from a file with an official name and without options."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_anything_ros.networks.models import EncoderSpec, MODELS
import pytest

torch = pytest.importorskip('torch')
for needed in ('onnx', 'onnxscript', 'onnxruntime', 'openvino'):
    pytest.importorskip(needed)

from depth_anything_ros.convert.conversion import convert, Job  # noqa: E402, I100

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
def test_each_encoder_converts(
        tmp_path: Path, make_weights: Callable[..., dict[str, Any]], spec: EncoderSpec, name: str,
        facts: tuple[Any, ...]) -> None:
    torch.save(make_weights(spec), tmp_path / name)
    done = convert(Job(tmp_path / name, tmp_path / 'depth.xml', 'fp32'), table=TABLE,
                   sizes_hw=[(70, 98)], report=lambda line: None)
    info = done.info
    assert info.encoder == spec.name
    assert (info.kind, info.model_version, info.max_depth_m, info.licence) == facts
    assert 0 < done.parity.worst('OpenVINO') <= 1e-3
    assert 0 < done.parity.worst('ONNX Runtime') <= 1e-3
