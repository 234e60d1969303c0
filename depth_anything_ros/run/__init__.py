"""The program ``depth_anything_run``: depth of images, videos, cameras and bags, as files."""
