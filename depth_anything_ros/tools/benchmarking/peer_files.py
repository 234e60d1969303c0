"""The files that users of other software start from, all made from one checkpoint."""

from pathlib import Path
from typing import Any

from depth_anything_ros.convert.network.encoders import ENCODERS, EncoderSpec
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.tools.benchmarking.transformers_model import load_transformers_model

# Each is made from the one before.
HUB, ONNX, IR = 'transformers', 'naive.onnx', 'naive.xml'
FILES = (HUB, ONNX, IR)


def make_files(checkpoint: Path, info: ModelInfo, folder: Path, network_hw: tuple[int, int],
               last: str, table: tuple[EncoderSpec, ...] = ENCODERS) -> None:
    """
    Write FILES into ``folder``, up to ``last``; ``info`` says what the checkpoint is.

    A folder as the hub has it; an ONNX file of that model for one image of ``network_hw``, as
    ``torch.onnx.export`` makes it; and the IR that ``ovc`` makes of that. Errors are those of the
    libraries, CheckpointError and MissingDependencyError; what was made before stays.
    """
    model = load_transformers_model(checkpoint, info, table)
    model.save_pretrained(folder / HUB)
    if last != HUB:
        _export(model, folder / ONNX, network_hw)
    if last == IR:
        import openvino

        openvino.save_model(openvino.convert_model(folder / ONNX), folder / IR)


def _export(model: Any, path: Path, network_hw: tuple[int, int]) -> None:
    import torch

    torch.onnx.export(model, (torch.zeros(1, 3, *network_hw),), path, dynamo=True, verbose=False,
                      input_names=['pixel_values'], output_names=['predicted_depth'])
