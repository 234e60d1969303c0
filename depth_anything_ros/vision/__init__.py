"""Pure functions on images and depth maps: numpy and OpenCV only."""
