/* PID 1 of every workspace container: does nothing, for ever, and cannot be made to stop from inside.

   It installs no signal handler, so the kernel drops every signal that a process of its namespace sends it, KILL and
   STOP included (pid_namespaces(7)). SIGCHLD is ignored on purpose (not merely by default): the kernel then reaps every
   orphan by itself (wait(2), NOTES), so no wake-up and no loop is needed. It is not dumpable, so that not even
   the container's root, who has no CAP_SYS_PTRACE, can trace it or write its memory (ptrace(2), "access mode checking").

   Build: see tests/unit/workers/containers/in_container/test_programs.py. */
#include "elf.S"

#if defined(__x86_64__)
_start: movl    $157, %eax                      /* prctl(PR_SET_DUMPABLE, 0) */
        movl    $4, %edi
        xorl    %esi, %esi
        syscall
        movl    $13, %eax                       /* rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8) */
        movl    $17, %edi
        leaq    ignore(%rip), %rsi
        xorl    %edx, %edx
        movl    $8, %r10d
        syscall
idle:   movl    $271, %eax                      /* ppoll(NULL, 0, NULL, NULL, 0) */
        xorl    %edi, %edi
        xorl    %esi, %esi
        xorl    %edx, %edx
        xorl    %r10d, %r10d
        xorl    %r8d, %r8d
        syscall
        jmp     idle
#else
_start: mov     x8, #167
        mov     x0, #4
        mov     x1, #0
        svc     #0
        mov     x8, #134
        mov     x0, #17
        adr     x1, ignore
        mov     x2, #0
        mov     x3, #8
        svc     #0
idle:   mov     x8, #73
        mov     x0, #0
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        svc     #0
        b       idle
#endif
        .balign 8, 0
ignore: .8byte  1, 0, 0, 0                      /* handler SIG_IGN, flags, restorer, mask */
end:
