"""Folders and lists of pictures: which files they name, and which of them are left out."""

from collections import Counter
from collections.abc import Iterable, Iterator
import os
from pathlib import Path, PurePath
import re

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.foreign_files import decode_text
from depth_anything_ros.media.pictures import picture_source, SUFFIXES
from depth_anything_ros.media.source import ImageSource
from depth_anything_ros.media.video import SUFFIXES as VIDEO_SUFFIXES

# Formats that some builds of OpenCV read; one that writes a format also reads it.
_OPTIONAL = ('.avif', '.gif', '.jp2', '.jpe', '.dib', '.ppm', '.pgm', '.pnm')
# Formats of pictures that OpenCV does not read.
_FOREIGN = ('.heic', '.heif', '.jxl', '.tga', '.psd', '.svg', '.exr', '.dng', '.cr2', '.cr3',
            '.nef', '.arw', '.raf', '.rw2', '.orf')
# A line of a list of TUM RGB-D: time stamp and path.
_TIME_AND_PATH = re.compile(r'\d+\.\d+\s+(\S.*)')


def picture_suffixes() -> tuple[str, ...]:
    """Return the suffixes of the pictures that this OpenCV reads."""
    return (*SUFFIXES, '.jfif', *(suffix for suffix in _OPTIONAL if _reads(suffix)))


def foreign_suffixes() -> tuple[str, ...]:
    """Return the suffixes of pictures that this OpenCV does not read."""
    return (*(suffix for suffix in _OPTIONAL if not _reads(suffix)), *_FOREIGN)


def open_folder(folder: Path) -> ImageSource:
    """Return the pictures below ``folder``, sorted by path; ImageError if it has none."""
    files = files_below(folder, picture_suffixes())
    if not files:
        others = files_below(folder, foreign_suffixes())
        raise ImageError(f'{folder} holds no image; supported are {", ".join(picture_suffixes())}'
                         + (f'; {left_out_text(others)}' if others else ''))
    return picture_source(str(folder),
                          [(file.relative_to(folder).as_posix(), file) for file in files])


def open_list(file: Path) -> ImageSource:
    """Return the pictures in a text file of paths, each once; ImageError if it is empty."""
    entries = dict.fromkeys(read_list(file))
    if not entries:
        raise ImageError(f'{file} is empty; write one path a line')
    return picture_source(str(file), [(str(entry), entry) for entry in entries])


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files below ``folder`` with one of ``suffixes``, sorted, without hidden ones."""
    return sorted(
        file for file in folder.rglob('*')
        if file.suffix.lower() in suffixes and file.is_file()
        and not any(part.startswith('.') for part in file.relative_to(folder).parts))


def color_pictures_below(folder: Path) -> list[Path]:
    """
    Return the pictures below ``folder`` without its depth maps, sorted by path.

    RGB-D folders keep depth maps beside them: files and folders whose name starts with depth.
    """
    return [file for file in files_below(folder, picture_suffixes())
            if not any(part.startswith('depth') for part in file.relative_to(folder).parts)]


def required_color_pictures(folder: Path) -> list[Path]:
    """Return ``color_pictures_below`` a folder; ImageError says why there are none."""
    if files := color_pictures_below(folder):
        return files
    if not folder.is_dir():
        raise ImageError(f'there is no folder {folder}; name one with pictures')
    if depth := files_below(folder, picture_suffixes()):
        raise ImageError(f'{folder} holds {len(depth)} pictures, all left out as depth maps: '
                         'their names, or those of folders in it, start with depth; rename them')
    # Its error names what there is instead.
    open_folder(folder)
    return files


def left_out_text(files: Iterable[PurePath]) -> str:
    """Return how many pictures, videos and bags were left out, and what to do about it."""
    known = (*foreign_suffixes(), *VIDEO_SUFFIXES)
    counts = Counter(file.suffix.lower() for file in files)
    bags = sum(counts.pop(suffix) for suffix in [*counts] if suffix not in known)
    listed = [f'{count} {suffix}' for suffix, count in counts.most_common()]
    listed += [f'{bags} bag{"s" if bags > 1 else ""}'] if bags else []
    return (f'left out: {", ".join(listed)}; convert pictures to JPEG or PNG, and keep videos and '
            'bags in a folder of their own')


def read_list(file: Path) -> list[Path]:
    """
    Return the path in each line of ``file``, relative to here or to the folder of ``file``.

    Lines may have a time stamp before the path, as those of TUM RGB-D, and the separators of
    Windows; those that start with # are comments. ImageError if ``file`` cannot be read.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ImageError(f'{file} cannot be read ({error.strerror})') from error
    return [path for line in _lines(data, str(file)) for path in _paths(line, file.parent)]


def names_in_list(data: bytes, name: str) -> list[str]:
    """Return what the lines of a list name, each once; ImageError unless it is text."""
    return list(dict.fromkeys(_after_time(line) for line in _lines(data, name)
                              if not line.startswith('#')))


def _lines(data: bytes, name: str) -> list[str]:
    try:
        lines = re.split('\r\n|\r|\n', decode_text(data))
    except ValueError as error:
        raise ImageError(f'{name} is not a text file; write one path a line') from error
    return [line.strip() for line in lines if line.strip()]


def _after_time(line: str) -> str:
    match = _TIME_AND_PATH.fullmatch(line)
    return match[1] if match else line


def _paths(line: str, folder: Path) -> Iterator[Path]:
    """Yield the file that a line names, its text if there is none, nothing for a comment."""
    names = (line, _after_time(line), line.replace('\\', '/'))
    for name in names:
        for path in (Path(name), folder / name):
            if os.path.exists(path):
                yield path
                return
    if not line.startswith('#'):
        yield Path(_after_time(line))


def _reads(suffix: str) -> bool:
    return cv2.haveImageWriter(f'picture{suffix}')
