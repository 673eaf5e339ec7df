#!/bin/bash
# kiosk-watch.sh PORT SECONDS COMMAND...: becomes COMMAND. Ends it when the page at PORT answers, but no browser of this
# account has been connected to it for SECONDS. Then countenance-kiosk.service starts everything again.
#
# The page holds a connection as long as it lives. Its process can crash, or the kernel ends it for memory (Chromium
# offers it first). Then Chromium shows an error for ever, and neither it nor cage ends. No option of Chromium reloads
# the page.
set -u
readonly PORT=$1 LOST_S=$2 STEP_S=5
shift 2

# Chromium's end of a connection to the page (see proc_pid_net(5)); state 01 is "established".
is_connected() {
    local port remote state uid
    printf -v port ':%04X' "$PORT"
    while read -r _ _ remote state _ _ _ uid _; do
        [[ $remote == *"$port" && $state == 01 && $uid == "$UID" ]] && return
    done < <(cat /proc/net/tcp) # not line by line: the table changes while it is read
    return 1
}

answers() { (: </dev/tcp/127.0.0.1/"$PORT") 2>/dev/null; }

# Seconds are counted by sleeping, so a jump of the clock has no effect.
watch() {
    local left_s=$((5 * LOST_S)) # a first start from a slow card takes its time
    while sleep "$STEP_S" && kill -0 "$$" 2>/dev/null; do
        if is_connected || ! answers; then
            left_s=$LOST_S
        elif (((left_s -= STEP_S) <= 0)); then
            echo "the page answers, but the browser has lost it: starting again" >&2
            kill "$$"
            sleep 10
            kill -KILL "$$"
        fi
    done
}

watch &
exec "$@"
