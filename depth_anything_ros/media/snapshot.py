"""One frame as files in a folder: image, depth, colours, cloud, and what belongs to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
from pathlib import Path

from depth_anything_ros.media.depth_files import encode_pfm, encode_png
from depth_anything_ros.media.writing import staged_folder
from depth_anything_ros.vision.depth import millimetres
from depth_anything_ros.vision.pictures import write_ply
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Snapshot:
    """
    One frame: BGR images [H, W, 3], maps [H, W], a cloud [..., 3 or 4], None where unknown.

    ``model_depth`` is what the model gives, ``depth_m`` metres with NaN where invalid. ``facts``
    become info.json.
    """

    image_bgr: U8
    color_bgr: U8
    model_depth: F32
    depth_m: F32 | None
    cloud: F32 | None
    facts: Mapping[str, object] = field(default_factory=dict)


def write_snapshot(folder: Path, snapshot: Snapshot) -> list[str]:
    """
    Make ``folder``, or replace it, and return the names of the files in it.

    They appear all at once or not at all; OSError where the disk does not allow it.
    """
    with staged_folder(folder) as staged:
        staged.mkdir()
        (staged / 'image.png').write_bytes(encode_png(snapshot.image_bgr))
        (staged / 'color.png').write_bytes(encode_png(snapshot.color_bgr))
        (staged / 'model_depth.pfm').write_bytes(encode_pfm(snapshot.model_depth))
        if snapshot.depth_m is not None:
            (staged / 'depth_m.pfm').write_bytes(encode_pfm(snapshot.depth_m))
            (staged / 'depth_mm.png').write_bytes(encode_png(millimetres(snapshot.depth_m)))
        if snapshot.cloud is not None:
            write_ply(staged / 'cloud.ply', snapshot.cloud)
        (staged / 'info.json').write_text(
            json.dumps(snapshot.facts, indent=2) + '\n', encoding='utf-8')
        return sorted(path.name for path in staged.iterdir())
