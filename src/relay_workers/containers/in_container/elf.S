/* The headers of a static executable of one read-only, executable segment and a stack that is not executable.
   Written out, so that the assembled bytes are the file and no linker has a say in them. */
#if defined(__x86_64__)
#define MACHINE 62
#elif defined(__aarch64__)
#define MACHINE 183
#else
#error "x86_64 and aarch64 only"
#endif
#define LOAD 0x400000

        .text
base:   .byte   0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0      /* "\x7fELF", 64 bit, little endian, version 1, System V */
        .zero   8
        .2byte  2, MACHINE                              /* ET_EXEC */
        .4byte  1
        .8byte  LOAD + (_start - base)
        .8byte  headers - base, 0
        .4byte  0
        .2byte  64, 56, 2, 0, 0, 0
headers:
        .4byte  1, 5                                    /* PT_LOAD, read and execute */
        .8byte  0, LOAD, LOAD, end - base, end - base, 0x10000
        .4byte  0x6474e551, 6                           /* PT_GNU_STACK, read and write */
        .8byte  0, 0, 0, 0, 0, 16
