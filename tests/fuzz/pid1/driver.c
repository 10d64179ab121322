/* A small fuzzer guided by coverage, for gcc, which has no libFuzzer: driver CORPUS SECONDS CURRENT.
 *
 * Runs the target with each file of the directory CORPUS, then for SECONDS with changed ones; inputs that reach new code
 * are changed further. The file CURRENT has the size (8 bytes) and the bytes of the input that runs: after a crash, those
 * of the culprit. */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "target.h"

enum { INPUT_MAX = 4096, INPUTS_MAX = 8192, EDGES = 1 << 12, HEADER_AT = 1, LENGTH_AT = 5 };

struct input {
    size_t size;
    uint8_t data[INPUT_MAX];
};

static struct input inputs[INPUTS_MAX];
static size_t input_count;
static struct input *current;
static uint8_t hits[EDGES], seen[EDGES];
static uintptr_t previous;
static uint64_t seed;

/* Called by the target's code in each basic block. */
void __sanitizer_cov_trace_pc(void) {
    uintptr_t here = (uintptr_t)__builtin_return_address(0);
    uintptr_t edge = (here ^ (here >> 12) ^ previous) % EDGES;
    if (hits[edge] < UINT8_MAX) hits[edge]++;
    previous = here << 1;
}

static uint32_t below(uint32_t limit) { /* xorshift64* */
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (uint32_t)((seed * UINT64_C(2685821657736338717)) >> 32) % limit;
}

static void die(const char *what) {
    perror(what);
    exit(2);
}

/* Whether the run took an edge for the first time, or for the first time this often (in powers of 2). */
static bool is_new(void) {
    bool found = false;
    for (size_t i = 0; i < EDGES; i++) {
        if (hits[i] == 0) continue;
        uint8_t often = (uint8_t)(1u << (31 - __builtin_clz((unsigned)hits[i])));
        if (seen[i] & often) continue;
        seen[i] |= often;
        found = true;
    }
    return found;
}

static void run(void) {
    memset(hits, 0, sizeof hits);
    previous = 0;
    target_run(current->data, current->size);
    if (is_new() && input_count < INPUTS_MAX) inputs[input_count++] = *current;
}

static void overwrite(size_t width) {
    static const uint64_t values[] = {0, 1, 7, 16, 63, 64, 65, 128, 255, 16384, 16385, 32768, 65535, 65536,
                                      0x7fffffff, 0x80000000, 0xffffffff, UINT64_C(1) << 40, UINT64_MAX};
    if (current->size < width) return;
    uint64_t value = values[below(sizeof values / sizeof *values)];
    if (below(4) == 0) value = current->size - 1 + below(3) - 1;
    memcpy(current->data + below((uint32_t)(current->size - width + 1)), &value, width);
}

static void move(void) { /* removes or repeats a part */
    if (current->size < 2) return;
    size_t from = below((uint32_t)current->size), most = current->size - from;
    size_t size = 1 + below((uint32_t)(most < 64 ? most : 64));
    if (below(2)) {
        memmove(current->data + from, current->data + from + size, most - size);
        current->size -= size;
    } else if (current->size + size <= INPUT_MAX) {
        memmove(current->data + from + size, current->data + from, most);
        current->size += size;
    }
}

static void join(void) { /* goes on as another input does */
    const struct input *other = &inputs[below((uint32_t)input_count)];
    size_t smaller = current->size < other->size ? current->size : other->size;
    size_t at = below((uint32_t)smaller + 1);
    memcpy(current->data + at, other->data + at, other->size - at);
    current->size = other->size;
}

static void change(void) {
    for (uint32_t times = 1 + below(6); times > 0; times--) {
        switch (below(6)) {
        case 0:
            if (current->size) current->data[below((uint32_t)current->size)] ^= (uint8_t)(1u << below(8));
            break;
        case 1:
            if (current->size) current->data[below((uint32_t)current->size)] = (uint8_t)below(256);
            break;
        case 2: overwrite((size_t)1 << below(4)); break;
        case 3: move(); break;
        case 4: join(); break;
        default:
            if (current->size < INPUT_MAX) current->data[current->size++] = (uint8_t)below(256);
        }
    }
    if (current->size < LENGTH_AT + 4 || below(4) == 0) return;
    uint32_t length = (uint32_t)current->size - HEADER_AT; /* else nearly all are refused for their length */
    if (current->data[0] < 16) memcpy(current->data + LENGTH_AT, &length, sizeof length);
    else current->data[current->size - 1] = 0;
}

static size_t run_corpus(const char *folder) {
    size_t count = 0;
    struct dirent *entry;
    DIR *open = opendir(folder);
    if (open == NULL) die(folder);
    while ((entry = readdir(open)) != NULL) {
        if (entry->d_name[0] == '.') continue;
        int fd = openat(dirfd(open), entry->d_name, O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? -1 : read(fd, current->data, INPUT_MAX);
        if (size < 0) die(entry->d_name);
        close(fd);
        current->size = (size_t)size;
        run();
        count++;
    }
    closedir(open);
    return count;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: driver CORPUS SECONDS CURRENT\n");
        return 2;
    }
    int fd = open(words[3], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *current) != 0) die(words[3]);
    current = mmap(NULL, sizeof *current, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (current == MAP_FAILED) die(words[3]);
    size_t files = run_corpus(words[1]);
    if (files == 0) die("an empty corpus");
    double end = seconds() + atof(words[2]);
    seed = (uint64_t)time(NULL) * 2 + 1;
    unsigned long long runs = 0;
    while (seconds() < end)
        for (int i = 0; i < 256; i++, runs++) {
            *current = inputs[below((uint32_t)input_count)];
            change();
            run();
        }
    size_t edges = 0;
    for (size_t i = 0; i < EDGES; i++) edges += seen[i] != 0;
    printf("%zu files, %llu runs, %zu inputs, %zu edges\n", files, runs, input_count, edges);
    return 0;
}
