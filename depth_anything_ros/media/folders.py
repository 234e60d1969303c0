"""Folders and lists of pictures: which files they name, and which of them are left out."""

from collections import Counter
from collections.abc import Iterable, Iterator
import os
from pathlib import Path
import re

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.foreign_files import read_text
from depth_anything_ros.media.pictures import picture_source, SUFFIXES
from depth_anything_ros.media.source import ImageSource

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


def left_out_text(files: Iterable[Path]) -> str:
    """Return how many files of each format were left out, and what to do about it."""
    counts = Counter(file.suffix.lower() for file in files)
    listed = ', '.join(f'{count} {suffix}' for suffix, count in counts.most_common())
    return (f'left out: {listed}; convert pictures to JPEG or PNG, and keep videos in a folder of '
            'their own')


def read_list(file: Path) -> list[Path]:
    """
    Return the path in each line of ``file``, relative to here or to the folder of ``file``.

    Lines may have a time stamp before the path, as those of TUM RGB-D, and the separators of
    Windows; those that start with # are comments. ImageError if ``file`` cannot be read.
    """
    try:
        lines = re.split('\r\n|\r|\n', read_text(file))
    except OSError as error:
        raise ImageError(f'{file} cannot be read ({error.strerror})') from error
    except ValueError as error:
        raise ImageError(f'{file} is not a text file; write one path a line') from error
    return [path for line in lines if line.strip()
            for path in _paths(line.strip(), file.parent)]


def _paths(line: str, folder: Path) -> Iterator[Path]:
    """Yield the file that a line names, its text if there is none, nothing for a comment."""
    after_time = _TIME_AND_PATH.fullmatch(line)
    names = (line, *([after_time[1]] if after_time else []), line.replace('\\', '/'))
    for name in names:
        for path in (Path(name), folder / name):
            if os.path.exists(path):
                yield path
                return
    if not line.startswith('#'):
        yield Path(after_time[1] if after_time else line)


def _reads(suffix: str) -> bool:
    return cv2.haveImageWriter(f'picture{suffix}')
