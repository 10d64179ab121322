/* The state of PID 1 and the functions of its parts. Only the main thread touches it, but for streams and records. */
#ifndef RELAY_PID1_H
#define RELAY_PID1_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "message.h"

enum {
    LIVE_MAX = 1024,
    PAST_MAX = 8192,
    CONNECTIONS_MAX = 64,
    DIALS_MAX = 64,
    KILL_WAITERS = 4,
    LOW_DESCRIPTORS = 64, /* 0 to 63 are kept for the descriptors of a step that starts */
    REPORT_FD = 3
};

/* A request whose answer comes later. */
struct reference {
    bool waits;
    uint32_t connection;
    uint32_t generation;
    uint64_t tag;
};

struct failure {
    enum error error;
    int number; /* errno */
    enum stage stage;
};

/* An output of a step. The copier owns it from copier_add until it sets `ended`. */
struct stream {
    int source;
    int target;
    bool terminal;
    bool plain; /* its file system refuses splice */
    bool used;
    _Atomic uint64_t copied;
    _Atomic uint64_t dropped;
    _Atomic uint32_t error;
    _Atomic bool ended;
    _Atomic bool cut; /* take what is in it and end: no process of the execution is left that could hold it */
    bool registered;
    bool queued; /* under the copier's lock, as is `next` */
    struct stream *next;
};

/* A record file. The writer owns the descriptor from record_open until it sets `closed`. */
struct record {
    int fd;
    unsigned wanted; /* under the writer's lock, as are `queued` and `next` */
    bool queued;
    struct record *next;
    uint8_t started[RECORD_STARTED_SIZE];
    uint8_t ended[RECORD_ENDED_SIZE];
    uint8_t drained[RECORD_DRAINED_SIZE];
    _Atomic bool closed;
};

struct killing {
    bool active;
    uint64_t force_ns;
    uint64_t next_ns;
    uint32_t looks;
    uint32_t sent;
    uint32_t empty; /* looks in a row that found no member */
    uint32_t wait_ms;
    struct reference waiters[KILL_WAITERS];
};

/* The state of an execution that is kept after its end, as `status` tells it. */
struct outcome {
    struct key key;
    enum state state;
    pid_t step;
    enum how how;
    uint32_t value;
    enum stage stage;
    uint32_t flags;
    int64_t oom_before;
    int64_t oom_after;
    uint64_t started_ns;
    uint64_t ended_ns;
    uint64_t copied[2];
    uint64_t dropped[2];
    uint32_t error[2];
    bool stream_ended[2];
};

struct execution {
    bool used;
    bool aborted; /* its step was never made: the key stays unused and the record unwritten */
    bool closing; /* the last section of the record is with the writer */
    struct outcome outcome;
    uint64_t deadline_ms;
    pid_t supervisor; /* 0 once it is gone */
    uint32_t gid;
    uint64_t deadline_ns;
    uint32_t deadline_grace_ms;
    int terminal;
    struct stream streams[2];
    struct record record;
    struct reference starter;
    struct killing killing;
    uint64_t watchers; /* one bit for each connection, as in the two below */
    uint64_t owes_exited;
    uint64_t owes_drained;
};

/* What a supervisor tells PID 1 through the report pipe; atomic, as it is smaller than PIPE_BUF. */
enum report_kind { REPORT_STARTED = 1, REPORT_FAILED = 2, REPORT_EXITED = 3 };

struct report {
    uint32_t slot;
    uint32_t kind;
    int32_t value; /* pid, errno or wait status */
    int32_t stage;
};

/* What a supervisor needs to start its step. */
struct launch {
    uint32_t slot;
    const struct start_request *request;
    const struct words *words;
};

enum loop_kind { LOOP_SIGNAL, LOOP_REPORT, LOOP_STREAMS, LOOP_RECORDS, LOOP_LISTENER, LOOP_CONNECTION, LOOP_DIAL };

extern struct execution live[LIVE_MAX];
extern int null_fd;
extern int proc_fd;

/* main.c */
uint64_t now_ns(void);
void loop_add(int fd, uint32_t events, enum loop_kind kind, uint32_t index);
void loop_change(int fd, uint32_t events, enum loop_kind kind, uint32_t index);
void loop_remove(int fd);
void fatal(const char *what) __attribute__((noreturn));

/* bootstrap.c: returns the listening socket of the channel, however long that takes. */
int bootstrap(const char *path, void (*meanwhile)(void));

/* channel.c */
void channel_accept(int listener);
void channel_read(uint32_t index);
void channel_write(uint32_t index);
void channel_expire(uint64_t now);
uint32_t channel_count(void);
enum sent { SENT, SENT_NOT, SENT_TO_NONE };
enum sent channel_send(uint32_t index, const uint8_t *data, size_t size, int fd);
void channel_owes(uint32_t index, bool owes);
void answer(const struct reference *to, uint16_t verb, const struct failure *failure, const uint8_t *body, size_t size,
            int fd);

/* packet.c */
struct packet {
    uint8_t *data;
    size_t size;
    int fds[DESCRIPTORS_MAX];
    size_t fd_count;
    bool broken; /* too long, or with too many descriptors */
};
bool packet_from_outside(int fd);
bool packet_receive(int fd, uint8_t *buffer, size_t capacity, struct packet *packet);
bool packet_send(int socket, const uint8_t *data, size_t size, int fd);
void packet_close(struct packet *packet);
uint8_t *packet_header(uint8_t *at, uint16_t verb, size_t size, uint64_t tag);

/* verbs.c: keeps a descriptor by setting its place in `fds` to -1; the others are the caller's to close. */
void verb_handle(const struct request *request, const struct reference *from, int *fds);

/* start.c */
struct failure start(const struct request *request, const struct reference *from, int *fds);

/* spawn.c: makes the supervisor with these descriptors for its step; -1 and errno if it cannot. */
pid_t spawn(const struct launch *launch, const int stdio[3], int script);
void spawn_prepare(void);

/* supervisor.c */
void supervisor_run(const struct launch *launch) __attribute__((noreturn));

/* step.c: becomes the step; returns the failure if it cannot. */
struct failure step_become(const struct launch *launch);

/* execution.c */
extern uint32_t live_end; /* no slot from here on is used */
struct execution *execution_find(const struct key *key);
struct execution *execution_new(const struct key *key);
const struct outcome *execution_past(const struct key *key);
bool execution_forbid(const struct key *key);
void execution_report(const struct report *report);
void execution_supervisor_gone(struct execution *execution, bool clean);
void execution_changed(void);
void execution_settle(void);
void execution_read_streams(struct execution *execution);
void outcome_status(const struct outcome *outcome, uint8_t body[STATUS_SIZE]);
uint32_t execution_count(void);
void execution_expire(uint64_t now);
uint64_t execution_next(void);

/* events.c */
void event_send(struct execution *execution, enum verb verb);
void event_watch(struct execution *execution, uint32_t connection);
void event_watch_past(const struct outcome *outcome, uint32_t connection);
void event_pay(uint32_t connection);
void event_forget(uint32_t connection);
bool event_watched(uint32_t connection);

/* processes.c */
struct process {
    pid_t pid;
    pid_t parent;
    uint32_t gid[4];
    int32_t owner;
    bool dead;
    char name[NAME_SIZE];
};
enum owner { OWNER_UNKNOWN = -1, OWNER_ENGINE = -2, OWNER_STRAY = -3, OWNER_UNSET = -4 }; /* else a slot of `live` */
size_t processes_look(struct process **found);
bool process_is_of(const struct process *process, const struct execution *execution);
bool process_signal(const struct process *process, int number);

/* kill.c */
bool kill_ask(struct execution *execution, uint32_t grace_ms, const struct reference *from);
void kill_soon(struct execution *execution);
void kill_tick(uint64_t now);
uint64_t kill_next(void);
uint32_t strays_killed(void);
void kill_strays_soon(void);

/* copier.c, record.c: return the descriptor that tells the main thread of an end. */
int copier_begin(void);
void copier_add(struct stream *stream);
void copier_cut(struct stream *stream);
bool copier_is_done(struct stream *stream);
int record_begin(void);
void record_open(struct record *record, int fd);
void record_started(struct record *record, const struct outcome *outcome);
void record_ended(struct record *record, const struct outcome *outcome);
void record_drained(struct record *record, const struct outcome *outcome);
void record_abandon(struct record *record);

/* oom.c: -1 if unknown. */
void oom_begin(void);
int64_t oom_kills(void);

/* dial.c */
void dial(const struct request *request, const struct reference *from);
void dial_ready(uint32_t index);
void dial_expire(uint64_t now);
uint64_t dial_next(void);

/* pty.c: the master, and the other end in *slave; -1 and errno if it cannot. */
void pty_begin(void);
int pty_open(uint32_t uid, uint32_t gid, uint16_t columns, uint16_t rows, int *slave);
bool pty_resize(int master, uint16_t columns, uint16_t rows);

#endif
