/* One input of the fuzzer: a byte that says what it is, then a message or a words file of relay-pid1. */
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "target.h"

enum { KIND_WORDS = 0x10, DESCRIPTORS = 0x0f };

static void require(bool condition) {
    if (!condition) abort();
}

static void check_descriptors(const struct request *request, size_t descriptors) {
    struct start_descriptors at = message_descriptors(request->start.flags);
    const int all[] = {at.words, at.record, at.output[0], at.output[1], at.input, at.script};
    require(at.count == descriptors);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) require(all[i] >= -1 && all[i] < (int)descriptors);
}

static void try_message(const uint8_t *data, size_t size, size_t descriptors) {
    struct request request;
    if (message_parse(data, size, descriptors, &request) != ERROR_OK) return;
    require(request.verb == VERB_BIND || (request.verb >= VERB_START && request.verb <= VERB_RESIZE));
    require(get64(data + 8) == request.tag);
    if (request.verb != VERB_START) return;
    require(request.start.group_count <= GROUPS_MAX && request.start.deadline_ms <= DEADLINE_MS_MAX);
    check_descriptors(&request, descriptors);
}

static size_t check_strings(const char **strings, uint32_t count) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) bytes += strlen(strings[i]) + 1;
    require(strings[count] == NULL);
    return bytes;
}

static void try_words(const uint8_t *data, size_t size) {
    struct words words;
    if (!words_counts(data, size, &words)) return;
    require(words.argument_count <= WORDS_COUNT_MAX && words.variable_count <= WORDS_COUNT_MAX);
    const char **pointers = calloc((size_t)words.argument_count + words.variable_count + 2, sizeof *pointers);
    require(pointers != NULL);
    if (words_fill(data, size, &words, pointers)) {
        size_t bytes = WORDS_HEADER + strlen(words.directory) + 1;
        bytes += check_strings(words.arguments, words.argument_count);
        bytes += check_strings(words.variables, words.variable_count);
        require(bytes == size);
    }
    free(pointers);
}

void target_run(const uint8_t *input, size_t size) {
    if (size == 0) return;
    uint8_t *copy = malloc(size - 1 + (size == 1)); /* of this size exactly, so that each byte after its end is noticed */
    require(copy != NULL);
    memcpy(copy, input + 1, size - 1);
#ifdef PLANTED_FAULT
    require(copy[size - 1] != 7); /* reads one byte after the end, which only the sanitizer notices */
#endif
    if (input[0] & KIND_WORDS) try_words(copy, size - 1);
    else try_message(copy, size - 1, input[0] & DESCRIPTORS);
    free(copy);
}
