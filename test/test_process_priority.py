"""Work that gives way leaves no thread nice for good, whatever the user may do."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='needs Linux')

# In a process of its own, because a thread that stays nice would slow the other tests down.
PROGRAM = """
import os, sys, threading
from depth_anything_ros.process import lower_priority

def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

def work():
    asked, answers = threading.Event(), []

    def wait():
        answers.append(niceness())
        asked.wait()
        answers.append(niceness())

    try:
        with lower_priority():
            thread = threading.Thread(target=wait)
            thread.start()
            inside = niceness()
            raise KeyError
    except KeyError:
        asked.set()
        thread.join()
    print(inside, niceness(), *answers)

if sys.argv[1] == 'nobody':
    os.setuid(65534)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(niceness())
"""


def run(user: str) -> list[int]:
    """Return inside, afterwards, a new thread's inside and afterwards, and the main thread's."""
    done = subprocess.run([sys.executable, '-c', PROGRAM, user], check=True, text=True,
                          capture_output=True)
    return [int(word) for word in done.stdout.split()]


def test_the_usual_priority_is_back_afterwards_also_for_threads_started_inside() -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    inside, afterwards, thread_inside, thread_afterwards, main = run('me')
    assert afterwards == thread_afterwards == main == usual
    assert inside == thread_inside
    assert inside in (usual, min(19, usual + 10))


@pytest.mark.skipif(sys.platform != 'linux' or os.geteuid() != 0,
                    reason='only root can become somebody who may not')
def test_nothing_changes_for_a_user_who_could_not_undo_it() -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert run('nobody') == [usual] * 5
