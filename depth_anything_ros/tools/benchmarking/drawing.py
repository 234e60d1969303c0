"""What the pictures of all modes begin with."""

import importlib.util
from typing import Any

from depth_anything_ros.errors import MissingDependencyError

DPI = 120


def new_figure(width_inch: float, height_inch: float) -> Any:
    """Return an empty figure that needs no screen; MissingDependencyError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing() from error
    figure = Figure(figsize=(width_inch, height_inch), dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def require_matplotlib() -> None:
    """Raise MissingDependencyError without matplotlib, which is not loaded for that."""
    if importlib.util.find_spec('matplotlib') is None:
        raise _missing()


def _missing() -> MissingDependencyError:
    return MissingDependencyError('matplotlib', 'the picture',
                                  "pip install 'depth_anything_ros[tools]'")
