#!/bin/sh
# Makes the user of the host known in its machine: account, group, home, and root's rights where sudo is there. Runs as root in the
# machine, with any shell of POSIX and no other program than chmod, chown, cp, mkdir, mv.
set -eu

# The lines of file $1 but those of name $2 or, where given, of the number $3 in the third field.
others() {
    [ -e "$1" ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        rest=${line#*:}
        rest=${rest#*:}
        if [ "${line%%:*}" != "$2" ] && { [ -z "${3-}" ] || [ "${rest%%:*}" != "$3" ]; }; then
            printf '%s\n' "$line"
        fi
    done <"$1"
}

# Makes $2 the content of file $1, which keeps its owner and mode: all at once, for a machine may be switched off at any time.
replace() {
    [ ! -e "$1" ] || cp -p "$1" "$1.machine"
    printf '%s\n' "$2" >"$1.machine"
    mv "$1.machine" "$1"
}

# Adds the user to the group $1, where there is one.
join() {
    [ -e /etc/group ] || return 0
    groups=
    while IFS= read -r line || [ -n "$line" ]; do
        if [ "${line%%:*}" = "$1" ]; then
            case ",${line##*:}," in
                ,,) line=$line$CONTAINER_USER ;;
                *",$CONTAINER_USER,"*) ;;
                *) line=$line,$CONTAINER_USER ;;
            esac
        fi
        groups="$groups${groups:+
}$line"
    done </etc/group
    replace /etc/group "$groups"
}

if [ "$CONTAINER_UID" != 0 ]; then
    shell=/bin/sh
    for candidate in /bin/bash "$CONTAINER_SHELL"; do
        [ ! -x "$candidate" ] || shell=$candidate
    done
    # An account of the image with this name or number makes room; a group of the system has its own name.
    if [ "$CONTAINER_GID" != 0 ]; then
        replace /etc/group "$(others /etc/group "$CONTAINER_USER" "$CONTAINER_GID")
$CONTAINER_USER:x:$CONTAINER_GID:"
    fi
    replace /etc/passwd "$(others /etc/passwd "$CONTAINER_USER" "$CONTAINER_UID")
$CONTAINER_USER:x:$CONTAINER_UID:$CONTAINER_GID::$CONTAINER_HOME:$shell"
    if [ -e /etc/shadow ]; then
        # No password opens it.
        replace /etc/shadow "$(others /etc/shadow "$CONTAINER_USER")
$CONTAINER_USER:*:19000:0:99999:7:::"
    fi
    for group in sudo wheel; do
        join "$group"
    done
    if [ -d /etc/sudoers.d ]; then
        # By number: a name may have characters that mean something there.
        printf '#%s ALL=(ALL:ALL) NOPASSWD: ALL\n' "$CONTAINER_UID" >/etc/sudoers.d/container-machine
        chmod 0440 /etc/sudoers.d/container-machine
    fi
    if [ ! -d "$CONTAINER_HOME" ]; then
        mkdir -p "$CONTAINER_HOME"
        [ ! -d /etc/skel ] || cp -R /etc/skel/. "$CONTAINER_HOME"
        chown -R "$CONTAINER_UID:$CONTAINER_GID" "$CONTAINER_HOME"
        chmod 0755 "$CONTAINER_HOME"
    fi
fi
