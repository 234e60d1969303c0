"""
The Hugging Face hub, as far as a download needs it.

The hub names the sha256 of a large file and the git blob id of a small one as the file's ETag.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import errno
import logging
import os
from pathlib import Path
import re
import sys

from depth_anything_ros.convert.hub.catalog import nearest_names, Published
from depth_anything_ros.errors import CheckpointError, MissingDependencyError
from depth_anything_ros.networks.models import UNKNOWN_LICENCE

_HUB = 'https://huggingface.co'
_TRUE = ('1', 'ON', 'YES', 'TRUE')
_SHARD = re.compile(r'model-\d+-of-\d+\.safetensors')
_WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
_LICENCES = {'apache-2.0': 'Apache-2.0', 'cc-by-nc-4.0': 'CC-BY-NC-4.0', 'mit': 'MIT'}


@dataclass(frozen=True)
class RemoteFile:
    """
    One file of a repository at one commit.

    ``address`` is where its content is, ``size`` in bytes, 0 where the hub does not say.
    """

    url: str
    name: str
    revision: str
    etag: str
    size: int
    address: str


def endpoint() -> str:
    """Return the address of the hub; the environment variable HF_ENDPOINT chooses a mirror."""
    return (os.environ.get('HF_ENDPOINT') or _HUB).rstrip('/')


def told_to_stay_offline() -> bool:
    """Return whether the environment variable HF_HUB_OFFLINE forbids the network."""
    return os.environ.get('HF_HUB_OFFLINE', '').upper() in _TRUE


def require_client() -> None:
    """Raise MissingDependencyError where the hub's client is not installed."""
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError('huggingface_hub', 'downloading a checkpoint',
                                     "pip install 'depth_anything_ros[convert]'") from error


def look_up(checkpoint: Published, folder: Path) -> tuple[RemoteFile, ...]:
    """
    Ask the hub for commit, ETag and size of each file.

    CheckpointError names the address and how to fetch it by hand into ``folder``.
    """
    from huggingface_hub import get_hf_file_metadata
    found = []
    for name in checkpoint.files:
        url = f'{endpoint()}/{checkpoint.repository}/resolve/main/{name}'
        try:
            answer = get_hf_file_metadata(url, token=False, timeout=10)
        # The hub's client and the transport below it raise several unrelated types.
        except Exception as error:
            raise _failed(url, folder, error) from error
        if not answer.commit_hash or not answer.etag:
            raise CheckpointError(url, 'what answers there is no hub (it names neither commit nor '
                                  'ETag)', 'check HF_ENDPOINT')
        found.append(RemoteFile(url, name, answer.commit_hash, answer.etag, answer.size or 0,
                                answer.location))
    return tuple(found)


def describe_repository(repository: str) -> Published:
    """
    Return the checkpoint that a repository outside the table holds.

    CheckpointError if the hub cannot be reached or holds no such thing there.
    """
    from huggingface_hub import HfApi
    url = f'{endpoint()}/{repository}'
    try:
        info = HfApi(endpoint=endpoint(), token=False).model_info(repository, timeout=10)
    # The hub's client and the transport below it raise several unrelated types.
    except Exception as error:
        raise CheckpointError(
            url, f'the hub could not be asked ({_reason(error)})', 'check the network and the '
            f'name; published are, for example, {", ".join(nearest_names(repository))}') from error
    names = sorted(sibling.rfilename for sibling in info.siblings or [])
    files = _choose(names)
    if not files:
        raise CheckpointError(
            url, f'it holds no checkpoint that is known by its name ({", ".join(names[:5])})',
            'fetch the file by hand and give its path')
    evidence = [tag.removeprefix('license:') for tag in info.tags or [] if 'license:' in tag]
    licence = _LICENCES.get(evidence[0], evidence[0]) if evidence else UNKNOWN_LICENCE
    saved_as = files[0] if len(files) == 1 else repository.split('/')[1]
    return Published(repository, repository, files, saved_as, licence)


def fetch_file(remote: RemoteFile, folder: Path) -> None:
    """
    Download one file into ``folder``, going on where an earlier try broke off.

    CheckpointError says how to do it by hand where that fails.
    """
    part = folder / f'{remote.name}.{remote.etag}.part'
    part.touch()
    while not remote.size or part.stat().st_size < remote.size:
        there = part.stat().st_size
        try:
            _append(remote, part)
            break
        # The hub's client and the transport below it raise several unrelated types.
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise CheckpointError(folder, 'the disk is full', 'free some space') from error
            if not remote.size or part.stat().st_size <= there:
                raise _failed(remote.url, folder.parent, error) from error
    os.replace(part, folder / remote.name)


def _append(remote: RemoteFile, part: Path) -> None:
    """Fetch what is missing; the client's own download would begin anew with each run."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers
    with part.open('ab' if remote.size else 'wb') as file, _progress():
        http_get(remote.address, file, resume_size=file.tell(),
                 headers=build_hf_headers(token=False), displayed_filename=remote.name,
                 expected_size=remote.size or None)


def find_cached(checkpoint: Published, revision: str = 'main') -> dict[str, Path] | None:
    """Return where the hub's own cache on this machine holds every file, else None."""
    from huggingface_hub import try_to_load_from_cache
    found = {}
    for name in checkpoint.files:
        path = try_to_load_from_cache(checkpoint.repository, name, revision=revision)
        if not isinstance(path, str):
            return None
        found[name] = Path(path)
    return found


def _choose(names: list[str]) -> tuple[str, ...]:
    """Return the files that make the checkpoint, the folder of a Hugging Face model first."""
    shards = tuple(name for name in names if _SHARD.fullmatch(name))
    if 'config.json' in names:
        for weights in _WEIGHTS:
            if weights in names:
                return 'config.json', weights
        if shards:
            return ('config.json', 'model.safetensors.index.json', *shards)
    single = [name for name in names if name.endswith(('.pth', '.safetensors'))]
    return (single[0],) if len(single) == 1 else ()


@contextmanager
def _progress() -> Iterator[None]:
    """Show the client's bars and remarks to people only."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled, disable_progress_bars, enable_progress_bars)
    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    logger = logging.getLogger('huggingface_hub')
    level = logger.level
    logger.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
        logger.setLevel(level)


def _failed(url: str, folder: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        url, f'the download failed ({_reason(error)})',
        f'check the network, or fetch that file by hand, put it into {folder} and go on from '
        'there')


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0].rstrip(".") if lines else "no reason given"}'
