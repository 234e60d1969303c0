"""The files of a run on a fleet: which there are, and which an earlier run has completed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
import json
from pathlib import Path, PurePosixPath
from typing import Any

from depth_anything_ros.errors import ImageError
from depth_anything_ros.files import make_folder
from depth_anything_ros.fleet import storage
from depth_anything_ros.foreign_files import is_url, read_text
from depth_anything_ros.media import bag_reader, video
from depth_anything_ros.media.folders import picture_suffixes
from depth_anything_ros.media.open_images import list_recordings, recordings_among
from depth_anything_ros.model_info import ModelInfo, Size
from depth_anything_ros.run.fleet_worker import done_name, Picture, Places, Recording
from depth_anything_ros.run.tasks import (
    first_size_hw, make_task, ordered_items, picture_names, recording_name, RunOptions, Task,
    unique_stems)

# Options that change the results; with others than before, all files are computed again.
_FACTS = ('topic', 'frames', 'file_format', 'pred_only', 'color_map', 'fov_deg', 'input_size',
          'device', 'precision')


@dataclass(frozen=True)
class Work:
    """
    The files of a run.

    ``changed_s`` is when they were changed, by place, where that is known without asking for each.
    ``image_hw`` is the size of the first image, None where it is unknown.
    """

    files: Sequence[Picture | Recording]
    changed_s: Mapping[str, float]
    image_hw: Size | None = None


@dataclass(frozen=True)
class Missing:
    """
    The files without a result, and how many images the others have.

    ``continues`` tells whether the output folder has results of the same options.
    """

    files: Sequence[Picture | Recording]
    images_before: int
    continues: bool


def find_files(options: RunOptions, outdir: str, info: ModelInfo) -> Work:
    """Return the files of ``options.source``; ImageError or OSError as ``make_tasks``."""
    if storage.local_path(options.source) is None:
        return _objects(options, outdir)
    if names := _urls_of_list(options.source):
        return _work(names, list(map(storage.whole, names)), options, {})
    return _local_files(options, outdir, info)


def open_places(options: RunOptions, outdir: str) -> Places:
    """Return the places of a run; OSError if nothing can be written to ``outdir``."""
    path = storage.local_path(outdir)
    if path is not None:
        make_folder(path)
    is_list = PurePosixPath(options.source).suffix.lower() == '.txt'
    return Places(None if is_list else storage.whole(options.source), storage.whole(outdir))


def facts_of(options: RunOptions, digest: str) -> bytes:
    """Return what decides the results, as a file; ``digest`` is that of the model."""
    values = asdict(options)
    facts = {'model': digest, **{name: values[name] for name in _FACTS}}
    return json.dumps(facts, indent=2).encode()


def find_missing(work: Work, places: Places, options: RunOptions, facts: bytes) -> Missing:
    """
    Return the files whose results are missing, older than the file, or of other ``facts``.

    ImageError if a result would replace an input, or a bag that this run did not write.
    """
    inputs = {storage.whole(file.place) for file in work.files}
    continues = storage.read(places.facts) == facts
    facts_s = storage.changed_s(places.facts) or 0.0
    results = storage.list_files(places.outdir)
    done = _done_recordings(places, facts_s) if continues else {}
    missing, before = [], 0
    for file in work.files:
        target = file.target if isinstance(file, Picture) else recording_name(
            file.stem, _is_bag(file.place))
        if f'{places.outdir}/{target}' in inputs:
            raise ImageError(f'the output would replace its input {places.outdir}/{target}; '
                             'choose another --outdir')
        changed_s = work.changed_s.get(file.place, 0.0)
        if isinstance(file, Picture):
            found_s = results.get(target, 0.0)
            images = int(continues and found_s > facts_s and found_s >= changed_s)
        else:
            images = _images_of(done.get(done_name(file.stem)), results, changed_s)
            if not images:
                _check_bag(file, places, results, facts_s if continues else None, options)
        before += images
        if not images:
            missing.append(file)
    return Missing(missing, before, continues)


def _local_files(options: RunOptions, outdir: str, info: ModelInfo) -> Work:
    own = storage.local_path(outdir)
    recordings = [name for name in list_recordings(options.source)
                  if own is None or own not in Path(storage.whole(name)).parents]
    if not recordings:
        task = make_task(options, options.source, None)
        if task.source.kind == 'camera':
            raise ImageError(f'{task.source.name} belongs to one machine; leave out --ray')
        if task.source.kind == 'images':
            return _local_pictures(task, options, info)
        recordings = [options.source]
    places = [storage.whole(name) for name in recordings]
    return _work(places, places, options, {
        place: storage.changed_s(place) or 0.0 for place in places})


def _local_pictures(task: Task, options: RunOptions, info: ModelInfo) -> Work:
    files, changed_s = [], {}
    for item in ordered_items(task, info, options.input_size):
        assert item.path is not None
        place = storage.whole(str(item.path))
        files.append(Picture(item.name, place, task.file_of(item).name))
        if item.path.is_file():
            changed_s[place] = item.path.stat().st_mtime
    return Work(files, changed_s, first_size_hw(task, info, options.input_size))


def _objects(options: RunOptions, outdir: str) -> Work:
    source = options.source.rstrip('/')
    if storage.is_file(source):
        if PurePosixPath(source).suffix.lower() == '.txt':
            names = _lines((storage.read(source) or b'').decode(errors='replace'))
            folder = source.rpartition('/')[0]
            return _work(names, [name if is_url(name) else f'{folder}/{name}'
                                 for name in names], options, {})
        return _work([PurePosixPath(source).name], [source], options, {
            source: storage.changed_s(source) or 0.0})
    found = storage.list_files(source)
    if bag_reader.METADATA in found:
        return _work([PurePosixPath(source).name], [source], options, {
            source: max(found.values())})
    inside = f'{storage.whole(outdir)}/'
    found = {name: time_s for name, time_s in found.items()
             if not f'{source}/{name}'.startswith(inside)}
    names = recordings_among(found) or [
        name for name in found if PurePosixPath(name).suffix.lower() in picture_suffixes()]
    if not names:
        raise ImageError(f'{source} holds no image, video or bag')
    newest_s: dict[PurePosixPath, float] = {}
    for name, time_s in found.items():
        path = PurePosixPath(name)
        for place in (path, *path.parents):
            newest_s[place] = max(time_s, newest_s.get(place, time_s))
    places = [f'{source}/{name}' for name in names]
    return _work(names, places, options, {
        place: newest_s[PurePosixPath(name)] for place, name in zip(places, names)})


def _work(names: Sequence[str], places: Sequence[str], options: RunOptions,
          changed_s: Mapping[str, float]) -> Work:
    """Return pictures or recordings by their names; ImageError if a list has both."""
    are_pictures = [PurePosixPath(name).suffix.lower() in picture_suffixes() for name in names]
    if all(are_pictures):
        pairs = list(zip(names, places))[:options.frames]
        targets = picture_names([name for name, _ in pairs], options.file_format)
        return Work([Picture(name, place, target)
                     for (name, place), target in zip(pairs, targets)], changed_s)
    if any(are_pictures):
        raise ImageError(f'{options.source} names pictures and recordings; make a list of each')
    stems = unique_stems(names, lambda name: not _is_file_name(name))
    return Work([Recording(place, stem) for place, stem in zip(places, stems)], changed_s)


def _urls_of_list(source: str) -> list[str]:
    """Return the lines of a list on this machine that names URLs, [] for any other input."""
    path = storage.local_path(source)
    if path is None or path.suffix.lower() != '.txt' or not path.is_file():
        return []
    try:
        lines = _lines(read_text(path))
    except (OSError, ValueError):
        return []
    return lines if any(map(is_url, lines)) else []


def _lines(text: str) -> list[str]:
    lines = map(str.strip, text.splitlines())
    return list(dict.fromkeys(line for line in lines if line and not line.startswith('#')))


def _is_bag(place: str) -> bool:
    return PurePosixPath(place).suffix.lower() not in video.SUFFIXES


def _is_file_name(name: str) -> bool:
    """Return whether a recording is a file; a folder may have a dot in its name."""
    return PurePosixPath(name).suffix.lower() in (*video.SUFFIXES, *bag_reader.SUFFIXES)


def _done_recordings(places: Places, facts_s: float) -> dict[str, tuple[float, dict[str, Any]]]:
    """Return by name when each recording was finished since ``facts_s``, and its record."""
    return {name: (time_s, _json(storage.read(f'{places.done}/{name}')))
            for name, time_s in storage.list_files(places.done).items() if time_s > facts_s}


def _images_of(record: tuple[float, dict[str, Any]] | None, results: Iterable[str],
               changed_s: float) -> int:
    """Return the images of a finished recording whose results are all there, else 0."""
    if record is None or record[0] < changed_s:
        return 0
    found = {name.partition('/')[0] for name in results}
    complete = found.issuperset(record[1].get('results', ['']))
    return int(record[1].get('images', 0)) if complete else 0


def _check_bag(file: Recording, places: Places, results: Mapping[str, float],
               ours_s: float | None, options: RunOptions) -> None:
    """Raise ImageError if a bag exists that was not written since ``ours_s``, without --force."""
    if options.force or options.file_format != 'png8' or not _is_bag(file.place):
        return
    target = recording_name(file.stem, True)
    times = [time_s for name, time_s in results.items() if name.startswith(f'{target}/')]
    if times and (ours_s is None or min(times) <= ours_s):
        raise ImageError(f'{places.outdir}/{target} exists already; add --force to replace it')


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(content or b'{}')
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
