"""A worker whose uid has used up its inotify instances starts, and hears by looking."""

import subprocess
import sys

ODD_UID = 54321
"""Nobody's: what it uses up is missed by no other process of the host."""

SCRIPT = """
import ctypes, os, tempfile
from inotify_simple import INotify
from relay_workers.capture.file_watcher import FileWatcher

os.setgid({uid}); os.setuid({uid})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable again: /proc/self/fd is its own
held = []
try:
    while True:
        held.append(INotify())
except OSError as error:
    print('>', error.strerror)
watcher = FileWatcher()
kept = tempfile.TemporaryFile()
file = kept.fileno()
print('>', watcher.watch_file(file))
watcher.wake()
print('>', sorted(watcher.wait(5).changed))
held.pop().close()
watch = watcher.watch_file(file)
os.write(file, b"grown")
print('>', watcher.wait(5).changed == {{watch}})
watcher.forget_file(watch)
watcher.close()
"""


def test_a_file_watcher_without_inotify_waits_and_gets_it_once_there_is_one():
    """Run as a uid of its own, as the kernel counts by uid."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(uid=ODD_UID)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line[2:] for line in done.stdout.splitlines() if line.startswith("> ")]
    assert said == ["Too many open files", "None", "[]", "True"], done.stderr
    assert done.stdout.count("max_user_instances") == 1, "told once"
