/* Tells the connections that watch an execution of its end; what they cannot take yet is owed. */
#include "relay.h"

enum { EVENT_SIZE = HEADER_SIZE + STATUS_SIZE };

static enum sent send_event(const struct outcome *outcome, enum verb verb, uint32_t connection) {
    uint8_t message[EVENT_SIZE];
    outcome_status(outcome, packet_header(message, (uint16_t)verb, sizeof message, 0));
    return channel_send(connection, message, sizeof message, -1);
}

/* Sends or owes one event; a later one never comes before an earlier one that is owed. */
static void tell(struct execution *execution, enum verb verb, uint32_t connection) {
    uint64_t bit = UINT64_C(1) << connection;
    bool later = verb == EVENT_DRAINED && (execution->owes_exited & bit);
    if (!later && send_event(&execution->outcome, verb, connection) != SENT_NOT) return;
    if (verb == EVENT_EXITED) execution->owes_exited |= bit;
    else execution->owes_drained |= bit;
    channel_owes(connection, true);
}

void event_send(struct execution *execution, enum verb verb) {
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++)
        if (execution->watchers & UINT64_C(1) << i) tell(execution, verb, i);
}

void event_watch(struct execution *execution, uint32_t connection) {
    uint64_t bit = UINT64_C(1) << connection;
    execution->watchers |= bit;
    if (execution->outcome.state >= STATE_ENDED) tell(execution, EVENT_EXITED, connection);
    if (execution->outcome.state == STATE_DRAINED) tell(execution, EVENT_DRAINED, connection);
}

void event_watch_past(const struct outcome *outcome, uint32_t connection) {
    if (outcome->state != STATE_DRAINED) return;
    if (send_event(outcome, EVENT_EXITED, connection) == SENT) send_event(outcome, EVENT_DRAINED, connection);
}

void event_pay(uint32_t connection) {
    uint64_t bit = UINT64_C(1) << connection;
    for (uint32_t i = 0; i < live_end; i++) {
        struct execution *execution = &live[i];
        if (!execution->used) continue;
        if (execution->owes_exited & bit) {
            if (send_event(&execution->outcome, EVENT_EXITED, connection) != SENT) return;
            execution->owes_exited &= ~bit;
        }
        if (execution->owes_drained & bit) {
            if (send_event(&execution->outcome, EVENT_DRAINED, connection) != SENT) return;
            execution->owes_drained &= ~bit;
        }
    }
    channel_owes(connection, false);
    execution_changed();
}

void event_forget(uint32_t connection) {
    uint64_t bit = UINT64_C(1) << connection;
    for (uint32_t i = 0; i < live_end; i++) {
        live[i].watchers &= ~bit;
        live[i].owes_exited &= ~bit;
        live[i].owes_drained &= ~bit;
    }
    execution_changed();
}

bool event_watched(uint32_t connection) {
    for (uint32_t i = 0; i < live_end; i++)
        if (live[i].used && (live[i].watchers & UINT64_C(1) << connection)) return true;
    return false;
}
