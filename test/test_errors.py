"""Every error says what was found and what to do."""

from pathlib import Path

from depth_anything_ros import errors
import pytest

MESSAGES = [
    (errors.SettingsError('input_size', -3, 'an integer from 0 to 2058'),
     ['input_size', '-3', 'an integer from 0 to 2058']),
    (errors.SettingsError('device', 'TPU', 'CPU'), ["'TPU'", 'it must be CPU']),
    (errors.ModelError('/m/vitb.xml', 'it is truncated', 'copy it again'),
     ['/m/vitb.xml', 'it is truncated', 'copy it again']),
    (errors.CheckpointError(Path('/m/v.pth'), 'it is no checkpoint', 'download it again'),
     ['/m/v.pth', 'it is no checkpoint', 'download it again']),
    (errors.ParityError('vits.xml', (518, 686), 0.0123, 1e-3),
     ['vits.xml', '686x518', '1.23e-02', '1e-03', 'no file was written', '--precision fp32']),
    (errors.DeviceError([('GPU', 'no driver'), ('NPU', 'no such device')], ['CPU', 'GPU.0']),
     ['GPU: no driver', 'NPU: no such device', 'CPU, GPU.0', 'parameter device']),
    (errors.DeviceError([('GPU', 'no driver')], []), ['OpenVINO sees: none']),
    (errors.DeviceError([], ['CPU']), ['none is named', 'OpenVINO sees: CPU']),
    (errors.InferenceTimeoutError('NPU', 2.5), ['NPU', '2.5 s', 'raise request_timeout']),
    (errors.InferenceTimeoutError('NPU', 2.5, at_start=True), ['at the start', 'another device']),
    (errors.MissingDependencyError('torch', 'Converting', 'pip install torch'),
     ['Converting needs torch', 'pip install torch']),
]


@pytest.mark.parametrize(('error', 'parts'), MESSAGES, ids=lambda value: type(value).__name__)
def test_a_message_names_the_fact_and_the_fix_in_one_line(
        error: Exception, parts: list[str]) -> None:
    assert '\n' not in str(error)
    assert [part for part in parts if part not in str(error)] == []


def test_every_error_can_be_caught_by_the_base_of_the_package() -> None:
    raised = [value for value in vars(errors).values()
              if isinstance(value, type) and issubclass(value, Exception)]
    assert len(raised) >= 11
    assert all(issubclass(error, errors.DepthAnythingError) for error in raised)


def test_a_timed_out_frame_is_a_failed_frame() -> None:
    assert issubclass(errors.InferenceTimeoutError, errors.InferenceError)


def test_the_tree_in_the_docstring_shows_every_error() -> None:
    names = [name for name, value in vars(errors).items()
             if isinstance(value, type) and issubclass(value, Exception)]
    assert [name for name in names if name not in (errors.__doc__ or '')] == []


def test_errors_carry_the_facts_as_attributes() -> None:
    assert errors.SettingsError('device', 'TPU', 'CPU').name == 'device'
    assert errors.ModelError('a/b.xml', 'x', 'y').path == Path('a/b.xml')
    assert errors.DeviceError([('GPU', 'no')], []).tried == (('GPU', 'no'),)
    assert errors.MissingDependencyError('torch', 'x', 'y').package == 'torch'


def test_an_interrupt_is_recognised_behind_the_error_that_an_import_makes_of_it() -> None:
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise ImportError('initialization failed') from interrupt
    except ImportError as error:
        assert errors.was_interrupted(error)
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ImportError('initialization failed')  # noqa: B904
    except ImportError as error:
        assert errors.was_interrupted(error)
    assert errors.was_interrupted(KeyboardInterrupt())
    assert not errors.was_interrupted(ImportError('no such module'))
