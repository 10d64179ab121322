#include "message.h"

#include <string.h>

enum { START_FIXED = 72, SIGNALS_MAX = 64, SCOPE_MAX = 1, PORT_MAX = 65535 };

bool key_equal(const struct key *left, const struct key *right) {
    return memcmp(left->bytes, right->bytes, KEY_SIZE) == 0;
}

bool key_is_null(const struct key *key) {
    static const struct key null;
    return key_equal(key, &null);
}

struct start_descriptors message_descriptors(uint32_t flags) {
    struct start_descriptors at = {0, 1, {-1, -1}, -1, -1, 2};
    if (flags & START_STDOUT) at.output[0] = (int)at.count++;
    if (flags & START_STDERR) at.output[1] = (int)at.count++;
    if (flags & START_STDIN) at.input = (int)at.count++;
    if (flags & START_SCRIPT) at.script = (int)at.count++;
    return at;
}

static bool parse_start(const uint8_t *data, size_t size, size_t descriptors, struct start_request *start) {
    if (size < START_FIXED) return false;
    start->uid = get32(data + 40);
    start->gid = get32(data + 44);
    start->flags = get32(data + 48);
    start->group_count = get32(data + 52);
    start->deadline_ms = get64(data + 56);
    start->grace_ms = get32(data + 64);
    start->columns = get16(data + 68);
    start->rows = get16(data + 70);
    if (start->group_count > GROUPS_MAX || size != START_FIXED + 4 * (size_t)start->group_count) return false;
    if (start->flags & ~(uint32_t)START_FLAGS || start->deadline_ms > DEADLINE_MS_MAX) return false;
    if ((start->flags & START_TTY) && (start->flags & (START_STDERR | START_STDIN))) return false;
    if (descriptors != message_descriptors(start->flags).count) return false;
    for (uint32_t i = 0; i < start->group_count; i++) start->groups[i] = get32(data + START_FIXED + 4 * (size_t)i);
    return true;
}

static size_t size_of(uint16_t verb) {
    switch (verb) {
    case VERB_FORBID:
    case VERB_LEFTOVERS:
    case VERB_PTY: return HEADER_SIZE + KEY_SIZE;
    case VERB_STATUS:
    case VERB_SIGNAL:
    case VERB_KILL:
    case VERB_RESIZE: return HEADER_SIZE + KEY_SIZE + 8;
    case VERB_DIAL: return HEADER_SIZE + 8;
    default: return HEADER_SIZE; /* BIND and what PID 1 sends itself */
    }
}

static bool parse_fields(const uint8_t *data, struct request *out) {
    switch (out->verb) {
    case VERB_STATUS:
        out->number = get32(data + 40);
        return (out->number & ~(uint32_t)START_WATCH) == 0;
    case VERB_SIGNAL:
        out->number = get32(data + 40);
        out->scope = get32(data + 44);
        return out->number >= 1 && out->number <= SIGNALS_MAX && out->scope <= SCOPE_MAX;
    case VERB_KILL: out->number = get32(data + 40); return true;
    case VERB_DIAL: out->number = get16(data + 16); return out->number != 0;
    case VERB_RESIZE:
        out->columns = get16(data + 40);
        out->rows = get16(data + 42);
        return true;
    default: return true;
    }
}

enum error message_parse(const uint8_t *data, size_t size, size_t descriptors, struct request *out) {
    memset(out, 0, sizeof *out);
    if (size < HEADER_SIZE || size > MESSAGE_MAX) return ERROR_MALFORMED;
    out->verb = get16(data + 2);
    out->tag = get64(data + 8);
    if (get16(data) != PROTOCOL_VERSION || get32(data + 4) != size) return ERROR_MALFORMED;
    bool bind = out->verb == VERB_BIND;
    if (!bind && (out->verb < VERB_START || out->verb > VERB_RESIZE)) return ERROR_UNKNOWN_VERB;
    if (out->verb == VERB_START) {
        if (!parse_start(data, size, descriptors, &out->start)) return ERROR_MALFORMED;
    } else if (size != size_of(out->verb) || descriptors != (bind ? 1 : 0)) {
        return ERROR_MALFORMED;
    }
    if (size >= HEADER_SIZE + KEY_SIZE) memcpy(out->key.bytes, data + HEADER_SIZE, KEY_SIZE);
    if (!parse_fields(data, out)) return ERROR_MALFORMED;
    bool of_key = !bind && out->verb != VERB_DIAL && out->verb != VERB_STATUS;
    return of_key && key_is_null(&out->key) ? ERROR_MALFORMED : ERROR_OK;
}

bool words_counts(const uint8_t *data, size_t size, struct words *out) {
    memset(out, 0, sizeof *out);
    if (size <= WORDS_HEADER || size > WORDS_BYTES_MAX || data[size - 1] != 0) return false;
    if (get32(data) != WORDS_MAGIC || get32(data + 4) != 1) return false;
    out->argument_count = get32(data + 8);
    out->variable_count = get32(data + 12);
    return out->argument_count >= 1 && out->argument_count <= WORDS_COUNT_MAX && out->variable_count <= WORDS_COUNT_MAX;
}

/* Moves past one string; NULL if none begins here. The last byte of the file is a NUL, so that strnlen ends in it. */
static const char *next_string(const uint8_t *data, size_t size, size_t *at) {
    if (*at >= size) return NULL;
    const char *string = (const char *)data + *at;
    *at += strnlen(string, size - *at) + 1;
    return string;
}

bool words_fill(const uint8_t *data, size_t size, struct words *out, const char **pointers) {
    size_t at = WORDS_HEADER;
    out->directory = next_string(data, size, &at);
    if (out->directory == NULL || out->directory[0] != '/') return false;
    out->arguments = pointers;
    out->variables = pointers + out->argument_count + 1;
    for (uint32_t i = 0; i < out->argument_count; i++)
        if ((out->arguments[i] = next_string(data, size, &at)) == NULL) return false;
    for (uint32_t i = 0; i < out->variable_count; i++)
        if ((out->variables[i] = next_string(data, size, &at)) == NULL) return false;
    out->arguments[out->argument_count] = NULL;
    out->variables[out->variable_count] = NULL;
    return at == size;
}
