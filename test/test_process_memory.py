"""The memory of images stays with the process."""

import subprocess
import sys

PROGRAM = """
import resource, sys
from depth_anything_ros.process import keep_freed_memory, MOST_BYTES, USUAL_BYTES
if sys.argv[1] != 'default':
    assert keep_freed_memory(MOST_BYTES if sys.argv[1] == 'most' else USUAL_BYTES)

def images():
    return [b'x' * 1_000_000 for _ in range(int(sys.argv[2]))]

images()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    images()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

THREADS = """
import sys, threading
from depth_anything_ros.process import keep_freed_memory
if sys.argv[1] == 'keep':
    assert keep_freed_memory()

def resident_mib():
    return int(open('/proc/self/statm').read().split()[1]) * 4096 / 2 ** 20

def work(done):
    [b'x' * 1_000_000 for _ in range(20)]
    done.set()
    end.wait()

before, end = resident_mib(), threading.Event()
for _ in range(8):
    done = threading.Event()
    threading.Thread(target=work, args=(done,), daemon=True).start()
    done.wait()
print(int(resident_mib() - before))
end.set()
"""


def page_faults(mode: str, buffers: int = 8) -> int:
    """Return the page faults of twenty times some buffers of a megabyte."""
    return printed(PROGRAM, mode, str(buffers))


def printed(program: str, *arguments: str) -> int:
    """Return the number that a program prints."""
    result = subprocess.run([sys.executable, '-c', program, *arguments], capture_output=True,
                            text=True, check=True)
    return int(result.stdout)


def test_buffers_of_images_are_reused_without_page_faults() -> None:
    """Without it each buffer is taken from the system anew."""
    assert page_faults('keep') < page_faults('default') / 10


def test_a_training_keeps_more_than_the_node() -> None:
    """200 MB at a time are more than the node keeps; a step of a training uses them again."""
    assert page_faults('most', 200) < page_faults('keep', 200) / 10


def test_what_one_thread_has_freed_serves_the_next() -> None:
    """Eight threads that use 20 MB one after the other do not keep eight times as much."""
    assert printed(THREADS, 'keep') < 80
