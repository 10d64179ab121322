/* Kills executions: TERM, a grace, then KILL again and again until none is left, by descent and by gid. */
#include <signal.h>

#include "relay.h"

enum { GRACE_LOOK_MS = 50, FIRST_WAIT_MS = 1, LONGEST_WAIT_MS = 50, EMPTY_LOOKS = 3, PAUSE_PER_LOOK = 2, STRAYS_EVERY_MS = 5000 };

static uint64_t strays_ns;
static uint32_t strays;
static uint32_t strays_wait_ms = FIRST_WAIT_MS;

static uint64_t after_ms(uint64_t now, uint64_t ms) { return now + ms * 1000000u; }

uint32_t strays_killed(void) { return strays; }

void kill_strays_soon(void) { strays_ns = 0; }

void kill_soon(struct execution *execution) { execution->killing.next_ns = 0; }

static bool add_waiter(struct killing *killing, const struct reference *from) {
    for (int i = 0; i < KILL_WAITERS; i++) {
        if (killing->waiters[i].waits) continue;
        killing->waiters[i] = *from;
        return true;
    }
    return false;
}

/* False if too many wait for this kill already. */
bool kill_ask(struct execution *execution, uint32_t grace_ms, const struct reference *from) {
    struct killing *killing = &execution->killing;
    uint64_t force_ns = after_ms(now_ns(), grace_ms);
    if (from != NULL && !add_waiter(killing, from)) return false;
    if (execution->outcome.state < STATE_ENDED) execution->outcome.flags |= END_KILL_ASKED;
    if (!killing->active) {
        killing->active = true;
        killing->looks = killing->sent = killing->empty = 0;
        killing->wait_ms = FIRST_WAIT_MS;
        killing->force_ns = force_ns;
    }
    if (force_ns < killing->force_ns) killing->force_ns = force_ns;
    killing->next_ns = 0;
    return true;
}

static void finish(struct execution *execution) {
    struct killing *killing = &execution->killing;
    struct failure none = {.error = ERROR_OK};
    uint8_t body[8];
    put32(put32(body, killing->looks), killing->sent);
    killing->active = false;
    for (int i = 0; i < KILL_WAITERS; i++) {
        struct reference waiter = killing->waiters[i];
        killing->waiters[i].waits = false;
        answer(&waiter, VERB_KILL, &none, body, sizeof body, -1);
    }
    execution_changed();
}

/* Sends its signal to each member; returns the number of those that were alive. */
static uint32_t strike(struct execution *execution, const struct process *all, size_t count, int number) {
    uint32_t alive = 0;
    for (size_t i = 0; i < count; i++) {
        if (all[i].dead || !process_is_of(&all[i], execution)) continue;
        alive++;
        if (number == 0 || !process_signal(&all[i], number) || number != SIGKILL) continue;
        execution->killing.sent++;
        if (execution->outcome.state < STATE_ENDED) execution->outcome.flags |= END_KILL_SENT;
    }
    return alive;
}

/* A look at thousands of processes takes long; between two looks those that were killed need the processor to end. */
static uint64_t after_pause(uint64_t began, uint64_t least_ms) {
    uint64_t now = now_ns(), pause = (now - began) * PAUSE_PER_LOOK;
    return pause > least_ms * 1000000u ? now + pause : after_ms(now, least_ms);
}

static void look(struct execution *execution, const struct process *all, size_t count, uint64_t now) {
    struct killing *killing = &execution->killing;
    bool force = now >= killing->force_ns;
    int number = force ? SIGKILL : killing->looks == 0 ? SIGTERM : 0;
    killing->looks++;
    uint32_t alive = strike(execution, all, count, number);
    if (alive == 0 && execution->supervisor == 0) {
        finish(execution);
        return;
    }
    killing->empty = alive == 0 ? killing->empty + 1 : 0;
    if (force && killing->empty > EMPTY_LOOKS) kill(execution->supervisor, SIGKILL); /* it was kept from ending */
    if (!force) {
        killing->next_ns = after_pause(now, GRACE_LOOK_MS);
        if (killing->next_ns > killing->force_ns) killing->next_ns = killing->force_ns;
        return;
    }
    killing->next_ns = after_pause(now, killing->wait_ms);
    if (killing->wait_ms < LONGEST_WAIT_MS) killing->wait_ms *= 2;
}

/* Kills what belongs to no execution: a process whose supervisor died, or that an exec of the engine left behind. */
static void kill_strays(const struct process *all, size_t count, uint64_t now) {
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (all[i].dead || (all[i].owner != OWNER_STRAY && all[i].owner != OWNER_UNKNOWN)) continue;
        found++;
        if (all[i].owner == OWNER_STRAY && process_signal(&all[i], SIGKILL)) strays++;
    }
    if (found == 0) strays_wait_ms = FIRST_WAIT_MS;
    else if (strays_wait_ms < LONGEST_WAIT_MS) strays_wait_ms *= 2;
    strays_ns = after_ms(now, found == 0 ? STRAYS_EVERY_MS : strays_wait_ms);
}

uint64_t kill_next(void) {
    uint64_t next = strays_ns;
    for (uint32_t i = 0; i < live_end; i++)
        if (live[i].used && live[i].killing.active && live[i].killing.next_ns < next) next = live[i].killing.next_ns;
    return next;
}

void kill_tick(uint64_t now) {
    struct process *all;
    if (kill_next() > now) return;
    size_t count = processes_look(&all);
    if (strays_ns <= now) kill_strays(all, count, now);
    for (uint32_t i = 0; i < live_end; i++)
        if (live[i].used && live[i].killing.active && live[i].killing.next_ns <= now) look(&live[i], all, count, now);
}
