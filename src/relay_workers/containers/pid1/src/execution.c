/* The executions of this container, from their start until they are drained, and what is remembered of those before. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay.h"

struct execution live[LIVE_MAX];
uint32_t live_end;

static struct outcome past[PAST_MAX];
static uint32_t past_count;
static uint32_t past_next;
static bool changed;

static void remember(const struct outcome *outcome) {
    past[past_next] = *outcome;
    past_next = (past_next + 1) % PAST_MAX;
    if (past_count < PAST_MAX) past_count++;
}

const struct outcome *execution_past(const struct key *key) {
    for (uint32_t i = 1; i <= past_count; i++) {
        const struct outcome *outcome = &past[(past_next + PAST_MAX - i) % PAST_MAX];
        if (key_equal(&outcome->key, key)) return outcome;
    }
    return NULL;
}

struct execution *execution_find(const struct key *key) {
    for (uint32_t i = 0; i < live_end; i++)
        if (live[i].used && key_equal(&live[i].outcome.key, key)) return &live[i];
    return NULL;
}

struct execution *execution_new(const struct key *key) {
    uint32_t slot = 0;
    while (slot < LIVE_MAX && live[slot].used) slot++;
    if (slot == LIVE_MAX) return NULL;
    if (slot >= live_end) live_end = slot + 1;
    struct execution *execution = &live[slot];
    memset(execution, 0, sizeof *execution);
    execution->used = true;
    execution->terminal = -1;
    execution->outcome.key = *key;
    execution->outcome.state = STATE_STARTING;
    execution->outcome.oom_before = execution->outcome.oom_after = -1;
    return execution;
}

uint32_t execution_count(void) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < live_end; i++) count += live[i].used;
    return count;
}

/* False if the execution was started. */
bool execution_forbid(const struct key *key) {
    const struct outcome *known = execution_past(key);
    if (execution_find(key) != NULL || (known != NULL && known->state != STATE_FORBIDDEN)) return false;
    struct outcome outcome = {.key = *key, .state = STATE_FORBIDDEN, .oom_before = -1, .oom_after = -1};
    if (known == NULL) remember(&outcome);
    return true;
}

static void answer_start(struct execution *execution, enum error error, int number, enum stage stage) {
    struct failure failure = {error, number, stage};
    uint8_t body[8];
    put32(put32(body, (uint32_t)execution->outcome.step), 0);
    answer(&execution->starter, VERB_START, &failure, body, sizeof body, -1);
    execution->starter.waits = false;
}

static void end(struct execution *execution, enum how how, uint32_t value) {
    struct outcome *outcome = &execution->outcome;
    outcome->how = how;
    outcome->value = value;
    outcome->state = STATE_ENDED;
    outcome->ended_ns = now_ns();
    outcome->oom_after = oom_kills();
    event_send(execution, EVENT_EXITED);
    record_ended(&execution->record, outcome);
}

static void started(struct execution *execution, pid_t step) {
    struct outcome *outcome = &execution->outcome;
    outcome->step = step;
    outcome->state = STATE_RUNNING;
    outcome->started_ns = now_ns();
    if (execution->deadline_ms != 0) execution->deadline_ns = outcome->started_ns + execution->deadline_ms * 1000000u;
    answer_start(execution, ERROR_OK, 0, STAGE_NONE);
    record_started(&execution->record, outcome);
}

static void failed(struct execution *execution, int number, enum stage stage) {
    if (stage <= STAGE_STEP) {
        execution->aborted = true;
        answer_start(execution, number == EAGAIN ? ERROR_PIDS_LIMIT : ERROR_NO_RESOURCES, number, stage);
        return;
    }
    execution->outcome.stage = stage;
    answer_start(execution, ERROR_START_FAILED, number, stage);
    end(execution, HOW_START_FAILED, (uint32_t)number);
}

void execution_report(const struct report *report) {
    struct execution *execution = &live[report->slot % LIVE_MAX];
    enum state state = execution->outcome.state;
    if (!execution->used || execution->supervisor == 0) return;
    if (report->kind == REPORT_STARTED && state == STATE_STARTING) started(execution, report->value);
    if (report->kind == REPORT_FAILED && state == STATE_STARTING) failed(execution, report->value, (enum stage)report->stage);
    if (report->kind == REPORT_EXITED && state == STATE_RUNNING) {
        int status = report->value;
        if (WIFSIGNALED(status)) end(execution, HOW_SIGNALLED, (uint32_t)WTERMSIG(status));
        else end(execution, HOW_EXITED, (uint32_t)WEXITSTATUS(status));
    }
    execution_changed();
}

/* A clean end means that the kernel has shown it no child; otherwise its descendants are PID 1's children now. */
void execution_supervisor_gone(struct execution *execution, bool clean) {
    execution->supervisor = 0;
    execution_changed();
    if (clean) {
        kill_soon(execution);
        return;
    }
    bool unknown = execution->outcome.state == STATE_STARTING && !execution->aborted;
    if (unknown) answer_start(execution, ERROR_START_FAILED, 0, STAGE_SUPERVISOR);
    if (unknown || execution->outcome.state == STATE_RUNNING) end(execution, HOW_SUPERVISOR_LOST, 0);
    kill_ask(execution, 0, NULL);
    kill_strays_soon();
}

void execution_changed(void) { changed = true; }

static void read_stream(struct outcome *outcome, int i, struct stream *stream) {
    outcome->copied[i] = atomic_load(&stream->copied);
    outcome->dropped[i] = atomic_load(&stream->dropped);
    outcome->error[i] = atomic_load(&stream->error);
    outcome->stream_ended[i] = !stream->used || atomic_load(&stream->ended);
}

/* Brings the outcome up to date. */
void execution_read_streams(struct execution *execution) {
    for (int i = 0; i < 2; i++) read_stream(&execution->outcome, i, &execution->streams[i]);
    execution->outcome.flags &= ~(uint32_t)END_SUPERVISOR_LIVES;
    if (execution->supervisor != 0) execution->outcome.flags |= END_SUPERVISOR_LIVES;
}

/* No process of the execution is left, so what is in its pipes is all that comes: another's copy of one counts not. */
static bool streams_done(struct execution *execution) {
    bool done = true;
    for (int i = 0; i < 2; i++) {
        struct stream *stream = &execution->streams[i];
        if (!stream->used || copier_is_done(stream)) continue;
        if (!atomic_load(&stream->cut)) copier_cut(stream);
        done = false;
    }
    return done;
}

static void release(struct execution *execution) {
    if (!execution->aborted) remember(&execution->outcome);
    if (execution->terminal >= 0) close(execution->terminal);
    execution->used = false;
    while (live_end > 0 && !live[live_end - 1].used) live_end--;
}

static void settle(struct execution *execution) {
    struct outcome *outcome = &execution->outcome;
    bool over = outcome->state >= STATE_ENDED || execution->aborted;
    if (!over || execution->supervisor != 0 || execution->killing.active || !streams_done(execution)) return;
    if (!execution->closing) {
        execution->closing = true;
        execution_read_streams(execution);
        if (execution->aborted) record_abandon(&execution->record);
        else record_drained(&execution->record, outcome);
    }
    if (!atomic_load(&execution->record.closed)) return;
    if (outcome->state == STATE_ENDED) {
        outcome->state = STATE_DRAINED;
        event_send(execution, EVENT_DRAINED);
    }
    if ((execution->owes_exited | execution->owes_drained) == 0) release(execution);
}

/* Called at the end of each round of the loop: moves on what can. */
void execution_settle(void) {
    while (changed) {
        changed = false;
        for (uint32_t i = 0; i < live_end; i++)
            if (live[i].used) settle(&live[i]);
    }
}

void execution_expire(uint64_t now) {
    for (uint32_t i = 0; i < live_end; i++) {
        struct execution *execution = &live[i];
        if (!execution->used || execution->deadline_ns == 0 || now < execution->deadline_ns) continue;
        execution->deadline_ns = 0;
        if (execution->outcome.state == STATE_RUNNING) execution->outcome.flags |= END_DEADLINE;
        kill_ask(execution, execution->deadline_grace_ms, NULL);
    }
}

uint64_t execution_next(void) {
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < live_end; i++)
        if (live[i].used && live[i].deadline_ns != 0 && live[i].deadline_ns < next) next = live[i].deadline_ns;
    return next;
}

void outcome_status(const struct outcome *outcome, uint8_t body[STATUS_SIZE]) {
    memcpy(body, outcome->key.bytes, KEY_SIZE);
    uint8_t *at = put32(body + KEY_SIZE, outcome->state);
    at = put32(at, (uint32_t)outcome->step);
    at = put32(at, outcome->how);
    at = put32(at, outcome->value);
    at = put32(at, outcome->stage);
    at = put32(at, outcome->flags);
    at = put64(at, (uint64_t)outcome->oom_before);
    at = put64(at, (uint64_t)outcome->oom_after);
    at = put64(at, outcome->started_ns);
    at = put64(at, outcome->ended_ns);
    for (int i = 0; i < 2; i++) {
        at = put64(at, outcome->copied[i]);
        at = put64(at, outcome->dropped[i]);
        at = put32(at, outcome->error[i]);
        at = put32(at, outcome->stream_ended[i]);
    }
}
