# kill.sh only|except GID...: looks at the processes of this container and signals them, as its input orders.
#
# Chosen are the processes whose real, effective, saved or file gid is one of GID (only), or none of whose is (except).
# Input: one line per look, `<signal> <spare>`; signal 0 sends nothing, spare 1 leaves supervisors and their copiers.
# Output: one line per look, `<chosen> <moving> <spared>`: chosen and not spared, those of them not yet stopped, spared.
# Its clock is the caller's, so it needs no sleep; it uses builtins only, as a fork fails at the pids limit.
# POSIX sh (dash, bash, busybox).

# A process started by the engine has a parent outside of this namespace (PPid 0), which nothing in here can feign.
# With gid 0 it is a helper of Relay's own (this one, or one that passes a connection on); with another it is a supervisor.
mode=$1
shift
wanted=" $* "

look() {    # reads one /proc/PID/status into variables
    name=; state=; parent=; gids=; threads=0; ignored=
    while read -r key value rest; do
        case $key in
            State:) state=$value ;;
            PPid:) parent=$value ;;
            Gid:) gids="$value $rest" ;;
            Threads:) threads=$value ;;
            SigIgn:) ignored=$value; break ;;
        esac
    done
}

chosen() {
    match=no
    for gid in $gids; do
        case $wanted in *" $gid "*) match=yes ;; esac
    done
    case $mode in
        only) [ $match = yes ] ;;
        *) [ $match = no ] && ! { [ "$parent" = 0 ] && [ "${gids%%[!0-9]*}" = 0 ]; } ;;
    esac
}

members() {     # sets $spares: the supervisors, and what ignores TERM (bit 14) up to two steps below: copiers and their cat
    spares=' ' ignoring=
    for file in /proc/[0-9]*/status; do
        look 2>/dev/null <"$file" || continue
        pid=${file#/proc/}
        pid=${pid%/status}
        [ "$parent" = 0 ] && spares="$spares$pid "
        case $ignored in *[4567cdef]???) ignoring="$ignoring $pid:$parent" ;; esac
    done
    for step in 1 2; do
        for pair in $ignoring; do
            case $spares in *" ${pair#*:} "*) spares="$spares${pair%:*} " ;; esac
        done
    done
}

while read -r signal spare; do
    spares=' '
    [ "$spare" = 1 ] && members
    count=0 moving=0 spared=0
    for file in /proc/[0-9]*/status; do
        pid=${file#/proc/}
        pid=${pid%/status}
        [ "$pid" = 1 ] || [ "$pid" = $$ ] && continue
        look 2>/dev/null <"$file" || continue
        # A zombie is dead, unless it is a leader whose threads go on.
        case $state in '' | X*) continue ;; Z*) [ "$threads" -gt 1 ] || continue ;; esac
        chosen || continue
        case $spares in *" $pid "*) spared=$((spared + 1)); continue ;; esac
        count=$((count + 1))
        case $state in T*) ;; *) moving=$((moving + 1)) ;; esac
        [ "$signal" = 0 ] || kill -s "$signal" "$pid" 2>/dev/null
    done
    echo "$count $moving $spared"
done
