#ifndef RELAY_FUZZ_TARGET_H
#define RELAY_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* Parses an input and checks what came out; a fault ends the process. */
void target_run(const uint8_t *input, size_t size);

#endif
