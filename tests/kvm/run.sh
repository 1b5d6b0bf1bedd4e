#!/usr/bin/env bash
# What must hold under KVM as it does under TCG: a set of end-to-end tests, and of the engine's, in the nested machine.
set -euo pipefail

[ $# -eq 3 ] || { echo "usage: run.sh WORK-DIRECTORY E2E-BINARY ENGINE-BINARY"; exit 2; }

# Everything here is emulated, so a start takes ten times as long as beside it: each kind of start once, in every run.
end_to_end=(
    commands::the_doctor_knows_why_there_is_no_kvm
    run::prints_from_a_kernel_of_its_own
    exec::runs_beside_the_first_process
    templates::the_second_start_of_a_shape_comes_from_a_template_and_is_its_own_machine
)
# The nested machine has no nftables, so a NIC is tried with a tap that the engine's test makes, and with vhost-net, which it has.
engine=(
    template::a_disk_and_a_nic_come_late_to_a_restored_machine
)
# With KVM_MORE.
more_end_to_end=(
    terminal::a_shell_on_a_terminal
    streams::a_pipe_goes_through
    lifecycle::stop_asks_and_then_kills
    lifecycle::two_systems_run_side_by_side
    faults::a_killed_helper_or_vmm_stops_its_container_and_no_other
)
more_engine=(
    template::a_nic_is_saved_and_has_another_tap_when_it_is_restored
    devices::disks_and_a_nic_are_found_by_their_roles
    devices::a_nic_of_the_start_is_given_to_other_networks
)
export CONTAINER_TEST_ACCELERATOR=kvm CONTAINER_TEST_VHOST=1
work=$1
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# chances SECONDS BINARY TEST...
#
# A guest in the emulated SVM of QEMU 7.2 sometimes never says a word. Seen once by its registers: KVM enters it again for
# ever, and CR2 is the address after the host's own VMRUN. Not every failure seen here is explained by that, so look at
# what is printed of the earlier chances. What fails is tried again, by itself, and so is what was not reached: a chance has three
# fifths of the time that is left, so that a machine that is silent does not take it all.
chances() {
    local limit=$1 binary begin=$SECONDS chance left index
    binary=$(realpath "$2")
    shift 2
    local tests=("$@")
    for chance in first second third; do
        left=$((limit - SECONDS + begin))
        # Less is no chance, and none at all would be no limit.
        [ "$left" -gt 30 ] || break
        KVM_LIMIT=$((left * 3 / 5)) "$(dirname "$0")/machine.sh" "$work" "$binary" --exact --color=never --test-threads=1 "${tests[@]}" \
            | tee "$log" || true
        # A name that no test has any more is not passed either.
        for index in "${!tests[@]}"; do
            ! grep -qF "test ${tests[index]} ... ok" "$log" || unset "tests[index]"
        done
        [ ${#tests[@]} -gt 0 ] || { echo "all passed, the last at the $chance chance"; return 0; }
        echo "not passed at the $chance chance: ${tests[*]}"
    done
    return 1
}

chances 540 "$2" "${end_to_end[@]}"
chances 420 "$3" "${engine[@]}"
[ -n "${KVM_MORE:-}" ] || exit 0
chances 900 "$2" "${more_end_to_end[@]}"
chances 600 "$3" "${more_engine[@]}"
