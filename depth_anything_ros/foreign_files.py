"""Names and contents of files that other programs wrote: any bytes, any length, any encoding."""

import codecs
from collections import Counter
import hashlib
import os
from pathlib import Path
import re
from typing import Any

from depth_anything_ros.errors import line_of

# Most file systems store at most 255 bytes per name.
LONGEST_NAME_BYTES = 255
# The longest marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = ((codecs.BOM_UTF32_LE, 'utf-32'), (codecs.BOM_UTF32_BE, 'utf-32'),
          (codecs.BOM_UTF8, 'utf-8-sig'), (codecs.BOM_UTF16_LE, 'utf-16'),
          (codecs.BOM_UTF16_BE, 'utf-16'))


def printable(text: object) -> str:
    r"""Return text that any stream can print: bytes of a name that are not UTF-8 become \udcXX."""
    return str(text).encode('utf-8', 'backslashreplace').decode()


def shown(value: object) -> str:
    """Return a value of YAML as text; with aliases a short file can nest gigabytes."""
    entries = value if isinstance(value, list) else [value]
    return 'nested' if any(isinstance(one, list | dict | set) for one in entries) else repr(value)


def last_line(log: Path) -> str:
    """Return the last line of what a program printed, which usually is why it ended."""
    lines = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
    return lines[-1] if lines else 'nothing was printed'


def is_url(name: str) -> bool:
    """Return whether a name is a URL such as s3://bucket/folder; c:// is the drive of a PC."""
    return re.match(r'[a-zA-Z][a-zA-Z0-9+.-]+://', name) is not None


def is_utf8(path: Path) -> bool:
    """Return whether the bytes of a path are UTF-8, as OpenCV requires."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_pipe_or_device(path: Path) -> bool:
    """Return whether reading ``path`` may wait for ever; not for files, folders and no file."""
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def shortened(name: str, ending: str = '') -> str:
    """
    Return ``name`` if it makes a valid file name with ``ending``, else its start and a digest.

    The digest keeps different names different.
    """
    room = LONGEST_NAME_BYTES - len(os.fsencode(ending))
    if len(os.fsencode(name)) <= room:
        return name
    mark = f'-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}'
    while len(os.fsencode(name + mark)) > room:
        name = name[:-1]
    return name + mark


def read_text(file: Path) -> str:
    """
    Return the content of a text file in UTF-8, or in UTF-16 or UTF-32 as Windows writes it.

    The byte order mark is removed, and bytes that are not UTF-8 are kept as in file names. OSError
    if the file cannot be read, ValueError if it is not text.
    """
    return decode_text(file.read_bytes())


def decode_text(data: bytes) -> str:
    """Return the text in the bytes of a file, as ``read_text``; ValueError if it is not text."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if encoding is None and b'\0' in data:
        # Text in Latin letters has its zeros in every second byte.
        encoding = 'utf-16-le' if b'\0' in data[1::2] else 'utf-16-be'
    text = data.decode(encoding) if encoding else os.fsdecode(data)
    if '\0' in text:
        raise ValueError('it is not a text file')
    return text


def parse_yaml(text: str) -> Any:
    """Return the content of YAML; ValueError if it is not YAML or has a key more than once."""
    import yaml

    def construct_mapping(loader: Any, node: Any, deep: bool = False) -> Any:
        for key, count in Counter(key.value for key, _ in node.value
                                  if isinstance(key, yaml.ScalarNode)).items():
            if count > 1:
                raise ValueError(f'the key {key} is there {count} times')
        return yaml.SafeLoader.construct_mapping(loader, node, deep)

    try:
        return yaml.load(text, type('Loader', (yaml.SafeLoader,),
                                    {'construct_mapping': construct_mapping}))
    except Exception as error:  # noqa: B902 - odd tags lead PyYAML to any exception
        raise ValueError(f'it is not YAML ({line_of(error)})') from error


def foreign_kind(start: bytes, suffix: str = '') -> tuple[str, str] | None:
    """
    Return (fact, fix) for a file that is no data of its suffix but stands in for it, else None.

    ``start`` are its first bytes. These are Git LFS pointers, web pages and TensorRT engines.
    """
    if start.startswith(b'version https://git-lfs.github.com/spec/'):
        return ('it is a Git LFS pointer, not the file itself',
                'fetch the file with `git lfs pull` in its repository')
    if start.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(
            (b'<!doctype html', b'<html>', b'<html ')):
        return ('it is a web page, not the file itself',
                'download the file again; the links of Hugging Face contain /resolve/, not /blob/')
    if start.startswith((b'ftrt', b'ptrt')) or suffix.lower() in ('.engine', '.plan', '.trt'):
        return ('it is a TensorRT engine, which runs only on the GPU that it was built for',
                'give the checkpoint or ONNX file that it was built from')
    return None


def foreign_file(file: Path) -> tuple[str, str] | None:
    """Return ``foreign_kind`` of a file; None for what is no file or cannot be read."""
    try:
        # To open a named pipe waits for its writer.
        if not file.is_file():
            return None
        with file.open('rb') as stream:
            return foreign_kind(stream.read(512), file.suffix)
    except OSError:
        return None
