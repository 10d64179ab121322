# supervise.sh RUN_DIR CWD [SECONDS]: runs one step and leaves a record of its end. POSIX sh (dash, bash, busybox).
#
# CWD is entered here, as the step's user, and not by the engine: a repository's symlinks lead the one who follows them.
# RUN_DIR is made beforehand by the host (host_files/run_dir.py). The step writes to two FIFOs; a copier for each appends to a file.
# Everything between the announcement and the record is done by builtins: a full pids limit or a full disk
# cannot keep the record from being written (it overwrites bytes that the host has laid out).
# SECONDS is the last resort: a worker should have ended the step by then. If none has, it is ended from here.
# The descriptors: 3 record, 4 stdin, 5/6 write ends of the FIFOs, 7/8 their read ends, 9 alive.

trap '' HUP INT QUIT TERM PIPE ALRM   # TERM to the whole group is meant for the step
copier=ok
trap 'copier=failed' USR1
late=
trap 'late=1' USR2
run=$1

# Readers of `alive` get EAGAIN while this process lives, and EOF once it is dead.
exec 9<>"$run/alive" || exit 113
# Exactly one start: created exclusively, without a fork. A worker that declares this run never started takes the name.
set -C
true >"$run/started" || exit 114
set +C
printf s >&9

oom_kills() {   # sets $oom: how often the kernel has ended a process of this container for memory
    oom=
    if [ -r /sys/fs/cgroup/memory.events ]; then set -- /sys/fs/cgroup/memory.events
    else set -- /sys/fs/cgroup/memory/memory.oom_control; fi
    [ -r "$1" ] || return 0
    while read -r key value; do
        [ "$key" = oom_kill ] && oom=$value
    done <"$1"
    return 0
}

# $code is empty until the step has ended: a shell that dies of a failed fork comes here without one.
record() {
    trap - EXIT
    oom_kills
    printf 'code=%s\noom_before=%s\noom_after=%s\ncopier=%s\nlate=%s\nend\n' "$code" "$oom_before" "$oom" "$copier" "$late" >&3
    printf x >&9
}

copy() {    # ends at the end of its input; when writing fails (a full disk), reads on, so that the step is not stopped
    $cat >&3 || { kill -USR1 $$; $cat >/dev/null; exit 1; }
}

code=
exec 3<>"$run/exit" 4<"$run/stdin" || exit 113
trap record EXIT
oom_kills
oom_before=$oom
cat=/bin/cat
[ -x $cat ] || cat=/usr/bin/cat
[ -x $cat ] || cat=cat   # a system with a layout of its own

# Parentheses around `copy`: a shell keeps a copy of every descriptor that it redirects for a function.
# Both ends are opened here, read-write first: no open waits for another process, and no byte is lost between two of them.
exec 5<>"$run/stdout.fifo" 6<>"$run/stderr.fifo" 7<"$run/stdout.fifo" 8<"$run/stderr.fifo" \
    5>"$run/stdout.fifo" 6>"$run/stderr.fifo"
(copy) <&7 3>>"$run/stdout" 4<&- 5>&- 6>&- 7<&- 8<&- 9>&- &
out=$!
(copy) <&8 3>>"$run/stderr" 4<&- 5>&- 6>&- 7<&- 8<&- 9>&- &
err=$!
exec 7<&- 8<&-

watch=
if [ -n "$3" ]; then
    (
        told=
        trap 'told=1' TERM
        sleep "$3" &
        [ -n "$told" ] || wait $!
        if [ -n "$told" ]; then   # what has lost its parent passes for a process that the step left: so wait for it
            trap '' TERM
            kill -KILL $!
            wait $!
            exit
        fi
        trap '' TERM
        kill -USR2 $$
        gid=$(while read -r key value rest; do [ "$key" = Gid: ] && echo "$value"; done </proc/$$/status)
        killer="/bin/sh ${0%/*}/kill.sh only $gid"
        { echo 'TERM 1'; sleep 10; echo 'KILL 1'; } | $killer
        # A step that ignores TERM passes for a copier: it is the child of this supervisor that is none.
        read -r me rest </proc/self/stat
        for file in /proc/[0-9]*/stat; do
            read -r pid name state parent rest <"$file" || continue
            [ "$parent" = $$ ] && [ "$pid" != "$out" ] && [ "$pid" != "$err" ] && [ "$pid" != "$me" ] && kill -KILL "$pid"
        done
        echo 'KILL 1' | $killer
    ) <&- >/dev/null 2>&1 3>&- 4<&- 5>&- 6>&- 7<&- 8<&- 9>&- &
    watch=$!
fi

fault=
if ! cd "$2" 2>/dev/null; then
    fault="the working directory $2 cannot be entered: it is missing, no directory, or closed to this user"
elif [ -x "$run/step" ]; then   # it has a line of its own for its interpreter, which the kernel follows without a word
    read -r first rest <"$run/step"
    first=${first#"#!"}
    [ -n "$first" ] || first=${rest%%[ 	]*}
    if [ ! -x "$first" ]; then
        code=127
        fault="the first line of the script asks for $first, which is no program here"
        case $first in *"$(printf '\r')") fault="$fault: the line ends with a carriage return (save the script with LF)" ;; esac
    fi
fi
unset OLDPWD
[ -z "$fault" ] || printf 'relay: %s\n' "$fault" >&6

# In the foreground: a background child of a shell without job control would ignore INT and QUIT for ever.
[ -n "$fault" ] || (
    trap - HUP INT QUIT TERM USR1 USR2 PIPE ALRM EXIT
    if [ -x "$run/step" ]; then set -- "$run/step"; else set -- /bin/sh "$run/step"; fi
    # A session of its own keeps a step's `kill 0` from this supervisor, where the image can make one.
    if command -v setsid >/dev/null; then exec setsid "$@"; fi
    exec "$@"
) <&4 >&5 2>&6 3>&- 4<&- 5>&- 6>&- 9>&-
ended=$?
[ -n "$fault" ] || code=$ended
exec 4<&- 5>&- 6>&-
record
[ -n "$watch" ] && kill "$watch"

trap '' USR1 USR2   # a trap would end the wait
wait $out
out=$?
wait $err
err=$?
printf 'stdout_copier=%s\nstderr_copier=%s\ndrained\n' "$out" "$err" >&3
# The watch ends before its parent, for the same reason. It is told again and again: the first time it may not have had
# its trap yet. Once the step is late it is at work, and is not waited for.
while [ -n "$watch" ] && [ -z "$late" ] && kill "$watch" && read -r me name state rest <"/proc/$watch/stat" &&
    [ "$state" != Z ]; do :; done 2>/dev/null
exit "${code:-113}"
