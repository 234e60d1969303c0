"""
Rewrite the generated pages and the quoted figures from docs/figures, without measuring.

``python -m tools.measure.pages`` after a change of their texts.
"""

import sys

from tools.measure import models, performance_page
from tools.measure.figures import read_content, requote_pages


def main() -> int:
    """Rewrite docs/models.md, docs/performance.md and the quotes in all pages; return 0."""
    print(models.write_page(read_content('models')))
    print(performance_page.write_page(read_content('performance')))
    requote_pages()
    return 0


if __name__ == '__main__':
    sys.exit(main())
