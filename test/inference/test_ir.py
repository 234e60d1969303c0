"""Every fault of an IR is reported in one sentence that names the file and the fix."""

from collections.abc import Callable, Iterator
import json
from pathlib import Path
import re
import shutil
import subprocess
import sys

from depth_anything_ros.errors import ModelError
from depth_anything_ros.inference import ir as ir_module
from depth_anything_ros.inference.ir import (
    check_ir_files, error_reason, read_ir, read_ir_files, read_model)
from depth_anything_ros.model_info import SECTION, WEIGHTS_SHA256
import numpy as np
import pytest
from tiny import TINY_INFO

ov = pytest.importorskip('openvino')

MAKE_ONE = 'depth_anything_convert'
COPY_AGAIN = 'copy both files again'


@pytest.fixture
def ir(tiny_ir: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a copy of the tiny IR that a test may damage."""
    for path in (tiny_ir, tiny_ir.with_suffix('.bin')):
        shutil.copy(path, tmp_path)
    yield tmp_path / tiny_ir.name


# A change of the type is a mismatch that OpenVINO may report, never a crash.
READ_AND_COMPILE = """
from pathlib import Path
import sys
from depth_anything_ros.errors import ModelError
from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.inference.ir import build_graph, read_model

core = open_core()
try:
    model, info = read_model(core, Path(sys.argv[1]))
    core.compile_model(build_graph(model, info, (28, 28)), 'CPU')
except (ModelError, RuntimeError):
    pass
"""


def refusal(path: Path, culprit: Path, fix: str) -> str:
    """Return the message with which a model is refused; it names the culprit and the fix."""
    with pytest.raises(ModelError) as error:
        read_model(ov.Core(), path)
    message = str(error.value)
    assert error.value.path == culprit and message.startswith(f'{culprit}: ')
    assert fix in message.split(';')[-1] and '\n' not in message
    return message


def rewrite(path: Path, **entries: object) -> Path:
    """Give an IR other metadata; None removes the entry."""
    model = ov.Core().read_model(str(path))
    again = ov.Model(model.get_results(), model.get_parameters(), 'tiny')
    texts = {**TINY_INFO.to_strings(), **{name: json.dumps(value)
                                          for name, value in entries.items()}}
    for name, text in texts.items():
        if entries.get(name, text) is not None:
            again.set_rt_info(text, [SECTION, name])
    copy = path.with_name('again.xml')
    ov.save_model(again, str(copy), compress_to_fp16=False)
    return copy


def test_a_good_ir_is_read_with_its_metadata(ir: Path) -> None:
    model, info = read_model(ov.Core(), ir)
    assert len(model.inputs) == 1
    assert info.encoder == 'vits' and info.self_check.size_hw == (196, 252)


def test_a_missing_xml_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'vitb.xml'
    assert 'there is no such file' in refusal(path, path, MAKE_ONE)


def test_a_folder_instead_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'folder.xml'
    path.mkdir()
    assert 'there is no such file' in refusal(path, path, MAKE_ONE)


def test_a_missing_bin_is_named(ir: Path) -> None:
    weights = ir.with_suffix('.bin')
    weights.unlink()
    assert 'there is no such file' in refusal(ir, weights, MAKE_ONE)


@pytest.mark.parametrize('name', ['tiny.onnx', 'tiny.bin', 'tiny', 'tiny.pth'])
def test_a_file_that_is_no_xml_is_refused_by_its_name(ir: Path, name: str) -> None:
    path = ir.with_name(name)
    assert 'not an .xml file' in refusal(path, path, MAKE_ONE)


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_xml_is_named(ir: Path, share: float) -> None:
    text = ir.read_bytes()
    ir.write_bytes(text[:int(share * len(text))])
    assert 'truncated or not XML' in refusal(ir, ir, COPY_AGAIN)


@pytest.mark.parametrize('suffix', ['.xml', '.bin'])
def test_a_git_lfs_pointer_is_named(ir: Path, suffix: str) -> None:
    file = ir.with_suffix(suffix)
    file.write_bytes(b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n')
    assert 'it is a Git LFS pointer' in refusal(ir, file, 'git lfs pull')


@pytest.mark.parametrize('kept', [0, 1, -1])
def test_a_truncated_bin_is_named_with_the_bytes_it_lacks(ir: Path, kept: int) -> None:
    weights = ir.with_suffix('.bin')
    data = weights.read_bytes()
    weights.write_bytes(data[:kept])
    assert f'truncated: {len(data[:kept])} bytes of {len(data)}' in refusal(
        ir, weights, COPY_AGAIN)


@pytest.mark.parametrize('content', [
    b'\x89PNG\r\n\x1a\n', b'version https://git-lfs', b'\x00' * 9])
def test_a_file_that_is_not_xml_inside_is_named(ir: Path, content: bytes) -> None:
    ir.write_bytes(content)
    assert 'truncated or not XML' in refusal(ir, ir, COPY_AGAIN)


def test_xml_of_something_else_is_named_by_its_root(ir: Path) -> None:
    ir.write_text('<package><name>x</name></package>')
    assert 'root is <package>' in refusal(ir, ir, MAKE_ONE)


def test_a_net_that_openvino_cannot_read_is_named(ir: Path) -> None:
    ir.write_text(ir.read_text().replace('type="ReduceSum"', 'type="ReduceNothing"'))
    assert 'OpenVINO cannot read it' in refusal(ir, ir, COPY_AGAIN)


def test_an_ir_without_metadata_is_refused(make_ir: Callable[..., Path]) -> None:
    path = make_ir(metadata=False)
    assert 'no depth_anything metadata' in refusal(path, path, MAKE_ONE)


@pytest.mark.parametrize(('name', 'value', 'message'), [
    ('format_version', 3, 'format_version is 3, this release reads 1 and 2'),
    ('mean_rgb', [0.5], 'mean_rgb'),
    ('input_size', 'large', 'input_size'),
    ('self_check', {}, 'self_check'),
    ('encoder', None, 'encoder is missing')])
def test_metadata_that_cannot_be_used_is_named_by_its_entry(
        ir: Path, name: str, value: object, message: str) -> None:
    path = rewrite(ir, **{name: value})
    assert message in refusal(path, path, MAKE_ONE)


def test_metadata_that_is_no_section_is_refused(ir: Path) -> None:
    model = ov.Core().read_model(str(ir))
    model.set_rt_info('hello', [SECTION])
    path = ir.with_name('again.xml')
    ov.save_model(model, str(path))
    assert 'depth_anything metadata' in refusal(path, path, MAKE_ONE)


def test_a_network_with_two_outputs_is_refused(ir: Path) -> None:
    from openvino import opset13 as op
    model = ov.Core().read_model(str(ir))
    depth = model.output(0).get_node().input_value(0)
    second = op.result(op.add(depth, np.float32(1)).output(0))
    two = ov.Model([*model.get_results(), second], model.get_parameters(), 'two')
    for name, text in TINY_INFO.to_strings().items():
        two.set_rt_info(text, [SECTION, name])
    path = ir.with_name('two.xml')
    ov.save_model(two, str(path))
    assert '1 inputs and 2 outputs' in refusal(path, path, MAKE_ONE)


def test_an_ir_without_metadata_can_be_read_as_one(make_ir: Callable[..., Path]) -> None:
    model, info = read_ir(ov.Core(), make_ir(metadata=False))
    assert len(model.inputs) == 1 and info is None


def damage_constant(ir: Path, attribute: str, value: str | None) -> Path:
    """Change or remove an attribute of the first constant that has some elements."""
    text = ir.read_text()
    head, data = text.split('<data element_type="f32" shape="1, 3, 1, 1"', 1)
    data = f'<data element_type="f32" shape="1, 3, 1, 1"{data}'
    damaged, count = re.subn(f' {attribute}="[^"]*"',
                             '' if value is None else f' {attribute}="{value}"', data, count=1)
    assert count == 1
    ir.write_text(head + damaged)
    return ir


@pytest.mark.parametrize(('attribute', 'value', 'fact'), [
    *(('element_type', name, f"has the element type '{name}'")
      for name in ('u1', 'u2', 'u3', 'u6', 'string', 'dynamic', 'undefined', 'f4e2m1', 'F32', '')),
    *((name, None, f'has no {name}') for name in ('element_type', 'shape', 'offset', 'size')),
    ('size', '4', 'has 4 bytes instead of 12'), ('shape', '1,3,1,999', 'instead of 11988'),
    ('offset', '-8', 'negative'), ('size', '-1', 'negative'), ('shape', '1,-3,1,1', 'negative'),
    ('size', 'many', 'unreadable'), ('shape', '1,?,1,1', 'unreadable')])
def test_a_constant_that_openvino_cannot_read_is_named(
        ir: Path, attribute: str, value: str | None, fact: str) -> None:
    message = refusal(damage_constant(ir, attribute, value), ir, COPY_AGAIN)
    assert 'its constant ' in message and fact in message
    with pytest.raises(ModelError, match='its constant '):
        check_ir_files(ir)


@pytest.mark.parametrize('name', sorted(ir_module._BITS))
def test_a_constant_of_any_type_that_is_read_does_not_crash_openvino(
        ir: Path, name: str) -> None:
    """In a process of its own; what OpenVINO does with the type is its own affair."""
    bits = ir_module._BITS[name]
    path = damage_constant(ir, 'size', str((3 * bits + 7) // 8))
    with ir.with_suffix('.bin').open('ab') as weights:
        weights.write(bytes(64))
    damage_constant(path, 'element_type', name)
    done = subprocess.run([sys.executable, '-c', READ_AND_COMPILE, str(path)], text=True,
                          capture_output=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def test_metadata_that_is_no_text_of_utf8_is_an_error_of_the_model(ir: Path) -> None:
    ir.write_bytes(ir.read_bytes().replace(b'tiny.pth', b'tiny\xff.pth'))
    refusal(ir, ir, COPY_AGAIN)


def test_the_content_in_memory_is_read_when_the_files_are_gone(ir: Path) -> None:
    files = read_ir_files(ir)
    digest = read_ir_files(ir).digest
    for path in (ir, ir.with_suffix('.bin')):
        path.unlink()
    model, info = read_model(ov.Core(), files)
    assert info.encoder == 'vits' and len(model.inputs) == 1
    assert files.digest == digest and read_ir_files(files) is files


@pytest.mark.parametrize('suffix', ['.xml', '.bin'])
def test_the_digest_covers_every_byte_of_both_files(ir: Path, suffix: str) -> None:
    before = read_ir_files(ir).digest
    file = ir.with_suffix(suffix)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    if suffix == '.xml':
        content = bytearray(file.read_bytes() + b' ')
    file.write_bytes(content)
    assert read_ir_files(ir).digest != before


@pytest.fixture
def sealed(ir: Path) -> Path:
    """Return an IR that knows the sha256 of its .bin, as the converter writes it."""
    model = ov.Core().read_model(ir.read_bytes().decode(), read_ir_files(ir).weights)
    for _ in range(2):
        # save_model writes the same .bin again, and then into the .xml what it is.
        model.set_rt_info(read_ir_files(ir).weights_sha256, [SECTION, WEIGHTS_SHA256])
        ov.save_model(model, ir, compress_to_fp16=False)
    return ir


def test_a_bin_that_is_not_that_of_its_xml_is_refused(sealed: Path) -> None:
    """Whatever bit is wrong, also one too small for the self-check to see."""
    assert read_model(ov.Core(), sealed)[1].encoder == TINY_INFO.encoder
    weights = sealed.with_suffix('.bin')
    whole = weights.read_bytes()
    for place in range(0, 8 * len(whole), max(1, len(whole) // 2)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        weights.write_bytes(content)
        assert 'its content is not what' in refusal(sealed, weights, COPY_AGAIN)
    weights.write_bytes(whole + b'more')
    assert 'belongs to another model' in refusal(sealed, weights, COPY_AGAIN)


def test_checking_the_files_of_a_good_ir_names_them(ir: Path) -> None:
    assert check_ir_files(ir) == (ir, ir.with_suffix('.bin'))


@pytest.mark.parametrize(('text', 'line'), [
    ('Exception from src/core.cpp:12:\nCheck x failed at y:\nno libOpenCL\n', 'no libOpenCL'),
    ("Check 'x' failed at y.hpp:26:\nWhile validating node 'opset1::Multiply m' with "
     "friendly_name 'm':\nArgument shapes are inconsistent.\n",
     'Argument shapes are inconsistent.'),
    ('one line', 'one line'), ('Check this', 'Check this'), ('', 'RuntimeError')])
def test_the_reason_in_an_openvino_error_is_found(text: str, line: str) -> None:
    assert error_reason(RuntimeError(text)) == line
