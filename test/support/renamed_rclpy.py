"""
A plugin of pytest under which rclpy has other names for its private parts, like a future release.

rclpy itself is read with the new names, so that it works, and our package finds none of the old
ones. ``RENAMED`` in the environment lists the names. Load it with ``-p renamed_rclpy``, before
anything imports rclpy.
"""

from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
import os
import re
import sys
from types import CodeType
from typing import Any

WORD = re.compile(rf'\b({"|".join(os.environ["RENAMED"].split())})\b')


class RenamingLoader(SourceFileLoader):
    """Compiles a module of rclpy after renaming, without the cached bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code with the new names."""
        text = WORD.sub(r'renamed_\1', self.get_source(fullname) or '')
        return compile(text, self.path, 'exec', dont_inherit=True)


class RenamingFinder(MetaPathFinder):
    """Finds the modules of rclpy."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Return the spec of a module of rclpy, with the loader that renames."""
        if fullname.partition('.')[0] != 'rclpy':
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = RenamingLoader(spec.loader.name, spec.loader.path)
        return spec


assert 'rclpy' not in sys.modules, 'rclpy was imported before it could be renamed'
sys.meta_path.insert(0, RenamingFinder())
