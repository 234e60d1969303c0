"""Every page of the documentation is listed, and every link of a page leads somewhere."""

from pathlib import Path

import pytest
from tools.measure.figures import pages
from tools.site.pages import anchors, DOCS, links, listed_pages, ROOT, site_pages, text_of

WITH_LINKS = [*pages(), ROOT / 'CONTRIBUTING.md', ROOT / 'resource' / 'photos' / 'README.md']


def broken_links(page: Path) -> list[str]:
    """Return the links of a Markdown file to files or headings that do not exist."""
    broken = []
    for link in links(page.read_text(encoding='utf-8')):
        target, _, anchor = link.partition('#')
        file = page if not target else page.parent / target
        if ':' in target:
            continue
        if not file.exists() or (
                anchor and anchor not in anchors(file.read_text(encoding='utf-8'))):
            broken.append(link)
    return broken


def test_every_page_is_in_one_table_of_contents() -> None:
    assert sorted(['index', *listed_pages()]) == sorted(site_pages())


@pytest.mark.parametrize('page', WITH_LINKS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / 'a.md').write_text('# One `b` (c)\n\n```\n# no heading [x](no.md)\n```\n'
                                   '[1](#one-b-c) [2](a.md#one-b-c) [3](b.md) [4](#two) '
                                   '`[5](c.md)` [6](https://example.com/x#y)\n')
    assert broken_links(tmp_path / 'a.md') == ['b.md', '#two']


def test_equal_headings_get_numbers() -> None:
    assert anchors('# a\n## Use it\n### Use it\n') == {'a', 'use-it', 'use-it-1'}


def test_links_between_pages_hold_on_the_site() -> None:
    card = text_of('model-card', DOCS)
    assert '](metres.md)' in card and '](figures/box_model.json "' in card
    assert '](images/box_model.png)' in card and '../docs/' not in card
    assert '[model card](model-card.md)' in text_of('choosing', DOCS)
    assert '[](operation.md#a-target-rate' in text_of('choosing', DOCS)
    assert '](../config/nav2_costmap.yaml)' in text_of('navigation', DOCS)
    assert '](../../config/nav2_costmap.yaml)' in text_of('navigation', DOCS / 'copied')


def test_every_program_is_on_the_page_of_programs() -> None:
    pytest.importorskip('docutils')
    pytest.importorskip('typer')
    from tools.site.extension import help_text, programs, subcommands
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    names = {line.split("'")[1].split(' = ')[0] for line in setup.splitlines()
             if line.endswith(":main',")}
    assert set(programs()) == names - {'depth_anything_node'}
    text = help_text(programs()['depth_anything_evaluate'])
    assert 'Usage: depth_anything_evaluate' in text
    assert subcommands(text) == ['rgbd', 'sequence', 'pairs', 'parity']
    with pytest.raises(RuntimeError, match='failed'):
        help_text('depth_anything_ros.no_program')
