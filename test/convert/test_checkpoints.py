"""Every file that is not a usable checkpoint is refused with its fact and the fix."""

from collections.abc import Callable
import hashlib
import os
from pathlib import Path
import pickle
from typing import Any

from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import EncoderSpec
import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.convert.inspect.inspect import inspect  # noqa: E402, I100
from depth_anything_ros.convert.sources.checkpoints import (  # noqa: E402
    read_checkpoint, read_tensor_specs)

Weights = Callable[..., dict[str, Any]]


class Attack:
    """Creates the file ``marker`` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_reads_tensors_and_the_sha256_of_the_file(
        save_checkpoint: Callable[..., Path], make_weights: Weights, tiny: EncoderSpec) -> None:
    path = save_checkpoint('any.pth')
    checkpoint = read_checkpoint(path)
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    expected = make_weights(tiny)
    assert checkpoint.state_dict.keys() == expected.keys()
    assert all(torch.equal(checkpoint.state_dict[name], expected[name]) for name in expected)


@pytest.mark.parametrize('wrap', [
    lambda weights: {'model': weights, 'optimizer': {'param_groups': [1]}, 'epoch': 3},
    lambda weights: {'state_dict': weights},
    lambda weights: {f'module.{name}': value for name, value in weights.items()}])
def test_unwraps_what_training_scripts_save(
        tmp_path: Path, tiny: EncoderSpec, make_weights: Weights, wrap: Any) -> None:
    weights = make_weights(tiny)
    torch.save(wrap(weights), tmp_path / 'any.pth')
    assert read_checkpoint(tmp_path / 'any.pth').state_dict.keys() == weights.keys()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'none.pth'
    with pytest.raises(CheckpointError, match=f'{path}: there is no such file; give'):
        read_checkpoint(path)


@pytest.mark.parametrize(('content', 'message'), [
    (b'', 'the file is empty; download it again'),
    (b'not a checkpoint', 'damaged or not a PyTorch checkpoint'),
    (b'<!DOCTYPE html><html>404</html>', 'it is a web page, not the file itself; download'),
    (b'version https://git-lfs.github.com/spec/v1\noid', 'Git LFS pointer.* `git lfs pull`'),
    (b'ftrt\0\0', 'a TensorRT engine, .*; give the checkpoint or ONNX file'),
    (b'PK\x03\x04 torn off', 'damaged or not a PyTorch checkpoint'),
    (bytes(range(256)), 'damaged or not a PyTorch checkpoint')])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / 'any.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match=message):
        read_tensor_specs(path)


@pytest.mark.parametrize('name', ['model.safetensors', 'model.onnx', 'model.pth'])
def test_a_pointer_is_named_whatever_its_suffix(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n')
    with pytest.raises(CheckpointError, match=f'{name}: it is a Git LFS pointer'):
        inspect(path)


def test_an_engine_is_named_by_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / 'vits.engine'
    path.write_bytes(b'\x90\1\0\0{"stride"')
    with pytest.raises(CheckpointError, match='vits.engine: it is a TensorRT engine'):
        read_checkpoint(path)


@pytest.mark.parametrize('share', [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize('zipped', [True, False])
def test_a_truncated_checkpoint_is_refused(
        tmp_path: Path, tiny: EncoderSpec, make_weights: Weights, share: float,
        zipped: bool) -> None:
    path = tmp_path / 'any.pth'
    torch.save(make_weights(tiny), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[:int(share * len(content))])
    with pytest.raises(CheckpointError, match='damaged .* download it again'):
        read_checkpoint(path)


@pytest.mark.parametrize('save', [
    lambda attack, path: torch.save({'weights': attack}, path),
    lambda attack, path: torch.save({'weights': attack}, path,
                                    _use_new_zipfile_serialization=False),
    lambda attack, path: path.write_bytes(pickle.dumps(attack, protocol=2))])
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path: Path, save: Any) -> None:
    path, marker = tmp_path / 'any.pth', tmp_path / 'executed'
    save(Attack(marker), path)
    with pytest.raises(CheckpointError, match=r'holds code \(.*mkdir\), which is never run'):
        read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize('content', [
    [torch.zeros(1)], {}, {'epoch': 3}, {1: torch.zeros(1)}, torch.zeros(3)])
def test_tensors_without_a_state_dict_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / 'any.pth')
    with pytest.raises(CheckpointError, match='holds no state dict'):
        read_checkpoint(tmp_path / 'any.pth')


@pytest.mark.parametrize(('change', 'message'), [
    (lambda value: value.to_sparse(), 'b is sparse; save it again with dense tensors'),
    (lambda value: value.to('meta'), 'b is stored without its values; save it again')])
def test_tensors_whose_values_cannot_be_read_are_refused(
        tmp_path: Path, change: Any, message: str) -> None:
    torch.save({'a': torch.ones(3), 'b': change(torch.ones(3))}, tmp_path / 'any.pth')
    for read in (read_checkpoint, read_tensor_specs):
        with pytest.raises(CheckpointError, match=message):
            read(tmp_path / 'any.pth')


def test_names_with_a_prefix_are_the_same_for_inspect_and_convert(
        tmp_path: Path, tiny: EncoderSpec, make_weights: Weights) -> None:
    save_file = pytest.importorskip('safetensors.torch').save_file
    weights, path = make_weights(tiny), tmp_path / 'any.safetensors'
    save_file({f'module.{name}': value.contiguous() for name, value in weights.items()}, path)
    assert read_tensor_specs(path).keys() == read_checkpoint(path).shapes.keys() == weights.keys()
