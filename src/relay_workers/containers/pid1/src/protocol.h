/* The wire format: see docs/pid1-protocol.md. All integers are little-endian and read byte by byte. */
#ifndef RELAY_PROTOCOL_H
#define RELAY_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

enum {
    PROTOCOL_VERSION = 1,
    MESSAGE_MAX = 65536,
    HEADER_SIZE = 16,
    ANSWER_SIZE = 32,
    KEY_SIZE = 24,
    STATUS_SIZE = 128,
    DESCRIPTORS_MAX = 8,
    GROUPS_MAX = 64,
    LEFTOVERS_MAX = 256,
    NAME_SIZE = 16,
    SCRIPT_FD = 63,
    WORDS_HEADER = 16,
    WORDS_COUNT_MAX = 16384,
    WORDS_BYTES_MAX = 4 << 20
};

#define DEADLINE_MS_MAX (UINT64_C(1) << 40)

#define WORDS_MAGIC 0x44524f57u
#define SUPERVISOR_ID 2147000001u
#define ID_INVALID 0xffffffffu
#define ANSWER_BIT 0x8000u

enum verb {
    VERB_START = 1,
    VERB_STATUS = 2,
    VERB_FORBID = 3,
    VERB_SIGNAL = 4,
    VERB_KILL = 5,
    VERB_LEFTOVERS = 6,
    VERB_DIAL = 7,
    VERB_PTY = 8,
    VERB_RESIZE = 9,
    VERB_HELLO = 0x2001,
    VERB_BIND = 0x2002,
    VERB_READY = 0x2003,
    EVENT_EXITED = 0x4001,
    EVENT_DRAINED = 0x4002
};

enum error {
    ERROR_OK = 0,
    ERROR_MALFORMED = 1,
    ERROR_UNKNOWN_VERB = 2,
    ERROR_UNKNOWN_EXECUTION = 3,
    ERROR_EXISTS = 4,
    ERROR_FORBIDDEN = 5,
    ERROR_START_FAILED = 6,
    ERROR_PIDS_LIMIT = 7,
    ERROR_TOO_MANY = 8,
    ERROR_BAD_DESCRIPTOR = 9,
    ERROR_NOT_RUNNING = 10,
    ERROR_NO_TERMINAL = 11,
    ERROR_DIAL_FAILED = 12,
    ERROR_RESERVED_USER = 13,
    ERROR_NO_RESOURCES = 14
};

enum start_flag {
    START_TTY = 0x01,
    START_ROOT_CAPABILITIES = 0x02,
    START_WATCH = 0x04,
    START_STDOUT = 0x10,
    START_STDERR = 0x20,
    START_STDIN = 0x40,
    START_SCRIPT = 0x80,
    START_FLAGS = 0xf7
};

enum stage {
    STAGE_NONE = 0,
    STAGE_SUPERVISOR = 1,
    STAGE_STEP = 2,
    STAGE_SESSION = 3,
    STAGE_USER = 4,
    STAGE_CAPABILITIES = 5,
    STAGE_DIRECTORY = 6,
    STAGE_PROGRAM = 7
};

enum how { HOW_NONE = 0, HOW_EXITED = 1, HOW_SIGNALLED = 2, HOW_SUPERVISOR_LOST = 3, HOW_START_FAILED = 4 };

enum state { STATE_NONE = 0, STATE_STARTING = 1, STATE_RUNNING = 2, STATE_ENDED = 3, STATE_DRAINED = 4, STATE_FORBIDDEN = 5 };

enum end_flag { END_KILL_ASKED = 1, END_KILL_SENT = 2, END_DEADLINE = 4, END_SUPERVISOR_LIVES = 8 };

enum record_section {
    RECORD_STARTED = 64,
    RECORD_STARTED_SIZE = 32,
    RECORD_ENDED = 128,
    RECORD_ENDED_SIZE = 48,
    RECORD_DRAINED = 256,
    RECORD_DRAINED_SIZE = 56
};

static inline uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

static inline uint32_t get32(const uint8_t *at) { return get16(at) | (uint32_t)get16(at + 2) << 16; }

static inline uint64_t get64(const uint8_t *at) { return get32(at) | (uint64_t)get32(at + 4) << 32; }

static inline uint8_t *put16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    return at + 2;
}

static inline uint8_t *put32(uint8_t *at, uint32_t value) {
    return put16(put16(at, (uint16_t)value), (uint16_t)(value >> 16));
}

static inline uint8_t *put64(uint8_t *at, uint64_t value) {
    return put32(put32(at, (uint32_t)value), (uint32_t)(value >> 32));
}

#endif
