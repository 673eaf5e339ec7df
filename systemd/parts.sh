# What systemd/install.sh and the scripts of the Debian package have in common; both read it in. Not a program.
# shellcheck shell=bash

readonly CONFIG=/etc/countenance STATE=/var/lib/countenance ACCOUNT=countenance KIOSK_ACCOUNT=countenance-kiosk
readonly UNITS=/etc/systemd/system SERVICE=countenance.service KIOSK=countenance-kiosk.service
readonly TEMPLATE=countenance@.service # the same unit, for further cameras
readonly SETUP_UNITS=(countenance-setup.service countenance-setup-write.service countenance-setup-write.path)
readonly DROP_INS=$UNITS/$SERVICE.d
readonly READY_S=60 SETTLE_S=5

say() { printf '%s\n' "$*"; }

is_installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

create_account() {
    getent passwd "$1" >/dev/null ||
        run useradd --system --user-group --no-create-home --home-dir "$2" --shell /usr/sbin/nologin "$1"
}

create_folders() {
    # Only for the group: a camera's address in the file may have a password.
    run install -d -m 0750 -g "$ACCOUNT" "$CONFIG"
    run install -d -m 0750 -o "$ACCOUNT" -g "$ACCOUNT" "$STATE"
}

first_configuration() { run install -m 0640 -g "$ACCOUNT" "$1" "$CONFIG/agent.yaml"; }

main_pid() { systemctl show -p MainPID --value "$SERVICE"; }

# Restarts the service and waits until it is ready and stays so; Type=notify makes systemctl wait for READY=1.
become_ready() {
    local pid
    run timeout "$READY_S" systemctl restart "$SERVICE" || return 1
    pid=$(main_pid)
    sleep "$SETTLE_S"
    systemctl is-active -q "$SERVICE" && [[ $(main_pid) == "$pid" ]]
}

# Those of further cameras; each waits for its own readiness.
restart_further_cameras() { run systemctl --no-block try-restart 'countenance@*.service'; }

say_not_ready() {
    say "! $1 did not become ready within $READY_S s. Its last log lines:"
    journalctl -u "$SERVICE" -n 15 --no-pager -o cat || true
}

# Windows may have a separate partition (docs/device.md). Its mount point stays: it cannot be removed while mounted.
remove_state() {
    if mountpoint -q "$STATE"; then
        run find "$STATE" -mindepth 1 -not -path "$STATE/lost+found*" -delete
        say "! $STATE is a separate partition: it was emptied. To remove it: umount it and delete its line in /etc/fstab"
    else
        run rm -rf "$STATE"
    fi
}

remove_accounts() {
    local account
    for account in "$ACCOUNT" "$KIOSK_ACCOUNT"; do
        getent passwd "$account" >/dev/null || continue
        # The kiosk is a login session. Its systemd stays for a while, and userdel refuses a user who is logged in.
        [[ ! -d /run/systemd/system ]] || run systemctl stop "user-$(id -u "$account").slice"
        run userdel "$account"
    done
}
