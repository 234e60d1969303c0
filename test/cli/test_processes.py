"""Child processes and their environment."""

import os
from pathlib import Path

from depth_anything_ros.cli.processes import dds_profile
from depth_anything_ros.process import DDS_PROFILE_VARIABLES
import pytest


def test_the_profiles_of_fast_dds_hold_within_the_block_only(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later measurement in the same process would be of other settings than it says."""
    first, second = DDS_PROFILE_VARIABLES
    monkeypatch.setenv(first, 'mine.xml')
    monkeypatch.delenv(second, raising=False)
    with dds_profile(tmp_path / 'fast.xml'):
        assert os.environ[first] == os.environ[second] == str(tmp_path / 'fast.xml')
    assert os.environ[first] == 'mine.xml' and second not in os.environ
    with dds_profile(None):
        assert os.environ[first] == 'mine.xml' and second not in os.environ
