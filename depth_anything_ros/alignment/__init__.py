"""
Sources of metres: they find scale and shift of 1/z = scale * d + shift for each depth map.

d is the inverse depth of the model, z the depth in metres. The way of a frame:

- ``fit.py``: ``AlignmentFrame`` is the input of every ``AlignmentSource``, ``Fit`` its result.
  ``fit_alignment`` makes a Fit from points with a known depth.
- ``references.py``: the points that a depth image, a point cloud or a range sensor measures.
- ``ground.py``: a Fit to the floor below a camera of known height.
- ``motion.py``: points tracked through the images (``point_tracks.py``) of a camera whose motion
  is known, triangulated to 1/z (``triangulation.py``); ``motion_fit.py`` makes a Fit of them.
- ``motion_ground.py``: compares the points from motion with the floor, and a Fit to both.
- ``tracker.py``: checks the fits, averages them over time, freezes them.
- ``filling.py``: fills the holes of a depth image with fitted depth.

A new source is a class with the methods of ``AlignmentSource``. It raises AlignmentError with the
reason and the remedy if a frame has no fit. Its name becomes a choice of ``alignment.source`` in
``parameters.py``, and ``open_source`` in ``node/aligner.py`` creates it; nothing after the tracker
changes. This room does not import ROS: a source that needs topics is a class in the room of the
node, such as ``node/reference.py``, which calls functions of this room.
"""
