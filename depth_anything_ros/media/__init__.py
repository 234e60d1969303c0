"""Images in and out: folders, lists, videos, cameras, bags, and files of depth."""
