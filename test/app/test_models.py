"""The model that is loaded, the list of models, and options that cannot work."""

from collections.abc import Callable
from pathlib import Path
import shutil
import socket
from typing import Any

from depth_anything_ros import load_model
from depth_anything_ros.app.main import main
from depth_anything_ros.app.models import find_models, ModelChoice, ModelSlot
from depth_anything_ros.errors import InferenceError, ModelError
from depth_anything_ros.resources import shipped_model
import numpy as np
from numpy.testing import assert_allclose
import pytest
from tiny import weighted_sum

IMAGE = np.random.default_rng(0).integers(0, 256, (112, 140, 3), np.uint8)


def test_one_model_is_loaded_at_a_time_and_the_last_one_is_kept(
        tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    loaded: list[Any] = []

    def load(path: Path, **options: Any) -> Any:
        for model in loaded:
            with pytest.raises(InferenceError, match='closed'):
                model.infer(IMAGE)
        loaded.append(load_model(path, **options))
        return loaded[-1]

    first = ModelChoice(tiny_ir, precision='f32')
    second = ModelChoice(make_ir(gain=2.0), precision='f32')
    slot = ModelSlot(load)
    for choice, gain, count in ((first, 1, 1), (first, 1, 1), (second, 2, 2), (first, 1, 3)):
        assert_allclose(slot.infer(choice, IMAGE).depth, gain * weighted_sum(IMAGE), atol=1e-3)
        assert len(loaded) == count
    slot.close()
    with pytest.raises(InferenceError, match='closed'):
        loaded[-1].infer(IMAGE)


def test_usable_models_of_a_folder_are_listed_once_after_the_first_and_the_packages(
        tiny_ir: Path, make_ir: Callable[..., Path], tmp_path: Path) -> None:
    for name, ir in (('a', tiny_ir), ('b', make_ir(metadata=False))):
        for suffix in ('.xml', '.bin'):
            shutil.copy(ir.with_suffix(suffix), tmp_path / f'{name}{suffix}')
    assert list(find_models(tmp_path, tiny_ir)) == [tiny_ir, shipped_model(), tmp_path / 'a.xml']
    assert list(find_models(tmp_path, tmp_path / 'a.xml')) == [tmp_path / 'a.xml', shipped_model()]
    with pytest.raises(ModelError):
        find_models(tmp_path, tmp_path / 'b.xml')


def test_a_port_in_use_and_a_missing_model_are_one_line(
        capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip('gradio')
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert main(['--port', port]) == 1
        assert capsys.readouterr().err == (
            f'error: 127.0.0.1:{port} cannot be listened on (Address already in use); choose '
            'another --port, or an address of this machine as --host\n')
    assert main([str(tmp_path / 'none.xml'), '--port', port]) == 1
    err = capsys.readouterr().err
    assert err.startswith('error: ') and 'there is no such file' in err and err.count('\n') == 1
