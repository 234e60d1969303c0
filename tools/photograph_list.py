"""
List the photographs in ../shared/corpus for distilling, no source with too many of them.

``python -m tools.photograph_list photographs.txt`` lists photographs for training so that no
source gives more than ``--share`` of them, and held-out ones. ``depth_anything_distill`` takes the
list as DATA.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
import csv
from pathlib import Path
import sys

import numpy as np
from tools.shared_data import CORPUS, training_photographs, validation_photographs

_SHARE = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the list and print how many photographs it has; 1 with a sentence without them."""
    parser = argparse.ArgumentParser(prog='python -m tools.photograph_list', description=__doc__)
    parser.add_argument('output', type=Path, metavar='LIST.txt')
    parser.add_argument('--corpus', type=Path, metavar='FOLDER', default=CORPUS,
                        help='images/ and SOURCES.tsv; default: ../shared/corpus')
    parser.add_argument('--share', type=float, default=_SHARE, metavar='SHARE',
                        help='largest share of one source; default: %(default)s')
    parser.add_argument('--count', type=int, metavar='N',
                        help='at most so many photographs for training; default: all')
    parser.add_argument('--held-out', type=int, metavar='N',
                        help='at most so many held-out photographs; default: all')
    parser.add_argument('--seed', type=int, default=0, help='of the choice; default: 0')
    options = parser.parse_args(arguments)
    try:
        sources = read_sources(options.corpus)
    except OSError as error:
        print(f'error: {options.corpus} is not a corpus of photographs: {error}', file=sys.stderr)
        return 1
    training = chosen(
        balanced(training_photographs(options.corpus), sources, options.share, options.seed),
        options.count, options.seed)
    held_out = chosen(validation_photographs(options.corpus), options.held_out, options.seed)
    options.output.write_text(
        ''.join(f'{path.resolve()}\n' for path in sorted([*training, *held_out])),
        encoding='utf-8')
    print(f'{options.output}: {len(training)} photographs for training, {len(held_out)} held out')
    return 0


def read_sources(corpus: Path) -> Mapping[str, str]:
    """Return the source of each photograph by its file name; OSError without SOURCES.tsv."""
    with (corpus / 'SOURCES.tsv').open(encoding='utf-8', newline='') as file:
        return {row['file']: row['source'] for row in csv.DictReader(file, delimiter='\t')}


def balanced(photographs: Iterable[Path], sources: Mapping[str, str], share: float,
             seed: int) -> list[Path]:
    """
    Return photographs so that no source has more than ``share`` of those returned.

    Of a source with too many a random part is kept. A source that is not known counts as one of
    its own. If there are too few sources for that share, all give equally many.
    """
    files = list(photographs)
    names = [sources.get(file.name, file.name) for file in files]
    limit = _limit(Counter(names), share)
    kept: Counter[str] = Counter()
    result = []
    for index in np.random.default_rng(seed).permutation(len(files)):
        if kept[names[index]] < limit:
            kept[names[index]] += 1
            result.append(files[index])
    return sorted(result)


def chosen(files: Sequence[Path], count: int | None, seed: int) -> list[Path]:
    """Return ``count`` random files, sorted; all of them for None or if there are no more."""
    if count is None or count >= len(files):
        return sorted(files)
    return sorted(np.random.default_rng(seed).permutation(np.array(files, object))[:count])


def _limit(counts: Mapping[str, int], share: float) -> int:
    """Return the largest number per source that keeps each to its share, at least 1."""
    for limit in range(max(counts.values(), default=1), 1, -1):
        if limit <= share * sum(min(limit, count) for count in counts.values()):
            return limit
    return 1


if __name__ == '__main__':
    sys.exit(main())
