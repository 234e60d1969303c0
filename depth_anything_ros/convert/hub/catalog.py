"""
The published checkpoints of the family: their repositories, short names and licences.

Source: the pages of the repositories on the Hugging Face hub. vitg was announced, never published.
"""

from collections.abc import Iterator
from dataclasses import dataclass
import difflib
import re

from depth_anything_ros.networks.models import (
    forbids_commercial_use, LICENCE_V1, MODELS, UNKNOWN_LICENCE)

_SIZES = {'vits': 'Small', 'vitb': 'Base', 'vitl': 'Large'}
_DATASETS = {'hypersim': 'Indoor', 'vkitti': 'Outdoor'}
_HF_FILES = ('config.json', 'model.safetensors')
_OWNER = 'depth-anything'
_OWNER_V1 = 'LiheYoung'
_HUB_ID = re.compile(r'[\w-][\w.-]*/[\w-][\w.-]*')


@dataclass(frozen=True)
class Published:
    """
    One checkpoint on the hub.

    ``files`` are the names in the repository; ``saved_as`` is the name of the downloaded file, or
    of the folder where there are several files.
    """

    name: str
    repository: str
    files: tuple[str, ...]
    saved_as: str
    licence: str = UNKNOWN_LICENCE

    @property
    def is_folder(self) -> bool:
        """Return whether it is a folder of several files."""
        return len(self.files) > 1

    @property
    def non_commercial(self) -> bool:
        """Return whether the licence forbids commercial use."""
        return forbids_commercial_use(self.licence)


def published() -> tuple[Published, ...]:
    """Return every published checkpoint."""
    return tuple(_rows())


def find_published(name: str) -> Published | None:
    """Return the checkpoint of this short name or hub id, None if it is not in the table."""
    return next((row for row in _rows() if name in (row.name, row.repository)), None)


def is_hub_id(name: str) -> bool:
    """Return whether a text has the form owner/name."""
    return _HUB_ID.fullmatch(name) is not None


def nearest_names(name: str) -> list[str]:
    """Return the names of the table that look most like ``name``, the short ones at least."""
    short = [row.name for row in _rows()]
    known = short + [row.repository for row in _rows()]
    return difflib.get_close_matches(name, known, 3, 0.7) or [
        row for row in short if not row.endswith('-hf')]


def _rows() -> Iterator[Published]:
    licences = {spec.name: spec.licence for spec in MODELS}
    for encoder, size in _SIZES.items():
        licence = licences[encoder]
        stem = 'Depth-Anything-V2'
        yield _single(encoder, f'{_OWNER}/{stem}-{size}', f'depth_anything_v2_{encoder}.pth',
                      licence)
        yield _folder(f'{encoder}-hf', f'{_OWNER}/{stem}-{size}-hf', licence)
        for dataset, place in _DATASETS.items():
            name = f'metric-{dataset}-{encoder}'
            title = 'VKITTI' if dataset == 'vkitti' else dataset.capitalize()
            yield _single(name, f'{_OWNER}/{stem}-Metric-{title}-{size}',
                          f'depth_anything_v2_metric_{dataset}_{encoder}.pth', licence)
            yield _folder(f'{name}-hf', f'{_OWNER}/{stem}-Metric-{place}-{size}-hf', licence)
        v1 = f'depth_anything_{encoder}14'
        yield Published(f'v1-{encoder}', f'{_OWNER_V1}/{v1}', ('pytorch_model.bin',), f'{v1}.pth',
                        LICENCE_V1)
        yield _folder(f'v1-{encoder}-hf', f'{_OWNER_V1}/depth-anything-{size.lower()}-hf',
                      LICENCE_V1)
    for da3 in ('mono', 'metric'):
        yield _folder(f'da3-{da3}', f'{_OWNER}/DA3{da3.upper()}-LARGE', licences['da3_vitl'])


def _single(name: str, repository: str, file: str, licence: str) -> Published:
    return Published(name, repository, (file,), file, licence)


def _folder(name: str, repository: str, licence: str) -> Published:
    return Published(name, repository, _HF_FILES, repository.split('/')[1], licence)
