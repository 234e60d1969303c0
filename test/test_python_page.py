"""The examples of docs/python.md run as they stand, one after the other."""

from importlib.util import find_spec
from pathlib import Path
import re
import subprocess
import sys

import pytest

pytest.importorskip('openvino')

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'python.md'
EXAMPLES = re.findall(r'^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```$', PAGE.read_text(),
                      re.DOTALL | re.MULTILINE)
PRINTS = {
    'One image': r'\(400, 600\) float32\nrelative\n',
    'Many images': r'camera\.jpg \(\d+, \d+\) \S+\ncoffee\.jpg .*\nmotorcycle\.jpg .*\n',
    'Metres from a relative model': r'[1-9]\.\d+\n',
    'Point clouds': r'\((\d{4,}), 3\) \(\1, 3\)\n',
    'Conversion': r'\(196, 266\)\n\(196, 266\)\n',
    'Errors': r'ModelError .*missing\.xml: there is no such file.*\n'}


def test_each_example_of_the_page_is_run() -> None:
    assert [title for title, _ in EXAMPLES] == list(PRINTS)
    assert len(EXAMPLES) == PAGE.read_text().count('```python')


@pytest.mark.parametrize(('title', 'program'), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_an_example_runs_and_prints_what_it_should(
        tmp_path: Path, title: str, program: str) -> None:
    if 'convert_model' in program and find_spec('torch') is None:
        pytest.skip('needs torch')
    for folder in ('models', 'resource'):
        (tmp_path / folder).symlink_to(ROOT / folder)
    done = subprocess.run([sys.executable, '-c', program], cwd=tmp_path, capture_output=True,
                          text=True, timeout=300, env={'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(PRINTS[title], done.stdout), done.stdout
