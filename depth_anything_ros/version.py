"""The version of the package; package.xml and setup.py say the same."""

__version__ = '0.2.0'
