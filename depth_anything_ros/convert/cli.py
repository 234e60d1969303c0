"""Command line: ``depth_anything_convert CHECKPOINT.pth -o models/NAME.xml``."""

import argparse
from collections.abc import Sequence
import importlib.util
from pathlib import Path
import signal
import sys
from types import FrameType

from depth_anything_ros.convert.encoders import ENCODERS, EncoderSpec
from depth_anything_ros.errors import DepthAnythingError, MissingDependencyError

PROGRAM = 'depth_anything_convert'
_PACKAGES = ('numpy', 'cv2', 'torch', 'onnx', 'onnxscript', 'onnxruntime', 'openvino')
_INTERRUPTED, _TERMINATED = 130, 143


def main(argv: Sequence[str] | None = None,
         table: tuple[EncoderSpec, ...] = ENCODERS) -> int:
    """Convert one checkpoint and return the exit status."""
    options = _parser().parse_args(argv)
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        _require_packages()
        _convert(options, table)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {_one_line(error)}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('error: interrupted, no file was written', file=sys.stderr)
        return _INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description='Convert a Depth Anything checkpoint (.pth, official layout) '
        'to an OpenVINO IR and prove that it computes the same.')
    parser.add_argument('checkpoint', type=Path, metavar='CHECKPOINT.pth')
    parser.add_argument('-o', '--output', type=Path, metavar='NAME.xml',
                        help='where to write the IR (models/CHECKPOINT.xml)')
    parser.add_argument('--precision', choices=('fp16', 'fp32'), default='fp16',
                        help='precision of the stored weights (%(default)s)')
    parser.add_argument('--kind', choices=('relative', 'metric'),
                        help='what the network gives; known for official file names')
    parser.add_argument('--max-depth', type=float, metavar='METRES',
                        help='range of a metric network; known for official file names')
    parser.add_argument('--model-version', choices=('v1', 'v2'),
                        help='Depth Anything V1 or V2; known for official file names')
    parser.add_argument('--force', action='store_true', help='replace an IR that exists')
    return parser


def _require_packages() -> None:
    for name in _PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise MissingDependencyError(name, PROGRAM,
                                         "pip install 'depth_anything_ros[convert]'")


def _convert(options: argparse.Namespace, table: tuple[EncoderSpec, ...]) -> None:
    from depth_anything_ros.convert.conversion import convert, Job
    from depth_anything_ros.convert.variants import Asked

    output = options.output or Path('models') / f'{options.checkpoint.stem}.xml'
    asked = Asked(options.kind, options.model_version, options.max_depth)
    done = convert(Job(options.checkpoint, output, options.precision, asked, options.force),
                   table=table)
    size = output.with_suffix('.bin').stat().st_size / 1e6
    print(f'{done.path} is ready ({size:.0f} MB of weights beside it)')


def _terminate(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that temporary files are removed."""
    raise SystemExit(_TERMINATED)


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())


if __name__ == '__main__':
    sys.exit(main())
