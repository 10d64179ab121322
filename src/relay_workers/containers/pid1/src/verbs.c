/* What each verb does. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "relay.h"

enum { LEFTOVER_SIZE = 4 + NAME_SIZE, SCOPE_ALL = 1 };

static const struct failure fine = {.error = ERROR_OK};
static uint64_t began_ns;

static void refuse(const struct request *request, const struct reference *from, enum error error) {
    struct failure failure = {.error = error};
    answer(from, request->verb, &failure, NULL, 0, -1);
}

static void tell_own_state(const struct request *request, const struct reference *from) {
    uint8_t body[24];
    uint8_t *at = put32(put32(body, PROTOCOL_VERSION), execution_count());
    at = put32(put32(at, channel_count()), strays_killed());
    put64(at, (now_ns() - began_ns) / 1000000u);
    answer(from, request->verb, &fine, body, sizeof body, -1);
}

static void status(const struct request *request, const struct reference *from) {
    uint8_t body[STATUS_SIZE];
    if (key_is_null(&request->key)) {
        tell_own_state(request, from);
        return;
    }
    struct execution *execution = execution_find(&request->key);
    const struct outcome *outcome = execution == NULL ? execution_past(&request->key) : &execution->outcome;
    if (outcome == NULL) {
        refuse(request, from, ERROR_UNKNOWN_EXECUTION);
        return;
    }
    if (execution != NULL && !execution->closing) execution_read_streams(execution);
    outcome_status(outcome, body);
    answer(from, request->verb, &fine, body, sizeof body, -1);
    if (!(request->number & START_WATCH)) return;
    if (execution != NULL) event_watch(execution, from->connection);
    else event_watch_past(outcome, from->connection);
}

static void send_signal(const struct request *request, const struct reference *from, struct execution *execution) {
    struct process *all;
    uint32_t sent = 0;
    uint8_t body[8];
    size_t count = processes_look(&all);
    for (size_t i = 0; i < count; i++) {
        bool first = all[i].pid == execution->outcome.step && all[i].parent == execution->supervisor;
        bool chosen = request->scope == SCOPE_ALL ? process_is_of(&all[i], execution) : first;
        if (chosen && !all[i].dead && process_signal(&all[i], (int)request->number)) sent++;
    }
    if (request->number == SIGKILL && sent > 0) execution->outcome.flags |= END_KILL_SENT;
    put32(put32(body, sent), 0);
    answer(from, request->verb, &fine, body, sizeof body, -1);
}

static void leftovers(const struct request *request, const struct reference *from, struct execution *execution) {
    static uint8_t body[8 + LEFTOVERS_MAX * LEFTOVER_SIZE];
    struct process *all;
    uint32_t found = 0, listed = 0;
    size_t count = processes_look(&all);
    for (size_t i = 0; i < count; i++) {
        bool first = all[i].pid == execution->outcome.step && execution->outcome.state == STATE_RUNNING;
        if (first || all[i].dead || !process_is_of(&all[i], execution)) continue;
        found++;
        if (listed == LEFTOVERS_MAX) continue;
        uint8_t *at = put32(body + 8 + listed++ * LEFTOVER_SIZE, (uint32_t)all[i].pid);
        memcpy(at, all[i].name, NAME_SIZE);
    }
    put32(put32(body, found), listed);
    answer(from, request->verb, &fine, body, 8 + listed * LEFTOVER_SIZE, -1);
}

static void terminal(const struct request *request, const struct reference *from, struct execution *execution) {
    struct failure failure = {.error = execution->terminal < 0 ? ERROR_NO_TERMINAL : ERROR_OK};
    if (execution->terminal >= 0 && request->verb == VERB_RESIZE &&
        !pty_resize(execution->terminal, request->columns, request->rows))
        failure = (struct failure){.error = ERROR_NO_RESOURCES, .number = errno};
    answer(from, request->verb, &failure, NULL, 0, request->verb == VERB_PTY ? execution->terminal : -1);
}

/* The verbs for an execution whose step runs, or whose descendants may. */
static void handle_live(const struct request *request, const struct reference *from, struct execution *execution) {
    switch (request->verb) {
    case VERB_SIGNAL:
        if (execution->outcome.state == STATE_RUNNING || request->scope == SCOPE_ALL) send_signal(request, from, execution);
        else refuse(request, from, ERROR_NOT_RUNNING);
        return;
    case VERB_KILL:
        if (!kill_ask(execution, request->number, from)) refuse(request, from, ERROR_TOO_MANY);
        return;
    case VERB_LEFTOVERS: leftovers(request, from, execution); return;
    default: terminal(request, from, execution); return;
    }
}

/* Of a drained or forbidden execution no process is left: a kill has nothing to do. */
static void handle_past(const struct request *request, const struct reference *from) {
    static const uint8_t nothing[8];
    if (execution_past(&request->key) == NULL) refuse(request, from, ERROR_UNKNOWN_EXECUTION);
    else if (request->verb == VERB_KILL || request->verb == VERB_LEFTOVERS)
        answer(from, request->verb, &fine, nothing, sizeof nothing, -1);
    else refuse(request, from, ERROR_NOT_RUNNING);
}

void verb_handle(const struct request *request, const struct reference *from, int *fds) {
    struct execution *execution;
    struct failure failure;
    if (began_ns == 0) began_ns = now_ns();
    switch (request->verb) {
    case VERB_START:
        failure = start(request, from, fds);
        if (failure.error != ERROR_OK) answer(from, request->verb, &failure, NULL, 0, -1);
        return;
    case VERB_STATUS: status(request, from); return;
    case VERB_FORBID:
        failure = (struct failure){.error = execution_forbid(&request->key) ? ERROR_OK : ERROR_EXISTS};
        answer(from, request->verb, &failure, NULL, 0, -1);
        return;
    case VERB_DIAL: dial(request, from); return;
    default:
        execution = execution_find(&request->key);
        if (execution != NULL) handle_live(request, from, execution);
        else handle_past(request, from);
    }
}
