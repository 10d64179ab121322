"""Becomes another program that ends when its parent does; a script on its own, standard library only.

`python -I -S die_with_parent.py PARENT_PID SIGNAL UID:GID|- PROGRAM [ARGUMENT…]`: drops to the account, if given; asks
the kernel for SIGNAL at the parent's death (prctl(2); it is forgotten at a change of user, so it comes last), clears
the signal mask and executes PROGRAM. A separate program because `preexec_fn` is not safe beside threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(words: list[str]) -> None:
    """Executes the program; does not return."""
    parent, death_signal, account, *command = words
    if account != "-":
        uid, gid = (int(word) for word in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):  # it died before the kernel was asked
        sys.exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execvp(command[0], command)  # noqa: S606 - to become it is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
