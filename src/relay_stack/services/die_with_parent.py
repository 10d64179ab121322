"""Execute another program so that it gets a signal when its parent dies. A script with the standard library only.

`python -I -S die_with_parent.py PARENT_PID SIGNAL UID:GID|- PROGRAM [ARGUMENT…]` changes to the account (`-` keeps the
current account), asks the kernel to send SIGNAL when the parent dies, clears the signal mask and executes PROGRAM. The
request to the kernel (prctl(2), PR_SET_PDEATHSIG) must follow the change of account, which would cancel it. This is a
separate program because `preexec_fn` is not safe in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Replace this process by the program; do not return."""
    parent, death_signal, account, *command = arguments
    if account != "-":
        uid, gid = (int(number) for number in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):  # the parent died before the request to the kernel
        sys.exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execvp(command[0], command)  # noqa: S606 - executing the program is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
