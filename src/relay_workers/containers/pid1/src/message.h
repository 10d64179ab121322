/* Parses what a peer sends: requests and the words of a step. Free of I/O and allocation, so that it can be fuzzed. */
#ifndef RELAY_MESSAGE_H
#define RELAY_MESSAGE_H

#include <stdbool.h>

#include "protocol.h"

struct key {
    uint8_t bytes[KEY_SIZE];
};

struct start_request {
    uint32_t uid;
    uint32_t gid;
    uint32_t flags;
    uint32_t group_count;
    uint64_t deadline_ms;
    uint32_t grace_ms;
    uint16_t columns;
    uint16_t rows;
    uint32_t groups[GROUPS_MAX];
};

struct request {
    uint16_t verb;
    uint64_t tag;
    struct key key;
    uint32_t number; /* flags of status, signal, grace of kill, port of dial */
    uint32_t scope;
    uint16_t columns;
    uint16_t rows;
    struct start_request start;
};

/* Where each descriptor of a start stands in its message; -1 where it was not sent. */
struct start_descriptors {
    int words;
    int record;
    int output[2];
    int input;
    int script;
    size_t count;
};

struct words {
    uint32_t argument_count;
    uint32_t variable_count;
    const char *directory;
    const char **arguments; /* ended by NULL, as are the variables */
    const char **variables;
};

/* Fills `out` from a message with this number of descriptors. The tag and the verb are set whenever the header is whole. */
enum error message_parse(const uint8_t *data, size_t size, size_t descriptors, struct request *out);

struct start_descriptors message_descriptors(uint32_t start_flags);

bool key_is_null(const struct key *key);
bool key_equal(const struct key *left, const struct key *right);

/* Reads the counts of a words file; false if it is invalid. words_fill needs argument_count + variable_count + 2 pointers. */
bool words_counts(const uint8_t *data, size_t size, struct words *out);

/* Points at the strings inside `data`, which has to stay; false if they are not as the counts say. */
bool words_fill(const uint8_t *data, size_t size, struct words *out, const char **pointers);

#endif
