"""The picture of several models beside each other."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tools.measure.compare_models import main


def write_ramp(file: Path) -> Path:
    """Write a picture that gets brighter, so nearer for the tiny model, to the right."""
    ramp = np.tile(np.linspace(20, 220, 640, dtype=np.uint8), (480, 1))
    cv2.imwrite(str(file), np.repeat(ramp[..., None], 3, axis=2))
    return file


def test_a_row_per_photograph_and_a_column_per_model(
        tmp_path: Path, make_ir: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Near is red for a relative model and for a metric one, whatever their sizes."""
    photos = [str(write_ramp(tmp_path / f'{name}.png')) for name in ('one', 'two')]
    relative = make_ir()
    metric = make_ir(kind='metric', max_depth_m=20.0, patch_multiple=32, input_size=96)
    output = tmp_path / 'compared.png'
    assert main([str(relative), str(metric), '--photos', *photos, '--output', str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    picture = cv2.imread(str(output))
    assert picture.shape == (26 + 270 + 6 + 270, 360 + 6 + 360 + 6 + 360, 3)
    assert picture[:26, 366:].min() < 100, 'the columns have headings'
    for top in (26, 26 + 276):
        blue_to_red = picture[top + 135, 366:726]
        red_to_blue = picture[top + 135, 732:]
        assert (blue_to_red[20, 0] > blue_to_red[20, 2]
                and blue_to_red[-20, 2] > blue_to_red[-20, 0])
        assert (red_to_blue[20, 2] > red_to_blue[20, 0]
                and red_to_blue[-20, 0] > red_to_blue[-20, 2])


@pytest.mark.parametrize(('model', 'photo', 'named'), [
    ('missing.xml', 'one.png', 'missing.xml: there is no such file'),
    ('tiny', 'missing.png', 'missing.png: it cannot be read (No such file')])
def test_what_is_missing_is_named(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str], model: str,
        photo: str, named: str) -> None:
    """And nothing is written."""
    write_ramp(tmp_path / 'one.png')
    path = tiny_ir if model == 'tiny' else tmp_path / model
    output = tmp_path / 'out.jpg'
    assert main([str(path), '--photos', str(tmp_path / photo), '--output', str(output)]) == 1
    assert named in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize('name', ['no_folder/out.jpg', 'out.unknown'])
def test_a_picture_that_cannot_be_written_is_named(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """With one line."""
    photo = write_ramp(tmp_path / 'one.png')
    arguments = [str(tiny_ir), '--photos', str(photo), '--output', str(tmp_path / name)]
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith('error: ')
