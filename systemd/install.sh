#!/usr/bin/env bash
# Installs, upgrades or removes Countenance on Debian 12 or 13, Raspberry Pi OS or JetPack 6. Run it again at any time.
set -euo pipefail
shopt -s nullglob
umask 022 # the service's user must read what root puts in place, however strict root's own umask is
export PYTHONNOUSERSITE=1 # what root has in ~/.local looks installed to pip, and the service never sees it

usage() {
    cat <<'TEXT'
Usage: sudo systemd/install.sh [OPTIONS]

  --camera KIND         usb-camera, raspberry-pi, jetson or network-camera: what the service may touch (at first: usb-camera)
  --password-file FILE  file that holds the MQTT password; systemd hands it to the service alone
  --wheels DIR          install from this folder only, without a network (docs/device.md says how to fill it)
  --kiosk               also show the page full-screen on this machine's display
  --no-start            install, but start at the next boot only
  --dry-run             say what would be done, and do nothing
  --uninstall           remove program and service; configuration and recorded windows stay
  --uninstall --purge   remove these and the system user too
  -h, --help            this text

Program: /opt/countenance/VERSION, linked by /opt/countenance/current. Configuration: /etc/countenance/agent.yaml (never
overwritten). State: /var/lib/countenance. An upgrade that is not ready within a minute is rolled back.
TEXT
}

SOURCE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly SOURCE
readonly PREFIX=/opt/countenance COMMAND=/usr/local/bin/edge-agent
readonly PYTHON=/usr/bin/python3 # the system's: only it sees apt's picamera2
readonly NEEDED_MB=800
# shellcheck source=systemd/parts.sh
source "$SOURCE/systemd/parts.sh"

CAMERA='' PASSWORD='' WHEELS='' KIOSK_WANTED='' START=yes DRY_RUN='' UNINSTALL='' PURGE=''

fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
# Prints each step and does it, unless this is a dry run.
run() {
    say "+ $*"
    [[ -n $DRY_RUN ]] || "$@"
}
# Like run; writes standard input to a file.
write() {
    say "+ write $1"
    if [[ -n $DRY_RUN ]]; then cat >/dev/null; else cat >"$1"; fi
}

append() {
    say "+ append to $1"
    if [[ -n $DRY_RUN ]]; then cat >/dev/null; else cat >>"$1"; fi
}

read_options() {
    while (($#)); do
        case $1 in
            --camera | --password-file | --wheels)
                (($# > 1)) || fail "$1 wants a value; see --help"
                case $1 in
                    --camera) CAMERA=$2 ;;
                    --password-file) PASSWORD=$2 ;;
                    --wheels) WHEELS=$2 ;;
                esac
                shift ;;
            --kiosk) KIOSK_WANTED=yes ;;
            --no-start) START='' ;;
            --dry-run) DRY_RUN=yes ;;
            --uninstall) UNINSTALL=yes ;;
            --purge) PURGE=yes ;;
            -h | --help) usage; exit 0 ;;
            *) fail "unknown option $1; see --help" ;;
        esac
        shift
    done
}

# Files that were named are found from the root folder, too: no module of the folder that this was started in may run.
leave_folder() {
    [[ -z $PASSWORD ]] || PASSWORD=$(realpath -- "$PASSWORD")
    [[ -z $WHEELS ]] || WHEELS=$(realpath -- "$WHEELS")
    cd /
}

check_options() {
    case $CAMERA in
        '' | usb-camera | raspberry-pi | jetson | network-camera) ;;
        *) fail "--camera $CAMERA: must be usb-camera, raspberry-pi, jetson or network-camera" ;;
    esac
    [[ -z $PURGE || -n $UNINSTALL ]] || fail '--purge goes with --uninstall'
    [[ -z $PASSWORD || -s $PASSWORD ]] || fail "--password-file $PASSWORD: cannot read this file, or it is empty"
    [[ -z $WHEELS || -n $(compgen -G "$WHEELS/countenance-*.whl") ]] || fail "--wheels $WHEELS: no countenance-*.whl in there"
}

check_machine() {
    [[ ! -e /usr/lib/countenance ]] || fail 'the Debian package is installed: use apt, or first: sudo apt remove countenance'
    [[ $EUID -eq 0 || -n $DRY_RUN ]] || fail 'must run as root: sudo systemd/install.sh'
    [[ -x $PYTHON ]] || fail "$PYTHON is missing: apt-get install python3 python3-venv"
    "$PYTHON" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail 'Python 3.10 or newer is needed: use Debian 12 or newer'
    "$PYTHON" -I -c 'import sys; sys.exit(sys.maxsize < 2**32)' || fail 'a 64-bit system is needed: there are no 32-bit wheels of the model runtime'
    [[ -z $KIOSK_WANTED ]] || check_kiosk
    local free_mb
    free_mb=$(df --output=avail -m /opt | tail -n 1)
    ((free_mb > NEEDED_MB)) || fail "only $free_mb MB free for /opt, $NEEDED_MB needed: make room and run this again"
}

# Ubuntu and JetPack have Chromium only as a snap. It is not /usr/bin/chromium, and it needs a home under /home.
check_kiosk() {
    is_installed chromium || ! grep -qsx 'ID="\?ubuntu"\?' /etc/os-release ||
        fail '--kiosk: Chromium is only a snap on Ubuntu and JetPack, and the unit cannot start it; set kiosk.enabled and open the page on another machine'
}

# Installs the Debian packages that the chosen camera and page need.
install_debian_packages() {
    local packages=() missing=() package
    "$PYTHON" -I -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    case $CAMERA in
        raspberry-pi) packages+=(python3-picamera2) ;;
        jetson) packages+=(gstreamer1.0-plugins-base gstreamer1.0-plugins-good) ;;
    esac
    # cage does not start without Xwayland, and gets no screen without a login session.
    [[ -z $KIOSK_WANTED ]] || packages+=(cage chromium xwayland libpam-systemd)
    for package in "${packages[@]}"; do
        is_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    [[ -z $WHEELS ]] || fail "without a network first install: ${missing[*]}"
    run apt-get update || say '! apt-get could not renew all of its lists (see above)' # those of a fresh image are old
    run apt-get install -y --no-install-recommends "${missing[@]}" || fail "apt-get could not install ${missing[*]}"
}

# Prints what a release is made of: the system's Python and numpy, this project, and the wheels it may use.
ingredients() {
    "$PYTHON" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])'
    system_numpy
    if [[ -n $WHEELS ]]; then
        (cd "$WHEELS" && printf '%s\n' *.whl && sha256sum countenance-*.whl)
    else
        hash_files edge_agent pyproject.toml setup.py
    fi
    hash_files systemd
}

hash_files() {
    (cd "$SOURCE" && find "$@" -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum)
}

# Version and a digest of the ingredients, so that two states of one version never share a folder.
release_name() {
    local version digest
    version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$SOURCE/edge_agent/__init__.py")
    digest=$(ingredients | sha256sum)
    printf '%s-%s\n' "$version" "${digest:0:8}"
}

# apt's picamera2 is compiled against apt's numpy, so pip must install exactly that version.
system_numpy() {
    is_installed python3-picamera2 || return 0
    "$PYTHON" -I -c 'import numpy; print("numpy==" + numpy.__version__)'
}

# Build from a copy: pip leaves build folders next to the sources, and old ones would get into the program.
stage_sources() {
    STAGED=$(mktemp -d)
    trap 'rm -rf "$STAGED"' EXIT
    cp -r "$SOURCE"/{edge_agent,pyproject.toml,setup.py,README.md} "$STAGED/"
}

build_release() {
    local release=$1 options=(--only-binary=:all: --disable-pip-version-check --no-input) what='countenance[kiosk,updates]'
    if [[ -e $release/.complete ]]; then
        say "= $release is there already"
        return
    fi
    if [[ -n $WHEELS ]]; then
        options+=(--no-index --find-links "$WHEELS")
    else
        run stage_sources
        what="${STAGED:-$SOURCE}[kiosk,updates]"
    fi
    run rm -rf "$release"
    run "$PYTHON" -I -m venv --system-site-packages "$release"
    system_numpy | write "$release/constraints.txt"
    run "$release/bin/python" -I -m pip install -q "${options[@]}" -c "$release/constraints.txt" "$what" || {
        run rm -rf "$release"
        fail 'pip could not install the program (see above); nothing was changed. Without a network use --wheels DIR'
    }
    run cp -r "$SOURCE/systemd" "$SOURCE/docs" "$SOURCE/configs" "$release/"
    run touch "$release/.complete"
}

prepare_machine() {
    create_account "$ACCOUNT" "$STATE"
    [[ -z $KIOSK_WANTED ]] || create_account "$KIOSK_ACCOUNT" /nonexistent
    create_folders
    if [[ -e $CONFIG/agent.yaml ]]; then
        say "= $CONFIG/agent.yaml stays as it is"
    else
        first_configuration "$SOURCE/configs/${CAMERA:-usb-camera}.yaml"
        [[ -z $KIOSK_WANTED ]] || printf 'kiosk:\n  enabled: true\n' | append "$CONFIG/agent.yaml"
    fi
}

# Installs the release's unit and drop-ins; drop-ins chosen earlier are kept and updated.
install_units() {
    local units=$1/systemd name
    for name in "$SERVICE" "${SETUP_UNITS[@]}"; do
        if [[ -e $units/$name || -n $DRY_RUN ]]; then
            run install -m 0644 "$units/$name" "$UNITS/$name"
        else
            run rm -f "$UNITS/$name" # an older release has no setup in a browser
        fi
    done
    run install -m 0644 "$units/$SERVICE" "$UNITS/$TEMPLATE"
    run install -d "$DROP_INS"
    for name in raspberry-pi jetson network-camera; do
        if [[ $CAMERA == "$name" || (-z $CAMERA && -e $DROP_INS/40-$name.conf) ]]; then
            run install -m 0644 "$units/drop-ins/$name.conf" "$DROP_INS/40-$name.conf"
        else
            run rm -f "$DROP_INS/40-$name.conf"
        fi
    done
    if [[ -n $KIOSK_WANTED || -e $UNITS/$KIOSK ]] && [[ -e $units/$KIOSK || -n $DRY_RUN ]]; then
        run install -m 0644 "$units/$KIOSK" "$UNITS/$KIOSK"
    fi
}

install_password() {
    [[ -n $PASSWORD ]] || return 0
    if [[ $PASSWORD -ef $CONFIG/mqtt_password ]]; then
        run chmod 0600 "$PASSWORD" # edited in place
    else
        run install -m 0600 "$PASSWORD" "$CONFIG/mqtt_password"
    fi
    run install -d "$DROP_INS"
    write "$DROP_INS/50-password.conf" <<TEXT
[Service]
LoadCredential=mqtt_password:$CONFIG/mqtt_password
TEXT
}

# Points `current` to a release, in one step.
switch_to() {
    run ln -sfn "$1" "$PREFIX/current.new"
    run mv -T "$PREFIX/current.new" "$PREFIX/current"
    run ln -sfn "$PREFIX/current/bin/edge-agent" "$COMMAND"
    install_units "$1"
}

start_service() {
    run systemctl daemon-reload
    if [[ -z $DRY_RUN ]]; then become_ready || return 1; else run systemctl restart "$SERVICE"; fi
    run touch "$1/.good"
}

# A release that a boot started became ready without the installer. `current` does not prove that: an interrupted
# installer leaves it pointing to a release that never ran. The libraries in the service's memory do prove it.
mark_running() {
    [[ -d /run/systemd/system ]] && systemctl is-active -q "$SERVICE" || return 0
    local running
    running=$(grep -os -m 1 "$PREFIX/[^/ ]*/lib/" "/proc/$(main_pid)/maps" || true)
    [[ -z $running ]] || run touch "${running%/lib/}/.good"
}

# The release to go back to if this one does not become ready: the one in use, or else the last that was ready.
fallback_of() {
    local release=$1 current mark newest=''
    current=$(readlink "$PREFIX/current" || true)
    if [[ $current != "$release" && -e $current/.good ]]; then
        newest=$current/.good
    elif [[ ! -e $release/.good ]]; then
        for mark in "$PREFIX"/*/.good; do
            [[ -L ${mark%/.good} || (-n $newest && $newest -nt $mark) ]] || newest=$mark
        done
    fi
    printf '%s\n' "${newest%/.good}"
}

activate() {
    local release=$1 previous=$2
    install_password # before anything is switched, since it may fail
    switch_to "$release"
    run systemctl -q enable "$SERVICE"
    [[ ! -e $UNITS/${SETUP_UNITS[0]} ]] || run systemctl -q enable "${SETUP_UNITS[0]}" "${SETUP_UNITS[2]}"
    if [[ -n $KIOSK_WANTED ]]; then
        run systemctl -q enable "$KIOSK"
        [[ -n $DRY_RUN ]] || grep -qs '^kiosk:' "$CONFIG/agent.yaml" ||
            say "! The page is off: set kiosk.enabled to true in $CONFIG/agent.yaml"
    fi
    if [[ ! -d /run/systemd/system || -z $START ]]; then
        say '= not started: it starts at the next boot'
        return
    fi
    start_service "$release" || roll_back "$release" "$previous"
    restart_further_cameras
    # It waits for the page by itself.
    if [[ -n $KIOSK_WANTED ]]; then
        run systemctl --no-block restart "$KIOSK"
    elif [[ -e $UNITS/$KIOSK ]]; then
        run systemctl --no-block try-restart "$KIOSK" # with the unit that has just been renewed
    fi
    run systemctl --no-pager --lines=0 status "$SERVICE"
}

roll_back() {
    local release=$1 previous=$2
    say_not_ready "$(basename "$release")"
    if [[ -z $previous ]]; then
        fail "there is no other version to go back to; fix what the lines above say (often $CONFIG/agent.yaml), then run this again"
    fi
    say "! Going back to $(basename "$previous")"
    switch_to "$previous"
    [[ -e $release/.good ]] || run rm -rf "$release"
    start_service "$previous" || fail "the previous version does not start either: see journalctl -u $SERVICE"
    fail "rolled back: $(basename "$previous") is running again"
}

# Keeps the running release and the one before it.
prune() {
    local previous=$1 running release
    running=$(readlink "$PREFIX/current" || true)
    for release in "$PREFIX"/*/; do
        release=${release%/}
        [[ -L $release || $release == "$running" || $release == "$previous" ]] || run rm -rf "$release"
    done
}

install_all() {
    local release previous
    install_debian_packages # first of all: a numpy that comes with them is an ingredient of the release
    release=$PREFIX/$(release_name)
    mark_running
    previous=$(fallback_of "$release")
    run install -d "$PREFIX"
    build_release "$release"
    prepare_machine
    run "$release/bin/edge-agent" config check "$CONFIG/agent.yaml" ||
        fail "the configuration does not fit this version (see above); nothing was changed: fix $CONFIG/agent.yaml and run this again"
    activate "$release" "$previous"
    [[ -z $previous ]] || prune "$previous"
    say "Done: $(basename "$release"). Look: systemctl status countenance. Check: sudo edge-agent doctor -c $CONFIG/agent.yaml"
}

uninstall() {
    local unit
    if [[ -d /run/systemd/system ]]; then run systemctl stop 'countenance@*.service'; fi
    run rm -rf "${UNITS:?}/$TEMPLATE" "$UNITS"/countenance@*.service.d "$UNITS"/multi-user.target.wants/countenance@*.service
    for unit in "$KIOSK" "${SETUP_UNITS[@]}" "$SERVICE"; do
        [[ -e $UNITS/$unit ]] || continue
        if [[ -d /run/systemd/system ]]; then run systemctl -q disable --now "$unit"; else run systemctl -q disable "$unit"; fi
        run rm -rf "${UNITS:?}/$unit" "$UNITS/$unit.d"
    done
    if [[ -d /run/systemd/system ]]; then
        run systemctl daemon-reload
        run systemctl reset-failed "$SERVICE" 2>/dev/null || true # it complains when nothing had failed
    fi
    run rm -rf "$PREFIX"
    run rm -f "$COMMAND"
    if [[ -z $PURGE ]]; then
        say "Done. Kept: $CONFIG, $STATE and the user $ACCOUNT; remove them with --uninstall --purge"
        return
    fi
    run rm -rf "$CONFIG"
    remove_state
    remove_accounts
    say 'Done: nothing is left.'
}

main() {
    read_options "$@"
    check_options
    leave_folder
    if [[ -n $UNINSTALL ]]; then
        [[ $EUID -eq 0 || -n $DRY_RUN ]] || fail 'must run as root: sudo systemd/install.sh --uninstall'
        uninstall
    else
        check_machine
        install_all
    fi
}

main "$@"
