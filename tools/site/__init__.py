"""
The documentation site: its pages, and the Sphinx extension that ``docs/conf.py`` loads.

``setup`` is imported by Sphinx under the name of this package.
"""

from typing import Any


def setup(app: Any) -> dict[str, bool]:
    """Register the directive and the sources of pages from elsewhere; called by Sphinx."""
    from tools.site.extension import register
    register(app)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
