"""What the measurement of reliability reports, made short."""

import json
from pathlib import Path
from random import Random

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('openvino')

import numpy as np  # noqa: E402, I100
from tools.fuzz.attack import Report, stand_in_model  # noqa: E402
from tools.measure import figures, reliability, reliability_damage  # noqa: E402
from tools.measure import reliability_images as images  # noqa: E402
from tools.measure.reliability_damage import blob_damage  # noqa: E402
from tools.measure.reliability_memory import peak_mib, refuse_bomb  # noqa: E402


def test_a_header_that_claims_much_costs_little() -> None:
    assert refuse_bomb() < 100


def test_the_peak_is_that_of_this_program_and_never_falls() -> None:
    before = peak_mib()
    large = np.ones(max(2 ** 26, int(1.5 * before * 2 ** 20)), np.uint8)
    risen = peak_mib()
    assert risen > large.nbytes / 2 ** 20
    del large
    assert peak_mib() > risen - 1


@pytest.mark.parametrize('profile', ['', str(images.PROFILE)], ids=['default', 'profile'])
def test_small_images_arrive_from_another_process(
        capfd: pytest.CaptureFixture[str], profile: str) -> None:
    """Fast DDS accepts the profile; it prints errors of profiles that it does not."""
    assert 0 < images.arrived(20, profile, (48, 64)) <= 1
    assert 'rror' not in capfd.readouterr().err


def test_a_damage_that_changes_the_depth_is_not_counted_as_caught(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The .xml of the tiny model has no sha256 of its .bin; the self-check allows rounding."""
    def round_one_weight(content: bytes, rng: Random) -> tuple[bytes, str]:
        return bytes([content[0] ^ 1]) + content[1:], 'one bit'

    monkeypatch.setattr(reliability_damage, 'damaged', round_one_weight)
    logged: list[str] = []
    figures = blob_damage(4, logged.append, stand_in_model(tmp_path))
    assert figures == {'blob_damages': 4, 'blob_damage_caught': 0.5}
    assert len(logged) == 2 and all('tiny.bin, one bit' in line for line in logged)


def test_one_part_is_measured_and_the_others_keep_their_figures(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / 'reliability.json'
    monkeypatch.setattr(figures, 'FOLDER', tmp_path)
    for name in ('fuzz', 'images'):
        monkeypatch.setitem(reliability.PARTS, name, lambda parsed, name=name: {name: 0.5})
        assert reliability.main(['--only', name]) == 0
    content = json.loads(file.read_text())
    assert content['command'] == 'python -m tools.measure.reliability'
    assert content['figures'] == {'fuzz': 0.5, 'images': 0.5}


def test_an_attack_that_finds_something_ends_with_status_1(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, 'FOLDER', tmp_path)
    found = Report(sent=20, deaths=1, resident_mib=[100.0] * 20)
    monkeypatch.setattr(reliability, 'attack', lambda *arguments: found)
    assert reliability.main(['--only', 'fuzz']) == 1
    assert json.loads((tmp_path / 'reliability.json').read_text())['figures']['fuzz_deaths'] == 1
