"""The list of photographs for training has no source with too many of them."""

from collections import Counter
from pathlib import Path

import pytest
from tools.photograph_list import balanced, chosen, main


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Return a corpus of 100 numbers: 60 of one source, 20 of another, the rest of ten."""
    (tmp_path / 'images').mkdir()
    rows = ['file\tsource']
    for number in range(100):
        name = f'{number:05}.webp'
        (tmp_path / 'images' / name).touch()
        source = 'large' if number < 60 else 'medium' if number < 80 else f'small{number % 10}'
        rows.append(f'{name}\t{source}')
    (tmp_path / 'SOURCES.tsv').write_text('\n'.join(rows) + '\n')
    return tmp_path


def read(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the photographs for training and those that are held out."""
    files = [Path(line) for line in path.read_text().splitlines()]
    return ([file for file in files if int(file.stem) % 10],
            [file for file in files if not int(file.stem) % 10])


def test_no_source_has_more_than_its_share(corpus: Path, capsys: pytest.CaptureFixture[str]
                                           ) -> None:
    target = corpus / 'list.txt'
    assert main([str(target), '--corpus', str(corpus), '--share', '0.3']) == 0
    training, held_out = read(target)
    counts = Counter(int(file.stem) // 20 for file in training)
    large, medium = counts[0] + counts[1] + counts[2], counts[3]
    assert (large, medium, counts[4]) == (13, 13, 18)
    assert large <= 0.3 * len(training) < large + 1
    assert len(held_out) == 10
    assert all(file.is_file() for file in (*training, *held_out))
    assert f'{target}: 44 photographs for training, 10 held out' in capsys.readouterr().out
    again = corpus / 'again.txt'
    assert main([str(again), '--corpus', str(corpus), '--share', '0.3']) == 0
    assert again.read_text() == target.read_text()
    assert main([str(again), '--corpus', str(corpus), '--share', '0.3', '--seed', '1']) == 0
    assert again.read_text() != target.read_text()


def test_a_count_is_a_random_part(corpus: Path) -> None:
    target = corpus / 'list.txt'
    assert main([str(target), '--corpus', str(corpus), '--share', '0.5', '--count', '12',
                 '--held-out', '3']) == 0
    training, held_out = read(target)
    assert (len(training), len(held_out)) == (12, 3)
    files = [Path(f'{number}') for number in range(30)]
    assert chosen(files, None, 0) == chosen(files, 40, 0) == sorted(files)
    assert set(chosen(files, 5, 0)) < set(chosen(files, 9, 0))


def test_too_few_sources_for_the_share_give_equally_many() -> None:
    files = [Path(f'{number}') for number in range(10)]
    sources = {file.name: 'even' if int(file.name) % 2 else 'odd' for file in files}
    assert len(balanced(files, sources, 0.1, 0)) == 2
    assert balanced([], {}, 0.1, 0) == []


def test_a_folder_that_is_no_corpus_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                             ) -> None:
    assert main([str(tmp_path / 'list.txt'), '--corpus', str(tmp_path)]) == 1
    assert f'error: {tmp_path} is not a corpus of photographs' in capsys.readouterr().err
