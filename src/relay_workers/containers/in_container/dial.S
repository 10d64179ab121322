/* dial PORT [probe]: joins standard input and output with a server that listens on the loopback of this network
   namespace (127.0.0.1, else ::1). With any second argument it only says by its exit code whether one answers.

   Exit code 1: nobody answers. The end of the input is passed on as a half-close; the connection ends with the server's
   close, or 60 seconds later (an engine does not tell a process that its client has gone).
   The two directions are two threads: none can hold up the other, and ending one process ends both. */
#include "elf.S"
#define BUFFER 0x10000
#define THREAD_FLAGS 0x50f00            /* CLONE_VM|FS|FILES|SIGHAND|THREAD|SYSVSEM */

#if defined(__x86_64__)
_start: movl    (%rsp), %r15d                   /* argc */
        movq    16(%rsp), %rsi                  /* argv[1] */
        xorl    %ebx, %ebx
digit:  movzbl  (%rsi), %eax
        testl   %eax, %eax
        jz      number
        subl    $48, %eax
        imull   $10, %ebx, %ebx
        addl    %eax, %ebx
        incq    %rsi
        jmp     digit
number: rolw    $8, %bx                         /* network order */
        subq    $3*BUFFER, %rsp                 /* buffer of main, buffer of the thread, its stack */

        movl    $41, %eax                       /* socket(AF_INET, SOCK_STREAM, 0) */
        movl    $2, %edi
        movl    $1, %esi
        xorl    %edx, %edx
        syscall
        testl   %eax, %eax
        js      six
        movl    %eax, %r12d
        movw    $2, (%rsp)
        movw    %bx, 2(%rsp)
        movl    $0x0100007f, 4(%rsp)            /* 127.0.0.1 */
        movq    $0, 8(%rsp)
        movl    $42, %eax                       /* connect */
        movl    %r12d, %edi
        movq    %rsp, %rsi
        movl    $16, %edx
        syscall
        testl   %eax, %eax
        jz      joined
six:    movl    $41, %eax                       /* socket(AF_INET6, SOCK_STREAM, 0) */
        movl    $10, %edi
        movl    $1, %esi
        xorl    %edx, %edx
        syscall
        testl   %eax, %eax
        js      fail
        movl    %eax, %r12d
        movq    $10, (%rsp)
        movw    %bx, 2(%rsp)
        movq    $0, 8(%rsp)
        movl    $0, 16(%rsp)
        movl    $0x01000000, 20(%rsp)           /* ::1 */
        movl    $0, 24(%rsp)
        movl    $42, %eax                       /* connect */
        movl    %r12d, %edi
        movq    %rsp, %rsi
        movl    $28, %edx
        syscall
        testl   %eax, %eax
        jz      joined
fail:   movl    $1, %edi
        jmp     leave

joined: cmpl    $2, %r15d
        jne     good
        movl    $56, %eax                       /* clone */
        movl    $THREAD_FLAGS, %edi
        leaq    2*BUFFER(%rsp), %rsi
        xorl    %edx, %edx
        xorl    %r10d, %r10d
        xorl    %r8d, %r8d
        syscall
        testl   %eax, %eax
        js      fail
        jz      sender
        movl    %r12d, %r13d                    /* main: server to standard output */
        movl    $1, %r14d
        movq    %rsp, %rbp
        leaq    good(%rip), %rbx
        jmp     copy
sender: xorl    %r13d, %r13d                    /* thread: standard input to server */
        movl    %r12d, %r14d
        leaq    -BUFFER(%rsp), %rbp
        leaq    linger(%rip), %rbx

copy:   xorl    %eax, %eax                      /* read */
        movl    %r13d, %edi
        movq    %rbp, %rsi
        movl    $BUFFER, %edx
        syscall
        testq   %rax, %rax
        jle     ended
        movq    %rax, %r10
write:  movl    $1, %eax                        /* write */
        movl    %r14d, %edi
        movq    %r10, %rdx
        syscall
        testq   %rax, %rax
        jle     ended
        addq    %rax, %rsi
        subq    %rax, %r10
        jnz     write
        jmp     copy
ended:  jmp     *%rbx

linger: movl    $48, %eax                       /* shutdown(server, SHUT_WR) */
        movl    %r12d, %edi
        movl    $1, %esi
        syscall
        movl    $271, %eax                      /* ppoll(NULL, 0, {60, 0}, NULL, 0) */
        xorl    %edi, %edi
        xorl    %esi, %esi
        movq    $60, (%rsp)
        movq    $0, 8(%rsp)
        movq    %rsp, %rdx
        xorl    %r10d, %r10d
        xorl    %r8d, %r8d
        syscall
good:   xorl    %edi, %edi
leave:  movl    $231, %eax                      /* exit_group */
        syscall
#else
_start: ldr     w19, [sp]
        ldr     x1, [sp, #16]
        mov     w20, #0
        mov     w2, #10
digit:  ldrb    w0, [x1], #1
        cbz     w0, number
        sub     w0, w0, #48
        madd    w20, w20, w2, w0
        b       digit
number: rev16   w20, w20
        sub     sp, sp, #3*BUFFER

        mov     x8, #198
        mov     x0, #2
        mov     x1, #1
        mov     x2, #0
        svc     #0
        tbnz    w0, #31, six
        mov     w21, w0
        mov     w3, #2
        strh    w3, [sp]
        strh    w20, [sp, #2]
        mov     w3, #0x007f
        movk    w3, #0x0100, lsl #16
        str     w3, [sp, #4]
        str     xzr, [sp, #8]
        mov     x8, #203
        mov     w0, w21
        mov     x1, sp
        mov     x2, #16
        svc     #0
        cbz     w0, joined
six:    mov     x8, #198
        mov     x0, #10
        mov     x1, #1
        mov     x2, #0
        svc     #0
        tbnz    w0, #31, fail
        mov     w21, w0
        mov     x3, #10
        str     x3, [sp]
        strh    w20, [sp, #2]
        str     xzr, [sp, #8]
        str     wzr, [sp, #16]
        mov     w3, #0x01000000
        str     w3, [sp, #20]
        str     wzr, [sp, #24]
        mov     x8, #203
        mov     w0, w21
        mov     x1, sp
        mov     x2, #28
        svc     #0
        cbz     w0, joined
fail:   mov     x0, #1
        b       leave

joined: cmp     w19, #2
        b.ne    good
        mov     x8, #220
        mov     x0, #THREAD_FLAGS & 0xffff
        movk    x0, #THREAD_FLAGS >> 16, lsl #16
        add     x1, sp, #2*BUFFER
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        svc     #0
        tbnz    w0, #31, fail
        cbz     w0, sender
        mov     w22, w21
        mov     w23, #1
        mov     x24, sp
        adr     x25, good
        b       copy
sender: mov     w22, #0
        mov     w23, w21
        sub     x24, sp, #BUFFER
        adr     x25, linger

copy:   mov     x8, #63
        mov     w0, w22
        mov     x1, x24
        mov     x2, #BUFFER
        svc     #0
        cmp     x0, #0
        b.le    ended
        mov     x26, x0
        mov     x27, x24
write:  mov     x8, #64
        mov     w0, w23
        mov     x1, x27
        mov     x2, x26
        svc     #0
        cmp     x0, #0
        b.le    ended
        add     x27, x27, x0
        subs    x26, x26, x0
        b.ne    write
        b       copy
ended:  br      x25

linger: mov     x8, #210
        mov     w0, w21
        mov     x1, #1
        svc     #0
        mov     x8, #73
        mov     x0, #0
        mov     x1, #0
        mov     x3, #60
        str     x3, [sp]
        str     xzr, [sp, #8]
        mov     x2, sp
        mov     x3, #0
        mov     x4, #0
        svc     #0
good:   mov     x0, #0
leave:  mov     x8, #94
        svc     #0
#endif
end:
