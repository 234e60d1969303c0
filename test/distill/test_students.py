"""The students: their first weights, and starting from a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import CheckpointError, SettingsError
import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.distill.students import make_student, vit_student  # noqa: E402, I100
from depth_anything_ros.networks.depth_anything import build_network  # noqa: E402
from depth_anything_ros.networks.models import EncoderSpec, VIT_INPUT  # noqa: E402


def test_the_error_for_an_unknown_student_lists_the_students() -> None:
    with pytest.raises(SettingsError, match="student is 'vits'; it must be tiny or vitt"):
        make_student('vits')


def test_first_weights_depend_on_the_seed_alone_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (make_student('vitt', seed=seed).network.state_dict()
                           for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first['pretrained.pos_embed'], other['pretrained.pos_embed'])


def test_vitt_is_a_depth_anything_with_the_random_weights_of_dinov2() -> None:
    student = make_student('vitt')
    weights = student.network.state_dict()
    assert (student.input_spec, student.network.spec.width) == (VIT_INPUT, 192)
    assert weights['pretrained.blocks.11.attn.qkv.weight'].std() == pytest.approx(0.02, rel=0.05)
    assert weights['pretrained.pos_embed'].std() == pytest.approx(0.02, rel=0.05)
    assert weights['pretrained.blocks.0.mlp.fc1.bias'].abs().max() == 0
    assert weights['pretrained.blocks.0.ls1.gamma'].unique().tolist() == [pytest.approx(0.1)]


def test_a_trained_vit_computes_the_same_as_the_published_network(tiny: EncoderSpec) -> None:
    torch.manual_seed(0)
    student = vit_student(tiny)
    with torch.no_grad():
        student.network.depth_head.scratch.output_conv2[-2].bias.fill_(0.0)
        image = torch.randn(2, 3, 28, 42)
        depth, tokens = student.predict(image)
        clipped = student.network.eval()(image)
        published = build_network(tiny, 'v2', None, student.network.state_dict())(image)
    assert depth.shape == (2, 28, 42) and tokens.shape == (2, 6, 48)
    assert depth.min() < 0 < depth.max()
    assert torch.equal(clipped, published)
    assert torch.allclose(clipped, depth.clamp(min=0), atol=1e-6)


def test_a_student_starts_from_a_file(
        tmp_path: Path, family: tuple[EncoderSpec, ...],
        make_weights: Callable[..., dict[str, Any]]) -> None:
    path, weights = tmp_path / 'start.pth', make_weights(family[1])
    torch.save(weights, path)
    started = make_student('tiny', path, table=family).network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in started.items())


def test_a_start_of_another_student_is_refused(
        tmp_path: Path, tiny: EncoderSpec, make_weights: Callable[..., dict[str, Any]]) -> None:
    path = tmp_path / 'start.pth'
    torch.save(make_weights(tiny), path)
    with pytest.raises(CheckpointError, match=r'start\.pth: it does not fit.*vitt .*wrong shape'
                       '.*give the .pth or IR that a distillation of this student wrote$'):
        make_student('vitt', path)
    with pytest.raises(CheckpointError, match='there is no such file'):
        make_student('tiny', tmp_path / 'absent.pth')
