"""The options of ``depth_anything_app``."""

from pathlib import Path
from typing import Annotated

from depth_anything_ros.cli.options import Device, InputSize, Precision
from depth_anything_ros.resources import shipped_model
import typer

_PAGE, _MODEL = 'Page', 'Model and device'


def make_app() -> typer.Typer:
    """Return the program; its exit status is that of ``server.serve``."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    return app


def command(
    model: Annotated[Path | None, typer.Argument(
        metavar='[MODEL.xml]', help='IR to start with, its .bin beside it.',
        show_default='the model of the package')] = None,
    models: Annotated[Path, typer.Option(
        metavar='FOLDER', rich_help_panel=_MODEL,
        help='Folder of further IRs to choose from.')] = Path('models'),
    input_size: InputSize = 0,
    device: Device = 'CPU',
    precision: Precision = 'auto',
    host: Annotated[str, typer.Option(
        rich_help_panel=_PAGE,
        help='Address to listen on; 0.0.0.0 opens the page to everybody in the network, without a '
        'password.')] = '127.0.0.1',
    port: Annotated[int, typer.Option(
        min=0, max=65535, rich_help_panel=_PAGE,
        help='Port to listen on; 0 chooses a free one, which the program prints.')] = 7860,
    max_upload: Annotated[int, typer.Option(
        '--max-upload', min=1, metavar='MB', rich_help_panel=_PAGE,
        help='Largest file that the page takes.')] = 1000,
) -> None:
    """
    Show a web page that computes the depth of pictures and videos.

    Nothing is loaded from other servers, and nothing is sent to them.
    """
    from depth_anything_ros.app.models import ModelChoice
    from depth_anything_ros.app.server import AppOptions, serve
    raise typer.Exit(serve(AppOptions(
        ModelChoice(model or shipped_model(), input_size, device, precision), models, host, port,
        max_upload)))
