"""The options of ``depth_anything_run``."""

from pathlib import Path
from typing import Annotated

from depth_anything_ros.model_info import ExecutionPrecision
from depth_anything_ros.resources import shipped_model
from depth_anything_ros.run.options import ColorMap, OutputFormat, RunOptions
import typer

_INPUT, _OUTPUT, _RUNTIME = 'Input', 'Output', 'Model and device'


def make_app() -> typer.Typer:
    """Return the program; its exit status is that of ``running.job.run``."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    return app


def command(
    source: Annotated[str, typer.Option(
        '--input', '--img-path', '--video-path', metavar='X', rich_help_panel=_INPUT,
        help='Image, folder of images (recursive), list of paths (.txt), video, camera number, '
        'or ROS 2 bag (folder, .mcap or .db3).')],
    model: Annotated[Path | None, typer.Argument(
        metavar='[MODEL.xml]', help='IR that depth_anything_convert made, its .bin beside it.',
        show_default='the one that the package brings')] = None,
    topic: Annotated[str | None, typer.Option(
        rich_help_panel=_INPUT, help='Image topic of a bag that has several.')] = None,
    frames: Annotated[int | None, typer.Option(
        min=1, rich_help_panel=_INPUT, help='End after this many images.')] = None,
    outdir: Annotated[Path, typer.Option(
        rich_help_panel=_OUTPUT, help='Folder for the results.')] = Path('vis_depth'),
    output_format: Annotated[OutputFormat, typer.Option(
        '--format', rich_help_panel=_OUTPUT,
        help='png8: pictures for people, a video as mp4, a bag as a bag with depth topics. The '
        'others make one file per image: png16 millimetres (metric) or the stretched range '
        '(relative), npy and pfm the values as they are, ply a coloured cloud.')] = 'png8',
    pred_only: Annotated[bool, typer.Option(
        '--pred-only', rich_help_panel=_OUTPUT,
        help='Depth without the image beside it.')] = False,
    grayscale: Annotated[bool, typer.Option(
        '--grayscale', rich_help_panel=_OUTPUT, help='The same as --colormap gray.')] = False,
    colormap: Annotated[ColorMap, typer.Option(
        rich_help_panel=_OUTPUT, help='Colours of pictures and videos.')] = 'spectral_r',
    fov: Annotated[float, typer.Option(
        min=1.0, max=179.0, metavar='DEGREES', rich_help_panel=_OUTPUT,
        help='Horizontal field of view of the camera, for ply.')] = 60.0,
    force: Annotated[bool, typer.Option(
        '--force', rich_help_panel=_OUTPUT, help='Replace a bag that exists.')] = False,
    input_size: Annotated[int, typer.Option(
        min=0, max=2058, metavar='PX', rich_help_panel=_RUNTIME,
        help="Short side of the network's input; 0 takes the model's.")] = 0,
    encoder: Annotated[str | None, typer.Option(
        rich_help_panel=_RUNTIME,
        help='vits, vitb, vitl or vitg: where no model is named, takes '
        'models/depth_anything_v2_ENCODER.xml, else refuses one of another encoder.')] = None,
    device: Annotated[str, typer.Option(
        rich_help_panel=_RUNTIME,
        help='OpenVINO devices in order of preference, separated by commas.')] = 'CPU',
    precision: Annotated[ExecutionPrecision, typer.Option(
        rich_help_panel=_RUNTIME,
        help='Execution precision; auto lets the device choose.')] = 'auto',
    requests: Annotated[int, typer.Option(
        min=0, max=8, rich_help_panel=_RUNTIME,
        help='Images in flight on the device; 0 lets it choose.')] = 0,
) -> None:
    """
    Compute the depth of images, folders, lists, videos, cameras and ROS 2 bags.

    Names and looks of the results are those of the reference tools run.py and run_video.py.
    """
    from depth_anything_ros.run.job import run
    raise typer.Exit(run(RunOptions(
        model=model or _default_model(encoder),
        source=source, topic=topic, frames=frames, outdir=outdir, file_format=output_format,
        pred_only=pred_only, color_map='gray' if grayscale else colormap, fov_deg=fov,
        force=force, input_size=input_size, encoder=encoder, device=device, precision=precision,
        requests=requests)))


def _default_model(encoder: str | None) -> Path:
    return shipped_model() if encoder is None else Path(f'models/depth_anything_v2_{encoder}.xml')
