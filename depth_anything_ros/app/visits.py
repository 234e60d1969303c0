"""What the page keeps for a visitor between two events."""

from dataclasses import dataclass

from depth_anything_ros.app.pictures import PictureDepth


@dataclass(eq=False)
class Visit:
    """
    The depth that the page shows a visitor.

    Events of one visitor run at the same time, and one that began earlier may end later. It must
    not bring back colours or files of what the page no longer shows, so each notes itself where
    it begins, and looks at its end whether it is still noted.
    """

    result: PictureDepth
    drawing: object = None
    preparing: object = None

    def begin_drawing(self) -> object:
        """Note an event that shows the depth; files that are being prepared show it otherwise."""
        self.preparing = None
        self.drawing = object()
        return self.drawing

    def begin_preparing(self) -> object:
        """Note an event that prepares files."""
        self.preparing = object()
        return self.preparing
