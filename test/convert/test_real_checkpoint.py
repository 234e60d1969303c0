"""A real checkpoint becomes an IR within the gates at the published input size."""

from pathlib import Path

import pytest

torch = pytest.importorskip('torch')
for needed in ('onnx', 'onnxscript', 'onnxruntime', 'openvino'):
    pytest.importorskip(needed)

from depth_anything_ros.convert.conversion import convert, Job  # noqa: E402, I100
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402


def test_a_real_checkpoint_is_converted_within_the_gates(
        tmp_path: Path, refit_checkpoint: Path) -> None:
    lines: list[str] = []
    job = Job(refit_checkpoint, tmp_path / 'depth.xml', overrides=Overrides('relative', 'v2'))
    done = convert(job, report=lines.append, sizes_hw=((518, 518), (392, 518)))
    assert (done.info.encoder, done.info.kind, done.info.model_version) == (
        'vits', 'relative', 'v2')
    assert (done.info.licence, done.info.source_name) == ('unknown', refit_checkpoint.name)
    assert done.parity.worst('OpenVINO') <= 2e-2
    assert done.parity.worst('ONNX Runtime') <= 1e-3
    assert done.path.with_suffix('.bin').stat().st_size < 50e6
    assert any('kind: relative, from --kind' in line for line in lines)
