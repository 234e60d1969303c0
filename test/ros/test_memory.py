"""The memory of images stays with the process."""

import subprocess
import sys

PROGRAM = """
import resource, sys
from depth_anything_ros.ros.memory import keep_freed_memory
if sys.argv[1] == 'keep':
    assert keep_freed_memory()

def images():
    return [b'x' * 1_000_000 for _ in range(8)]

images()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    images()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    """Return the page faults of twenty times eight buffers of a megabyte."""
    result = subprocess.run([sys.executable, '-c', PROGRAM, mode], capture_output=True, text=True,
                            check=True)
    return int(result.stdout)


def test_buffers_of_images_are_reused_without_page_faults() -> None:
    """Without it each buffer is taken from the system anew."""
    assert page_faults('keep') < page_faults('default') / 10
