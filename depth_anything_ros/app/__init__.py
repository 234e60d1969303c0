"""The program ``depth_anything_app``: a web page for pictures and videos and their depth."""
