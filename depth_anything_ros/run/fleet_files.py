"""The files of a run on a fleet: which there are, and which an earlier run has completed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
import hashlib
import json
import os
from pathlib import PurePath, PurePosixPath
from typing import Any

from depth_anything_ros.errors import ImageError, line_of
from depth_anything_ros.files import make_folder
from depth_anything_ros.fleet import storage
from depth_anything_ros.foreign_files import is_url
from depth_anything_ros.media import bag_reader, video
from depth_anything_ros.media.folders import names_in_list, picture_suffixes
from depth_anything_ros.media.open_images import left_out_among, recordings_among
from depth_anything_ros.model_info import ModelInfo, Size
from depth_anything_ros.run.fleet_worker import done_name, Picture, Places, Recording
from depth_anything_ros.run.tasks import (
    check_bag_target, check_inputs_stay, files_left_out, first_size_hw, make_task, ordered_items,
    picture_names, recording_name, recordings_of, result_test, RunOptions, stem_of, Task,
    unique_stems)

# Options that change the results; with others than before, all files are computed again.
_FACTS = ('topic', 'frames', 'file_format', 'pred_only', 'color_map', 'fov_deg', 'input_size',
          'device', 'precision')


@dataclass(frozen=True)
class Work:
    """
    The files of a run.

    ``changed_s`` is when they were changed, by place, where that is known without asking for each.
    ``image_hw`` is the size of the first image, None where it is unknown. ``left_out`` are the
    files of the input folder that are not read.
    """

    files: Sequence[Picture | Recording]
    changed_s: Mapping[str, float]
    image_hw: Size | None = None
    left_out: Sequence[PurePath] = ()


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
    if _is_list(options.source) and (listed := _listed(options)):
        return listed
    if storage.local_path(options.source) is None:
        return _objects(options, outdir)
    return _local_files(options, outdir, info)


def open_places(options: RunOptions, outdir: str) -> Places:
    """Return the places of a run; OSError if nothing can be written to ``outdir``."""
    path = storage.local_path(outdir)
    if path is not None:
        make_folder(path)
    return Places(None if _is_list(options.source) else storage.whole(options.source),
                  storage.whole(outdir))


def facts_of(options: RunOptions, digest: str) -> bytes:
    """Return what decides the results, as a file; ``digest`` is that of the model."""
    values = asdict(options)
    facts = {'model': digest, 'source': str(storage.real(options.source)),
             **{name: values[name] for name in _FACTS}}
    if _is_list(options.source):
        facts['list'] = hashlib.sha256(storage.read(options.source) or b'').hexdigest()
    return json.dumps(facts, indent=2).encode()


def find_missing(work: Work, places: Places, options: RunOptions, facts: bytes) -> Missing:
    """
    Return the files whose results are missing, older than the file, or of other ``facts``.

    ImageError if a result would replace an input, or a bag that this run did not write.
    """
    check_inputs_stay([file.place for file in work.files], [
        f'{places.outdir}/{target}' for file in work.files if (target := _target(file, options))])
    continues = storage.read(places.facts) == facts
    facts_s = storage.changed_s(places.facts) or 0.0
    results = storage.list_files(places.outdir)
    done = _done_recordings(places, facts_s) if continues else {}
    missing, before = [], 0
    for file in work.files:
        changed_s = work.changed_s.get(file.place, 0.0)
        if isinstance(file, Picture):
            found_s = results.get(file.target, 0.0)
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
    recordings = recordings_of(options.source, outdir)
    stems = unique_stems(recordings, os.path.isdir)
    if not recordings:
        # Whether an existing bag may be replaced is decided later, by the facts of its run.
        task = make_task(replace(options, force=True), options.source, None)
        if task.source.kind == 'camera':
            raise ImageError(f'{task.source.name} belongs to one machine; leave out --ray')
        if task.source.kind == 'images':
            return _local_pictures(task, options, outdir, info)
        recordings, stems = [options.source], [stem_of(task.source, options.source)]
    places = [storage.whole(name) for name in recordings]
    return Work([Recording(place, stem) for place, stem in zip(places, stems)],
                {place: storage.changed_s(place) or 0.0 for place in places},
                left_out=files_left_out(options.source, outdir))


def _local_pictures(task: Task, options: RunOptions, outdir: str, info: ModelInfo) -> Work:
    files, changed_s = [], {}
    for item in ordered_items(task, info, options.input_size):
        assert item.path is not None
        place = storage.whole(str(item.path))
        files.append(Picture(item.name, place, task.file_of(item).name))
        if item.path.is_file():
            changed_s[place] = item.path.stat().st_mtime
    return Work(files, changed_s, first_size_hw(task, info, options.input_size),
                files_left_out(options.source, outdir))


def _objects(options: RunOptions, outdir: str) -> Work:
    source = options.source.rstrip('/')
    if storage.is_file(source):
        return _work([PurePosixPath(source).name], [source], options, lambda name: False, {
            source: storage.changed_s(source) or 0.0})
    found = storage.list_files(source)
    if bag_reader.METADATA in found:
        return Work([Recording(source, PurePosixPath(source).name)], {
            source: max(found.values())})
    is_result = result_test(source, outdir)
    found = {name: time_s for name, time_s in found.items()
             if not is_result(f'{source}/{name}')}
    suffixes = picture_suffixes()
    names = recordings_among(found) or [
        name for name in found if PurePosixPath(name).suffix.lower() in suffixes]
    if not names:
        raise ImageError(f'{source} holds no image, video or bag')
    newest_s: dict[PurePosixPath, float] = {}
    for name, time_s in found.items():
        path = PurePosixPath(name)
        for place in (path, *path.parents):
            newest_s[place] = max(time_s, newest_s.get(place, time_s))
    places = [f'{source}/{name}' for name in names]
    work = _work(names, places, options, lambda name: name not in found, {
        place: newest_s[PurePosixPath(name)] for place, name in zip(places, names)})
    return replace(work, left_out=[PurePosixPath(name) for name in left_out_among(found)])


def _work(names: Sequence[str], places: Sequence[str], options: RunOptions,
          is_folder: Callable[[str], bool], changed_s: Mapping[str, float]) -> Work:
    """Return pictures or recordings by their names; ImageError if a list has both."""
    suffixes = picture_suffixes()
    are_pictures = [PurePosixPath(name).suffix.lower() in suffixes for name in names]
    if all(are_pictures):
        pairs = list(zip(names, places))[:options.frames]
        targets = picture_names([name for name, _ in pairs], options.file_format)
        return Work([Picture(name, place, target)
                     for (name, place), target in zip(pairs, targets)], changed_s)
    if any(are_pictures):
        raise ImageError(f'{options.source} names pictures and recordings; make a list of each')
    stems = unique_stems(names, is_folder)
    return Work([Recording(place, stem) for place, stem in zip(places, stems)], changed_s)


def _is_list(source: str) -> bool:
    return PurePosixPath(source).suffix.lower() == '.txt' and storage.is_file(source)


def _listed(options: RunOptions) -> Work | None:
    """Return the files that a list of URLs or a list in an object store names, else None."""
    is_local = storage.local_path(options.source) is not None
    try:
        names = names_in_list(storage.read(options.source) or b'', options.source)
    except OSError as error:
        raise ImageError(f'{options.source} cannot be read ({line_of(error)})') from error
    if is_local and not any(map(is_url, names)):
        return None
    if not names:
        raise ImageError(f'{options.source} is empty; write one path a line')
    folder = options.source.rpartition('/')[0] or '.'
    # A local path may be relative to here, as in the plain run.
    places = [storage.whole(name if is_url(name) or is_local and os.path.exists(name)
                            else f'{folder}/{name}') for name in names]
    return _work(names, places, options, lambda name: not _is_file_name(name), {})


def _target(file: Picture | Recording, options: RunOptions) -> str | None:
    """Return the name of the result, None where the frames become files."""
    if isinstance(file, Picture):
        return file.target
    return (recording_name(file.stem, _is_bag(file.place)) if options.file_format == 'png8'
            else None)


def _is_bag(place: str) -> bool:
    return PurePosixPath(place).suffix.lower() not in video.SUFFIXES


def _is_file_name(name: str) -> bool:
    """Return whether a recording is a file by its name; a folder may have a dot in it."""
    return not name.endswith('/') and PurePosixPath(name).suffix.lower() in (
        *video.SUFFIXES, *bag_reader.SUFFIXES)


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
    """Raise ImageError if a bag must stay; one that was written since ``ours_s`` need not."""
    target = _target(file, options)
    found = {name.removeprefix(f'{target}/'): time_s for name, time_s in results.items()
             if name.startswith(f'{target}/')}
    if found and _is_bag(file.place):
        is_ours = ours_s is not None and min(found.values()) > ours_s
        check_bag_target(f'{places.outdir}/{target}', found, options.force or is_ours)


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(content or b'{}')
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
