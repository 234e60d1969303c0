"""Opens whatever a user names: a picture, a folder, a list, a video, a camera or a bag."""

from collections.abc import Callable, Iterable
import os
from pathlib import Path, PurePosixPath
import re

from depth_anything_ros.errors import ImageError
from depth_anything_ros.foreign_files import is_pipe_or_device, is_url
from depth_anything_ros.media import bag_reader, folders, pictures, video
from depth_anything_ros.media.source import ImageSource


def open_images(name: str, topic: str | None = None) -> ImageSource:
    """
    Return the images of a file, folder, list (.txt), video, camera or ROS 2 bag.

    A camera is a number or a device such as /dev/video0. ``topic`` selects one of several image
    topics of a bag. ImageError names what is missing or cannot be opened. Single images are read,
    and may fail, only later.
    """
    if not name:
        # Path('') would be the current folder.
        raise ImageError('the name of the images is empty, as from a shell variable that is not '
                         'set; name a file, a folder or the number of a camera')
    path = Path(name)
    if bag_reader.is_bag(path):
        return bag_reader.open_bag(path, topic)
    if topic is not None:
        raise ImageError(f'{name} is no bag, so it has no topic {topic}; leave the topic out')
    if os.path.isdir(path):
        return folders.open_folder(path)
    if device := re.fullmatch(r'/dev/video(\d+)', os.path.realpath(name)):
        return video.open_camera(int(device[1]))
    if not os.path.exists(path):
        if name.isdecimal():
            return video.open_camera(int(name))
        raise ImageError(_missing(name))
    if is_pipe_or_device(path):
        raise ImageError(f'{name} is a pipe or a device; name a file, a folder or the number of a '
                         'camera')
    suffix = path.suffix.lower()
    if suffix == '.txt':
        return folders.open_list(path)
    return video.open_video(path) if suffix in video.SUFFIXES else pictures.open_picture(path)


def _missing(name: str) -> str:
    if is_url(name):
        return (f'{name} is a URL, which is not read; save it to a file first, a stream for '
                f'example with `ffmpeg -i {name} -t 60 clip.mp4`; depth_anything_run --ray reads '
                'object stores')
    if re.search(r'[*?[]', name):
        return (f'there is no file or folder {name}, and patterns are not expanded; name the '
                f'folder, or a list that `ls {name} > list.txt` writes')
    return f'there is no file or folder {name}'


def list_recordings(name: str, skip: Callable[[Path], bool] = lambda file: False) -> list[str]:
    """
    Return the videos and bags of a folder without pictures, or of a list of nothing else.

    Files of the folder for which ``skip`` is true are as if they were not there.
    """
    path = Path(name)
    if name and os.path.isdir(path) and not bag_reader.is_bag(path):
        return [str(path / file) for file in recordings_among(_files_of(path, skip))]
    if path.suffix.lower() == '.txt' and path.is_file():
        entries = folders.read_list(path)
        if all(entry.suffix.lower() in video.SUFFIXES or bag_reader.is_bag(entry)
               for entry in entries):
            return list(map(str, dict.fromkeys(entries)))
    return []


def recordings_among(files: Iterable[str]) -> list[str]:
    """
    Return the videos and bags of a folder with these files below it, [] if there are pictures.

    All names are relative to the folder. A folder with a metadata.yaml is one bag.
    """
    paths = [PurePosixPath(file) for file in files]
    if _has_picture(paths):
        return []
    bags = {path.parent for path in paths if path.name == bag_reader.METADATA}
    single = {path for path in paths if bags.isdisjoint(path.parents) and (
        path.suffix.lower() in video.SUFFIXES or bag_reader.is_storage(path))}
    return sorted(map(str, bags | single))


def _has_picture(paths: Iterable[PurePosixPath]) -> bool:
    suffixes = folders.picture_suffixes()
    return any(path.suffix.lower() in suffixes for path in paths)


def left_out(name: str, skip: Callable[[Path], bool] = lambda file: False) -> list[Path]:
    """
    Return what ``left_out_among`` returns for the files of a folder, [] for any other input.

    Files for which ``skip`` is true are as if they were not there.
    """
    path = Path(name)
    if not name or not path.is_dir() or bag_reader.is_bag(path):
        return []
    return [path / file for file in left_out_among(_files_of(path, skip))]


def left_out_among(files: Iterable[str]) -> list[str]:
    """
    Return the pictures, videos and bags that are not read of a folder with these files below it.

    These are pictures in formats that OpenCV does not read, and videos and bags beside pictures.
    """
    paths, suffixes = {PurePosixPath(file) for file in files}, folders.foreign_suffixes()
    foreign = [str(path) for path in paths if path.suffix.lower() in suffixes]
    if not _has_picture(paths):
        return sorted(foreign)
    # Other files called metadata.yaml are common in data sets.
    beside = {path.parent if path.with_name(bag_reader.METADATA) in paths else path
              for path in paths if bag_reader.is_storage(path)}
    beside |= {path for path in paths if path.suffix.lower() in video.SUFFIXES}
    return sorted(foreign) + sorted(map(str, beside))


def _files_of(folder: Path, skip: Callable[[Path], bool]) -> list[str]:
    suffixes = (*folders.picture_suffixes(), *folders.foreign_suffixes(), *video.SUFFIXES,
                *bag_reader.SUFFIXES, '.yaml')
    return [file.relative_to(folder).as_posix() for file in folders.files_below(folder, suffixes)
            if not skip(file)]
