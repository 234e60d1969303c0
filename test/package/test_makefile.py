"""The environment of the Makefile, made by a stand-in for Python that installs nothing."""

from pathlib import Path
import shutil
import subprocess

from depth_anything_ros.resources import ROOT
import pytest

# Without the package python3-venv, Debian's venv fails after it has made bin/python, without pip.
PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    for folder; do :; done
    mkdir -p "$folder/bin"
    if [ -e {working} ]; then status=0; else status=1; fi
    printf "#!/bin/sh\\nexit $status\\n" > "$folder/bin/python"
    chmod +x "$folder/bin/python"
    exit $status
fi
"""


@pytest.mark.skipif(shutil.which('make') is None, reason='make is not installed')
def test_an_environment_that_failed_is_made_again(tmp_path: Path) -> None:
    python, working = tmp_path / 'python', tmp_path / 'python3-venv'
    python.write_text(PYTHON.format(working=working))
    python.chmod(0o755)
    stamp = tmp_path / 'environment' / '.base'
    command = ['make', f'PYTHON={python}', f'VENV={stamp.parent}', str(stamp)]

    def make() -> 'subprocess.CompletedProcess[str]':
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert make().returncode and not stamp.exists()
    working.touch()
    made = make()
    assert made.returncode == 0 and stamp.exists(), made.stderr
