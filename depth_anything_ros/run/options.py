"""What a user asks ``depth_anything_run`` for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from depth_anything_ros.model_info import ExecutionPrecision

OutputFormat = Literal['png8', 'png16', 'npy', 'pfm', 'ply']
ColorMap = Literal['spectral_r', 'inferno', 'magma', 'viridis', 'turbo', 'gray']


@dataclass(frozen=True)
class RunOptions:
    """
    One run: a model, what goes in, what comes out.

    ``input_size`` 0 takes the model's, ``requests`` 0 lets the device choose, ``frames`` None
    takes all; ``encoder`` is what a script expects the model to be.
    """

    model: Path
    source: str
    topic: str | None = None
    frames: int | None = None
    outdir: Path = Path('vis_depth')
    file_format: OutputFormat = 'png8'
    pred_only: bool = False
    color_map: ColorMap = 'spectral_r'
    fov_deg: float = 60.0
    force: bool = False
    input_size: int = 0
    encoder: str | None = None
    device: str = 'CPU'
    precision: ExecutionPrecision = 'auto'
    requests: int = 0
