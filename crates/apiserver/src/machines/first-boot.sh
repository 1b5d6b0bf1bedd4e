# Sets the user up, once in a machine's life: with the image's own script, with the one that was attached to the image, or with ours. Each
# gets the same variables, and finds ours in the place where Apple's tool has its own.
set -eu
exec </dev/null >/dev/console 2>&1
marker=/etc/.machine.initialized
[ ! -e "$marker" ] || exit 0
ours=/sbin.machine/create-user.sh
attached=/sbin.machine/setup.sh
mkdir -p /sbin.machine
printf '%s' "$CONTAINER_CREATE_USER" >"$ours"
script=$ours
if [ -n "$CONTAINER_SETUP" ]; then
    printf '%s' "$CONTAINER_SETUP" >"$attached"
    script=$attached
fi
chmod 0755 "$ours" "$script"
[ ! -f /etc/machine/create-user.sh ] || script=/etc/machine/create-user.sh
unset CONTAINER_CREATE_USER CONTAINER_SETUP
if [ -x "$script" ]; then
    "$script"
else
    sh "$script"
fi
: >"$marker"
