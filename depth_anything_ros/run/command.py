"""The options of ``depth_anything_run``."""

from pathlib import Path
from typing import Annotated

from depth_anything_ros.cli.options import Device, InputSize, Precision, RayAddress, RayCpus
from depth_anything_ros.resources import shipped_model
from depth_anything_ros.run.tasks import OutputFormat, RunOptions
from depth_anything_ros.vision.colorize import ColorMap
import typer

_INPUT, _OUTPUT, _MODEL = 'Input', 'Output', 'Model and device'


def make_app() -> typer.Typer:
    """Return the program; its exit status is that of ``run.job.run``."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    return app


def command(
    source: Annotated[str, typer.Option(
        '--input', '--img-path', '--video-path', metavar='X', rich_help_panel=_INPUT,
        help='Image, folder of images (recursive), list of paths (.txt), video, camera (number '
        'or /dev/videoN), or ROS 2 bag (folder, .mcap or .db3).')],
    model: Annotated[Path | None, typer.Argument(
        metavar='[MODEL.xml]', help='IR that depth_anything_convert made, its .bin beside it.',
        show_default='the model of the package')] = None,
    topic: Annotated[str | None, typer.Option(
        rich_help_panel=_INPUT, help='Image topic of a bag that has several.')] = None,
    frames: Annotated[int | None, typer.Option(
        min=1, rich_help_panel=_INPUT, help='Stop after this number of images.')] = None,
    outdir: Annotated[str, typer.Option(
        metavar='FOLDER', rich_help_panel=_OUTPUT, help='Folder for the results.')] = 'vis_depth',
    output_format: Annotated[OutputFormat, typer.Option(
        '--format', rich_help_panel=_OUTPUT,
        help='png8: coloured pictures, a video as mp4, a bag as a bag with depth topics. The '
        'others make one file per image. png16: millimetres (metric model) or inverse depth '
        'stretched to 16 bits (relative model); npy, pfm: float32 values; ply: coloured point '
        'cloud.')] = 'png8',
    pred_only: Annotated[bool, typer.Option(
        '--pred-only', rich_help_panel=_OUTPUT,
        help='Depth without the image beside it.')] = False,
    grayscale: Annotated[bool, typer.Option(
        '--grayscale', rich_help_panel=_OUTPUT, help='The same as --colormap gray.')] = False,
    colormap: Annotated[ColorMap, typer.Option(
        rich_help_panel=_OUTPUT, help='Colours of pictures and videos.')] = 'spectral_r',
    fov: Annotated[float | None, typer.Option(
        min=1.0, max=179.0, metavar='DEGREES', rich_help_panel=_OUTPUT,
        help='Horizontal field of view of the camera: for ply, by default 60, and for the metres '
        'of a model that needs the focal length.')] = None,
    force: Annotated[bool, typer.Option(
        '--force', rich_help_panel=_OUTPUT, help='Replace an existing bag.')] = False,
    input_size: InputSize = 0,
    encoder: Annotated[str | None, typer.Option(
        rich_help_panel=_MODEL,
        help='vits, vitb, vitl or vitg. Without MODEL.xml: run '
        'models/depth_anything_v2_ENCODER.xml. With it: refuse a model with another '
        'encoder.')] = None,
    device: Device = 'CPU',
    precision: Precision = 'auto',
    requests: Annotated[int, typer.Option(
        min=0, max=8, rich_help_panel=_MODEL,
        help='Images that the device computes at the same time; 0 lets it choose.')] = 0,
    ray: RayAddress = None,
    ray_cpus: RayCpus = 0,
) -> None:
    """
    Compute the depth of images, folders, lists, videos, cameras and ROS 2 bags.

    The results have the names and the appearance of the reference tools run.py and run_video.py.
    """
    options = RunOptions(
        model=model or _default_model(encoder),
        source=source, topic=topic, frames=frames, outdir=Path(outdir), file_format=output_format,
        pred_only=pred_only, color_map='gray' if grayscale else colormap, fov_deg=fov,
        force=force, input_size=input_size, encoder=encoder, device=device, precision=precision,
        requests=requests)
    if ray is not None:
        from depth_anything_ros.fleet.cluster import FleetOptions
        from depth_anything_ros.run.fleet_job import run_on_fleet
        raise typer.Exit(run_on_fleet(options, outdir, FleetOptions(ray, ray_cpus)))
    from depth_anything_ros.run.job import run
    raise typer.Exit(run(options))


def _default_model(encoder: str | None) -> Path:
    return shipped_model() if encoder is None else Path(f'models/depth_anything_v2_{encoder}.xml')
