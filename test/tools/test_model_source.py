"""Where the demo takes its model from."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import shutil
from threading import Thread

from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.tools import model_source
import pytest


def test_an_ir_that_is_there_is_taken(tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    """An .xml without its .bin is not."""
    (tmp_path / 'a.xml').write_text('<net/>')
    source = make_ir()
    for suffix in ('.xml', '.bin'):
        shutil.copy(source.with_suffix(suffix), tmp_path / f'b{suffix}')
    said: list[str] = []
    assert model_source.find_or_make_model(tmp_path, said.append) == tmp_path / 'b.xml'
    assert 'b.xml' in said[0]


def test_a_checkpoint_beside_the_models_is_converted_rather_than_downloaded(
        tmp_path: Path) -> None:
    """One that is damaged is named, and no hub is asked."""
    pytest.importorskip('torch', reason='torch is not installed')
    (tmp_path / 'depth_anything_v2_vits.pth').write_bytes(b'damaged')
    said: list[str] = []
    with pytest.raises(CheckpointError, match='depth_anything_v2_vits.pth'):
        model_source.find_or_make_model(tmp_path, said.append)
    assert not any('downloading' in line for line in said)


def test_without_model_and_checkpoint_the_hub_is_asked(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that has nothing gives the sentence about fetching by hand."""
    pytest.importorskip('huggingface_hub', reason='huggingface_hub is not installed')
    pytest.importorskip('torch', reason='torch is not installed')
    monkeypatch.setattr(model_source, 'SHARED', tmp_path / 'nothing')
    hub = ThreadingHTTPServer(('127.0.0.1', 0), BaseHTTPRequestHandler)
    Thread(target=hub.serve_forever, daemon=True).start()
    monkeypatch.setenv('HF_ENDPOINT', f'http://127.0.0.1:{hub.server_port}')
    said: list[str] = []
    with pytest.raises(CheckpointError, match='by hand'):
        model_source.find_or_make_model(tmp_path, said.append)
    hub.shutdown()
    assert any('Depth-Anything-V2-Small' in line for line in said)
