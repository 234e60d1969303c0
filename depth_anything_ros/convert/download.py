"""Fetching a published checkpoint from the Hugging Face hub."""

import os
from pathlib import Path

from depth_anything_ros.errors import CheckpointError, MissingDependencyError

DEFAULT_REPOSITORY = 'depth-anything/Depth-Anything-V2-Small'
_HUB = 'https://huggingface.co'
_SIZES = {'Small': 'vits', 'Base': 'vitb', 'Large': 'vitl'}
_PREFIXES = {
    'depth-anything/Depth-Anything-V2-': 'depth_anything_v2_',
    'depth-anything/Depth-Anything-V2-Metric-Hypersim-': 'depth_anything_v2_metric_hypersim_',
    'depth-anything/Depth-Anything-V2-Metric-VKITTI-': 'depth_anything_v2_metric_vkitti_',
}
CHECKPOINT_FILES = {
    repository + size: f'{file}{encoder}.pth'
    for repository, file in _PREFIXES.items() for size, encoder in _SIZES.items()}


def download_checkpoint(name: str, directory: Path) -> Path:
    """
    Return the checkpoint of a hub repository, downloaded into ``directory`` if it is not there.

    A download that broke off is continued. The environment variable HF_ENDPOINT chooses a mirror.
    CheckpointError says how to do it by hand where the hub cannot be reached.
    """
    if name not in CHECKPOINT_FILES:
        raise CheckpointError(name, 'it is not a known repository of checkpoints',
                              f'take one of {", ".join(CHECKPOINT_FILES)}')
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingDependencyError('huggingface_hub', 'downloading a checkpoint',
                                     "pip install 'depth_anything_ros[convert]'") from error
    file = CHECKPOINT_FILES[name]
    endpoint = (os.environ.get('HF_ENDPOINT') or _HUB).rstrip('/')
    url = f'{endpoint}/{name}/resolve/main/{file}'
    try:
        return Path(hf_hub_download(name, file, local_dir=directory, endpoint=endpoint,
                                    token=False))
    # The hub client and the transport below it raise several unrelated types.
    except Exception as error:
        raise CheckpointError(
            url, f'the download failed ({type(error).__name__}: {_first_line(error)})',
            f'check the network, or fetch that file by hand, put it into {directory} and go on '
            'from there') from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip('.') if lines else 'no reason given'
