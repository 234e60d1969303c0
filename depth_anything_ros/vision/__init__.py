"""Functions on images, depth maps and point clouds; they need only numpy and OpenCV."""
