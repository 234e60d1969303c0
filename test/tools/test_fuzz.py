"""The attack on the node: it finds nothing, and notices every kind of fault that is built in."""

from collections.abc import Callable
import os
from pathlib import Path
from random import Random
import re
from typing import Any

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('openvino')

from depth_anything_ros.ros.messages import SerializedMessage  # noqa: E402, I100
import numpy as np  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from tools.fuzz import __main__ as program, attack as attack_module  # noqa: E402
from tools.fuzz import images, references, requests  # noqa: E402
from tools.fuzz.attack import attack, KINDS, Plan, VOLLEY  # noqa: E402
from tools.fuzz.damage import damaged  # noqa: E402
from tools.fuzz.target import UNEXPECTED  # noqa: E402

# Runs the node with a fault where it decodes images.
FAULTY = """
import sys
from depth_anything_ros.node import camera_stream, main
decode, kept = camera_stream.decode_image, []


def faulty(serialized):
    {fault}
    return decode(serialized)


camera_stream.decode_image = faulty
sys.exit(main.main())
"""
FAULTS = {
    'segmentation fault': 'import ctypes; ctypes.string_at(1)',
    'traceback and wrong depth': """from depth_anything_ros.vision.color_image import ColorImage
    print('Traceback (most recent call last):', file=sys.stderr, flush=True)
    image = decode(serialized)
    return ColorImage(255 - image.pixels, image.order)""",
    'growth': 'kept.append(bytearray(b"x" * 2 ** 22))',
    'silence': 'import time; time.sleep(25)',
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stay on a domain of this test."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(64 + (os.getpid() + 18) % 36))
    monkeypatch.setenv('PYTHONFAULTHANDLER', '1')


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Return the name of a module that runs the node with a fault."""
    (tmp_path / 'faulty_node.py').write_text(FAULTY.format(fault=FAULTS[request.param]))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(
        [str(tmp_path), os.environ.get('PYTHONPATH', '')]))
    return 'faulty_node'


def test_a_short_attack_of_all_kinds_finds_nothing(
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_module, 'KINDS', {**KINDS, 'transitions': 100, 'cache': 60})
    assert program.main(['--messages', '300', '--seed', '5']) == 0, capsys.readouterr().out
    found = re.search(r'300 messages sent, (\d+) images handled: 0 deaths, 0 tracebacks, '
                      r'0 silences', capsys.readouterr().out)
    # A good image ends each volley; how many of the others arrive depends on the machine.
    assert found and int(found[1]) >= 300 // VOLLEY


@pytest.mark.parametrize(('module', 'counts', 'words'), [
    ('segmentation fault', (1, 0, 0), ['ended with status -11', 'string_at']),
    ('traceback and wrong depth', (0, 1, 1), ['the depth is', 'Traceback']),
    ('silence', (0, 0, 1), ['no depth of a good image within 20 s'])], indirect=['module'])
def test_a_fault_is_counted_and_the_command_that_repeats_it_is_named(
        module: str, counts: tuple[int, int, int], words: list[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_module, '_MOST_FAULTS', 1)
    logged: list[str] = []
    report = attack(Plan(seed=3, messages=40, only='camera_info'), log=logged.append,
                    module=module, timeout_s=20.0 if counts == (0, 0, 1) else 120.0)
    assert report.failed
    assert (report.deaths, min(report.tracebacks, 1), report.silences) == counts
    assert [word for word in words if word not in logged[0]] == []
    assert ('repeat it with python -m tools.fuzz --seed 3 --only camera_info --first 0 '
            f'--messages {VOLLEY}') in logged[0]


@pytest.mark.parametrize('module', ['growth'], indirect=True)
def test_memory_that_grows_with_the_images_is_noticed(module: str) -> None:
    """By 4 MiB with each image: more than 48 MiB between the second and the last tenth."""
    report = attack(Plan(messages=400, only='camera_info'), module=module)
    assert not report.faults
    assert report.failed and report.growth_mib > 48


@pytest.mark.parametrize('make', [images.raw_image, images.compressed_image, images.camera_info,
                                  references.depth, references.points, references.range_reading])
def test_messages_depend_on_the_seed_alone_and_can_be_sent(make: Callable[..., Any]) -> None:
    """All of 100 can be serialized; few are equal."""
    seen = set()
    for seed in range(100):
        first, second = (make(Random(seed), 10 ** 9) for _ in range(2))
        # Not the messages: NaN differs from itself.
        assert repr(first) == repr(second)
        seen.add(serialize_message(first))
    assert len(seen) > 75


def test_requests_depend_on_the_seed_alone_and_are_of_every_kind() -> None:
    made = [requests.parameters_request(Random(seed)) for seed in range(300)]
    assert repr(made) == repr([requests.parameters_request(Random(seed)) for seed in range(300)])
    assert {name for _, name, _ in made} == {
        'set_parameters', 'set_parameters_atomically', 'get_parameters', 'describe_parameters',
        'freeze_alignment'}


def test_a_damage_changes_the_content_and_has_at_most_one_mebibyte() -> None:
    whole = Random(0).randbytes(3 * 2 ** 20)
    lengths = []
    for seed in range(60):
        content, what = damaged(whole, Random(seed))
        assert what and len(content) >= len(whole) - 2 ** 20
        changed = np.flatnonzero(np.frombuffer(content, np.uint8)
                                 != np.frombuffer(whole, np.uint8)[:len(content)])
        lengths.append(np.ptp(changed) if changed.size else len(whole) - len(content))
    assert min(lengths) == 0 and max(lengths) > 2 ** 19


@pytest.mark.parametrize(('line', 'expected'), [
    ('Traceback (most recent call last):', True),
    ('[ERROR] [1.5] [depth_anything]: configure failed: RCLError("x"); or report this', True),
    ('[WARN] [1.5] [depth_anything]: frame lost: OpenCV(4.6.0) error: (-215)', True),
    ("[WARN] [1.5] [depth_anything]: frame lost: encoding 'notes' cannot be read", False),
    ('[ERROR:0@6.9] global loadsave.cpp OpenCV(5.0.0) cannot decode', False)])
def test_only_what_nothing_expects_counts_as_a_traceback(line: str, expected: bool) -> None:
    assert bool(UNEXPECTED.search(line)) is expected


def test_damaged_bytes_reach_the_node_as_bytes() -> None:
    damaged_messages = [attack_module._damaged_bytes(
        Random(seed), images.good_image(Random(seed), 10 ** 9)) for seed in range(200)]
    sent = [data for data in damaged_messages if data is not None]
    assert 10 < len(sent) < 60
    assert all(SerializedMessage(type(images.good_image(Random(0), 0)), data) for data in sent)
