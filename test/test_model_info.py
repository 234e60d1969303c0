"""Metadata of an IR: it survives writing and reading, and errors name the entry."""

from dataclasses import fields, replace
import json
from typing import Any

from depth_anything_ros.model_info import FORMAT_VERSION, ModelInfo, Quantization, SelfCheck
import pytest
from tiny import TINY_INFO

OPTIONAL = ('fixed_size_hw', 'quantization', 'output_multiple', 'resize', 'interpolation',
            'side_limits', 'has_shift', 'focal_px', 'range_m', 'sky_threshold', 'description')
# The entries that a release before format version 2 does not know.
LATER = {'resize': 'letterbox', 'interpolation': 'area', 'side_limits': (14, 700),
         'has_shift': False, 'focal_px': 300.0, 'range_m': (0.1, 20.0), 'sky_threshold': 0.3,
         'description': '{}'}
METRIC = replace(TINY_INFO, kind='metric', max_depth_m=20.0,
                 self_check=SelfCheck((14, 28), (1, 2), 0.5, (0.1, 1 / 3)))


def entries_with(**changes: Any) -> dict[str, str]:
    """Return valid rt_info entries with some replaced by other JSON values."""
    return {**METRIC.to_strings(),
            **{name: json.dumps(value) for name, value in changes.items()}}


INT8 = replace(TINY_INFO, precision='int8', fixed_size_hw=(392, 518), quantization=Quantization(
    'smooth 0.5', ('blocks.3.fc2', 'output_conv2.2'), 60, 15, 0.01, 0.02, 0.997))


SMALLER = replace(TINY_INFO, output_multiple=8)


@pytest.mark.parametrize('info', [TINY_INFO, METRIC, INT8, SMALLER],
                         ids=['relative', 'metric', 'int8', 'smaller output'])
def test_what_is_written_comes_back_equal(info: ModelInfo) -> None:
    entries = info.to_strings()
    assert all(isinstance(text, str) for text in entries.values())
    back = ModelInfo.from_strings(entries)
    assert back == info
    assert hash(back) == hash(info)


def test_an_older_model_lacks_the_later_entries_and_is_read() -> None:
    entries = METRIC.to_strings()
    for name in OPTIONAL:
        entries.pop(name, None)
    assert ModelInfo.from_strings(entries) == METRIC


@pytest.mark.parametrize('name', [field.name for field in fields(ModelInfo)
                                  if field.name not in OPTIONAL])
def test_a_missing_entry_is_named(name: str) -> None:
    entries = METRIC.to_strings()
    del entries[name]
    with pytest.raises(ValueError, match=f'{name} is missing'):
        ModelInfo.from_strings(entries)


def test_the_size_of_the_output_follows_from_the_metadata() -> None:
    assert TINY_INFO.output_hw((197, 252)) == (197, 252)
    assert SMALLER.output_hw((196, 252)) == (112, 144)


@pytest.mark.parametrize('name', LATER)
def test_a_release_that_would_ignore_a_fact_refuses_the_model(name: str) -> None:
    assert METRIC.to_strings()['format_version'] == '1'
    assert not set(LATER) & set(METRIC.to_strings())
    info = replace(METRIC, **{name: LATER[name]})
    assert info.to_strings()['format_version'] == '2'
    assert ModelInfo.from_strings(info.to_strings()) == info


def test_an_entry_that_is_not_json_is_named() -> None:
    with pytest.raises(ValueError, match='input_size is unreadable'):
        ModelInfo.from_strings({**METRIC.to_strings(), 'input_size': '5 18'})


def test_another_format_version_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=f'format_version is 99, .* reads {FORMAT_VERSION} and'):
        ModelInfo.from_strings(entries_with(format_version=99))


@pytest.mark.parametrize(('changes', 'message'), [
    ({'kind': 'disparity'}, 'disparity'),
    ({'kind': 'metric', 'max_depth_m': None}, 'max_depth_m'),
    ({'mean_rgb': [0.1, 0.2]}, 'mean_rgb'),
    ({'std_rgb': 'grey'}, 'std_rgb'),
    ({'self_check': None}, 'self_check'),
    ({'self_check': {'size_hw': [1, 1]}}, 'self_check'),
    ({'self_check': {'size_hw': [14, 28], 'grid_hw': [2, 2], 'std': 1.0, 'samples': [1.0]}},
     'self_check'),
    ({'input_size': 0}, 'input_size'),
    ({'input_size': '518'}, 'input_size'),
    ({'fixed_size_hw': [392]}, 'fixed_size_hw'),
    ({'quantization': {'method': 'x'}}, 'quantization'),
    ({'output_multiple': 0}, 'output_multiple'),
    ({'output_multiple': '8'}, 'output_multiple'),
    ({'patch_multiple': 1.5}, 'patch_multiple'),
    ({'resize': 'crop'}, 'resize'), ({'interpolation': {}}, 'interpolation'),
    ({'side_limits': [700]}, 'side_limits'), ({'side_limits': [700, 14]}, 'side_limits'),
    ({'has_shift': 'no'}, 'has_shift'), ({'focal_px': 0}, 'focal_px'),
    ({'range_m': [3]}, 'range_m'), ({'range_m': [3, 'x']}, 'range_m'),
    ({'range_m': [3, 2]}, 'range_m'), ({'range_m': [0, 2]}, 'range_m'),
    ({'sky_threshold': '0.3'}, 'sky_threshold'), ({'description': []}, 'description'),
    ({'patch_multiple': 10 ** 9}, 'patch_multiple'),
    ({'max_depth_m': '20'}, 'max_depth_m'),
    ({'max_depth_m': -1.0}, 'max_depth_m'),
    ({'max_depth_m': float('inf')}, 'max_depth_m'),
    ({'source_name': ['a']}, 'source_name'),
    ({'licence': None}, 'licence'),
    ({'encoder': {}}, 'encoder'),
    ({'mean_rgb': [0.5, 0.5, float('nan')]}, 'mean_rgb'),
    ({'mean_rgb': [10 ** 400, 0.5, 0.5]}, 'mean_rgb'),
    ({'std_rgb': [0.5, 0.5, 0.0]}, 'std_rgb'),
    ({'fixed_size_hw': [392, -518]}, 'fixed_size_hw'),
    ({'fixed_size_hw': ['392', 518]}, 'fixed_size_hw'),
    *(({'self_check': {'size_hw': [14, 28], 'grid_hw': [1, 2], 'std': 1.0, 'samples': [1.0, 2.0],
                       **change}}, 'self_check') for change in (
        {'std': float('nan')}, {'samples': [1.0, None]}, {'samples': [1.0, float('inf')]},
        {'size_hw': [1, 1]}, {'size_hw': [16000, 16000]}, {'size_hw': [14, 28.0]},
        {'grid_hw': [-1, -2]}, {'std': -0.1}, {'size_hw': [2, 1]},
        {'size_hw': [1, 2], 'grid_hw': [2, 1]}))])
def test_a_value_that_cannot_work_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelInfo.from_strings(entries_with(**changes))


def test_an_entry_of_endless_depth_is_named() -> None:
    with pytest.raises(ValueError, match='licence is unreadable'):
        ModelInfo.from_strings({**METRIC.to_strings(), 'licence': '[' * 10 ** 5})


@pytest.mark.parametrize('letter', ['\ud800', '\udcff', '\0', '\n', '\x1b'])
def test_letters_that_no_message_and_no_line_of_log_can_hold_are_replaced(letter: str) -> None:
    """A file name that is not UTF-8 becomes a source_name with a lone surrogate."""
    name = f'net{letter} 深度 é.pth'
    info = replace(INT8, source_name=name, licence=name, quantization=replace(
        INT8.quantization, method=name, kept_float=(name,)))  # type: ignore[type-var]
    back = ModelInfo.from_strings(info.to_strings())
    assert back.source_name == back.licence == 'net\ufffd 深度 é.pth'
    assert back.quantization is not None
    assert back.quantization.method == back.quantization.kept_float[0] == back.source_name
    back.source_name.encode()


def test_entries_of_a_later_release_beside_the_known_ones_do_no_harm() -> None:
    assert ModelInfo.from_strings(entries_with(colour='mauve')) == METRIC
