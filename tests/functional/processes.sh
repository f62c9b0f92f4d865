# SPDX-License-Identifier: BSD-3-Clause
# Starting and stopping nbdkit in the background, for functions.sh and
# bin/nbdkit.  Tries are counted, not seconds: a busy machine takes longer
# for each.  Who needs all of them hangs.

_tries=6000                     # of 0.1 s and more

# nbdkit_ready PID PIDFILE: wait until nbdkit -P PIDFILE takes connections
# (the file is written then, and not before: nbdkit(1)).  False if it has
# ended or hangs.
nbdkit_ready ()
{
    local i
    for ((i = 0; i < _tries; i++)); do
        if [ -s "$2" ]; then return 0; fi
        kill -0 "$1" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

# nbdkit_end PID: stop nbdkit, a child of this shell; its exit status.  Who
# does not mind SIGTERM is killed.
nbdkit_end ()
{
    local i
    kill -TERM "$1" 2>/dev/null
    for ((i = 0; i < _tries; i++)); do
        if ! kill -0 "$1" 2>/dev/null; then
            # Without the number, return in a trap is 0 (bash's manual).
            wait "$1"
            return $?
        fi
        sleep 0.1
    done
    echo "FAIL: nbdkit (process $1) ignored SIGTERM" >&2
    kill -KILL "$1"
    wait "$1"
    return $?
}
