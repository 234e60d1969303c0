"""The parameter file and the parameter table say what ``settings`` declares."""

from html import unescape
from pathlib import Path
import re

from depth_anything_ros.parameters import Settings, SPECS
import pytest
from tools import parameter_docs

yaml = pytest.importorskip('yaml')
ROOT = Path(__file__).resolve().parents[2]
FILE, PAGE = ROOT / 'config' / 'depth_anything.yaml', ROOT / 'docs' / 'parameters.md'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a source tree whose two files say nothing of any parameter."""
    for folder in ('config', 'docs'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'config' / FILE.name).write_text('')
    (tmp_path / 'docs' / PAGE.name).write_text(
        f'before\n{parameter_docs.BEGIN}\n{parameter_docs.END}\nafter\n')
    return tmp_path


def test_parameter_file_holds_every_default_in_its_own_type() -> None:
    content = yaml.safe_load(FILE.read_text())
    assert list(content) == ['/**'], 'the file must work for any namespace and node name'
    values = content['/**']['ros__parameters']
    defaults = {spec.name: list(spec.default) if isinstance(spec.default, tuple) else spec.default
                for spec in SPECS}
    assert values == defaults
    assert [type(value) for value in values.values()] == list(map(type, defaults.values()))
    assert Settings.from_mapping(values) == Settings()


def test_each_parameter_is_explained_right_above_its_value() -> None:
    above = []
    for line in FILE.read_text().splitlines():
        name = line.strip().partition(':')[0]
        spec = next((spec for spec in SPECS if spec.name == name), None)
        if spec:
            text = ' '.join(comment.strip(' #') for comment in above)
            assert text == (f'{spec.description} {parameter_docs.expected_text(spec)}; '
                            f'read {parameter_docs.WHEN[spec.when]}')
        above = [*above, line] if line.strip().startswith('#') else []


def test_no_line_of_the_parameter_file_is_too_long() -> None:
    assert max(map(len, FILE.read_text().splitlines())) <= parameter_docs.WIDTH


def test_table_has_one_row_per_parameter() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith('| `')]
    cells = [row.split('|')[1].strip() for row in rows]
    assert cells == [f'`{spec.name}`' for spec in SPECS]
    for row, spec in zip(rows, SPECS, strict=True):
        assert spec.description in unescape(row)
        assert not re.search(r'<[a-z]', row), 'a browser takes it for HTML'
        assert row.count('|') == 6


def test_committed_files_are_up_to_date() -> None:
    assert [str(path) for path, _ in parameter_docs.outdated(ROOT)] == []


def test_check_fails_until_the_files_are_written(tree: Path) -> None:
    assert parameter_docs.main([], root=tree) == 1
    assert (tree / 'config' / FILE.name).read_text() == '', 'a check must not write'
    assert parameter_docs.main(['--write'], root=tree) == 0
    assert parameter_docs.main([], root=tree) == 0
    assert (tree / 'config' / FILE.name).read_text() == FILE.read_text()
    page = (tree / 'docs' / PAGE.name).read_text()
    assert page.startswith('before\n') and page.endswith('after\n')


def test_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match='needs the lines'):
        parameter_docs.with_table('a page')


def test_outside_a_source_tree_it_says_so(tmp_path: Path, capsys) -> None:
    assert parameter_docs.main([], root=tmp_path) == 2
    assert 'not a source tree' in capsys.readouterr().err


@pytest.mark.parametrize('value', [
    True, False, 0, -3, 0.5, 1e6, 1e22, 1e-7, -2.0, '', "it's", 'no', '1.5', '~/.cache', 'a: b'])
def test_value_survives_yaml_with_its_type(value: object) -> None:
    again = yaml.safe_load(f'key: {parameter_docs.value_text(value)}')['key']
    assert again == value
    assert type(again) is type(value)


def test_without_a_folder_the_files_of_this_checkout_are_checked() -> None:
    assert parameter_docs.main([]) == 0
