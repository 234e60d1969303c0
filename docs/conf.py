"""Settings of Sphinx for the documentation site, which ``make docs`` builds in build/site."""

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from depth_anything_ros import __version__  # noqa: E402

project = 'depth_anything_ros'
author = 'depth_anything_ros maintainers'
copyright = author  # noqa: A001
version = release = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'tools.site']
source_suffix = {'.md': 'markdown', '.rst': 'restructuredtext'}
exclude_patterns = ['figures', 'static']
# Anchors like those of GitHub, so that a link works there and here.
myst_heading_anchors = 4

autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

html_theme = 'furo'
html_title = f'depth_anything_ros {__version__}'
html_show_copyright = False
html_static_path = ['static']
html_css_files = ['site.css']
html_copy_source = False
html_theme_options = {'navigation_with_keys': True}
