# Waits until systemd, where it is the init, takes orders: before that `systemctl` and `poweroff` find nobody. Other inits are ready when
# they run. One that does not get so far is left to whoever wants to look at it.
ready() {
    for systemd in /lib/systemd/systemd /usr/lib/systemd/systemd; do
        [ ! /proc/1/exe -ef "$systemd" ] || return 1
    done
}
attempts=300
until ready || [ -S /run/systemd/private ] || [ "$attempts" = 0 ]; do
    attempts=$((attempts - 1))
    sleep 0.1
done
