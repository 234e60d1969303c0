"""The subcommand ``quantize``: an IR in floating point to one in INT8 behind a gate."""

from pathlib import Path
from typing import Annotated

from depth_anything_ros.cli.progress import open_console, StepReport
from depth_anything_ros.convert.commands.options import MODELS_FOLDER, require, TrainOption
import typer

EXAMPLES = """depth_anything_convert quantize models/small.xml --images my_photos
depth_anything_convert quantize models/small.xml --images drive.mcap --topic /front/image_raw
depth_anything_convert quantize models/small.xml --images drive --gate-images test_photos
depth_anything_convert quantize models/small.xml --images my_photos --train --limit 200
depth_anything_convert quantize models/small.xml --images my_photos --smooth-quant 0.7"""


def command(
        source: Annotated[Path, typer.Argument(
            metavar='MODEL.xml', help='An IR with fp16 or fp32 weights.')],
        images: Annotated[str, typer.Option(
            '--images', help='Images like those of your camera: a folder, list, video or ROS 2 '
            'bag.')],
        output: Annotated[Path | None, typer.Option(
            '--output', '-o', metavar='NAME.xml', help='Where to write the IR.',
            show_default='models/MODEL_int8.xml')] = None,
        topic: Annotated[str | None, typer.Option(
            '--topic', help='Image topic of a bag that has several.')] = None,
        gate_images: Annotated[str | None, typer.Option(
            '--gate-images', help='Images to measure the loss on.',
            show_default='every fourth of --images, not used for calibration')] = None,
        limit: Annotated[int, typer.Option(
            '--limit', min=4, help='Largest number of images, evenly spread.')] = 40,
        input_size: Annotated[int | None, typer.Option(
            '--input-size', min=14, metavar='PX',
            help="Short side of the network's input while this is measured.",
            show_default="the model's own, at most 392")] = None,
        abs_rel_mean: Annotated[float, typer.Option(
            '--abs-rel-mean', min=1e-6, help='Largest loss allowed: aligned AbsRel, mean of the '
            'images.')] = 0.012,
        abs_rel_max: Annotated[float, typer.Option(
            '--abs-rel-max', min=1e-6, help='The same for the worst image.')] = 0.03,
        pearson_min: Annotated[float, typer.Option(
            '--pearson-min', max=0.999999,
            help='Smallest correlation allowed, worst image.')] = 0.995,
        smooth_quant: Annotated[float, typer.Option(
            '--smooth-quant', min=0.0, max=1.0, metavar='ALPHA',
            help='Share of the range of activations that moves into the weights.')] = 0.6,
        train: TrainOption = False,
        train_steps: Annotated[int, typer.Option(
            '--train-steps', min=1, metavar='N', help='Number of training steps.')] = 400,
        force: Annotated[bool, typer.Option(
            '--force', help='Replace an output that exists; write the best model found even if '
            'it misses the gate.')] = False) -> None:
    """
    Quantize an IR to INT8 within limits for the loss.

    Every layer is quantized first. If the loss against the model's own f32 depth is too large, the
    layers that lose the most for the time they save go without fixed ranges: matrix products are
    then quantized dynamically, others run in floating point. With --train the weights are trained
    in INT8 first. The IR records these layers and the loss.
    """
    require('numpy', 'cv2', 'openvino', 'nncf', 'torch')
    from depth_anything_ros.convert.quantize.gate import Gate
    from depth_anything_ros.convert.quantize.quantize import quantize, QuantizeJob
    from depth_anything_ros.convert.quantize.training import TrainingOptions
    gate = Gate(abs_rel_mean, abs_rel_max, pearson_min)
    target = output or MODELS_FOLDER / f'{source.stem}_int8.xml'
    with StepReport(open_console()) as report:
        done = quantize(QuantizeJob(source, target, images, topic, gate_images, gate, input_size,
                                    limit, force, force,
                                    TrainingOptions(train_steps) if train else None,
                                    smooth_quant),
                        report=report)
    trial = done.trials[-1]
    print(f'{done.path} is ready: {trial.loss}, {trial.speedup:.2f} times as fast as {source}')
