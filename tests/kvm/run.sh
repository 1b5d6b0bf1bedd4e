#!/usr/bin/env bash
# What must hold under KVM as it does under TCG: a set of end-to-end tests in the nested machine.
set -euo pipefail

[ $# -eq 2 ] || { echo "usage: run.sh WORK-DIRECTORY E2E-BINARY"; exit 2; }

tests=(
    commands::the_doctor_knows_why_there_is_no_kvm
    run::prints_from_a_kernel_of_its_own
    exec::runs_beside_the_first_process
    terminal::a_shell_on_a_terminal
    streams::a_pipe_goes_through
    lifecycle::stop_asks_and_then_kills
    lifecycle::two_systems_run_side_by_side
    faults::a_killed_helper_or_vmm_stops_its_container_and_no_other
    templates::the_second_start_of_a_shape_comes_from_a_template_and_is_its_own_machine
)
export CONTAINER_TEST_ACCELERATOR=kvm
exec "$(dirname "$0")/machine.sh" "$1" "$(realpath "$2")" --exact --color=never --test-threads=1 "${tests[@]}"
