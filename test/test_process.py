"""Freed memory stays with the process; background work leaves no thread at a low priority."""

import os
import subprocess
import sys

import pytest

FREED_MEMORY = """
import resource, sys
from depth_anything_ros.process import keep_freed_memory, NODE_BYTES, TRAINING_BYTES
if sys.argv[1] != 'default':
    assert keep_freed_memory(TRAINING_BYTES if sys.argv[1] == 'most' else NODE_BYTES)

def images():
    return [b'x' * 1_000_000 for _ in range(int(sys.argv[2]))]

images()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    images()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

ARENAS = """
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

# In a process of its own, because a thread that stays nice would slow the other tests down.
PRIORITY = """
import os, sys, threading
from depth_anything_ros.process import lower_priority

def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

def work():
    restored, answers = threading.Event(), []

    def wait():
        answers.append(niceness())
        restored.wait()
        answers.append(niceness())

    try:
        with lower_priority():
            thread = threading.Thread(target=wait)
            thread.start()
            inside = niceness()
            raise KeyError
    except KeyError:
        restored.set()
        thread.join()
    print(inside, niceness(), *answers)

if sys.argv[1] == 'nobody':
    os.setuid(65534)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(niceness())
"""


def page_faults(mode: str, buffers: int = 8) -> int:
    """Return the page faults of twenty times some buffers of a megabyte."""
    return printed(FREED_MEMORY, mode, str(buffers))


def printed(program: str, *arguments: str) -> int:
    """Return the number that a program prints."""
    result = subprocess.run([sys.executable, '-c', program, *arguments], capture_output=True,
                            text=True, check=True)
    return int(result.stdout)


def test_buffers_of_images_are_reused_without_page_faults() -> None:
    """Without the setting the system gives new pages to each buffer."""
    assert page_faults('keep') < page_faults('default') / 10


def test_a_training_keeps_more_than_the_node() -> None:
    """200 MB at a time are more than the node keeps; a step of a training uses them again."""
    assert page_faults('most', 200) < page_faults('keep', 200) / 10


def test_what_one_thread_has_freed_serves_the_next() -> None:
    """Eight threads that use 20 MB one after the other do not keep eight times as much."""
    assert printed(ARENAS, 'keep') < 80


def priorities(user: str) -> list[int]:
    """Return inside, afterwards, a new thread's inside and afterwards, and the main thread's."""
    done = subprocess.run([sys.executable, '-c', PRIORITY, user], check=True, text=True,
                          capture_output=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(sys.platform != 'linux', reason='needs Linux')
def test_the_normal_priority_is_back_afterwards_also_for_threads_started_inside() -> None:
    normal = os.getpriority(os.PRIO_PROCESS, 0)
    inside, afterwards, thread_inside, thread_afterwards, main = priorities('me')
    assert afterwards == thread_afterwards == main == normal
    assert inside == thread_inside
    assert inside in (normal, min(19, normal + 10))


@pytest.mark.skipif(sys.platform != 'linux' or os.geteuid() != 0,
                    reason='only root can become somebody who may not')
def test_nothing_changes_for_a_user_who_could_not_undo_it() -> None:
    normal = os.getpriority(os.PRIO_PROCESS, 0)
    assert priorities('nobody') == [normal] * 5
