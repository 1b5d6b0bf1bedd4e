//! The guest's moments of a start, on the host's clock.

use container_api::guest::Timeline as GuestTimeline;
use container_resource::bundle::Timeline;

use crate::machine::Origin;

/// The longest start that a guest is believed to have had, in microseconds.
const MAX_DISTANCE_US: i64 = 60 * 60 * 1_000_000;

/// The guest's own moments, on the host's clock: it read its clock when the request came.
pub(super) fn guest_phases(
    timeline: &mut Timeline,
    sent_us: i64,
    origin: Origin,
    reported: Option<&GuestTimeline>,
) {
    let Some(reported) = reported else { return };
    let mut reached = |name, boot_ns| {
        let before = i128::from(reported.request_ns) - i128::from(boot_ns);
        // A guest can say anything. What is no moment near this start is left out.
        let Some(at_us) = i64::try_from(before / 1000)
            .ok()
            .filter(|before| before.abs() <= MAX_DISTANCE_US)
            .and_then(|before| sent_us.checked_sub(before))
        else {
            return;
        };
        timeline.reached_at(name, at_us);
    };
    if let Origin::Cold { hello, .. } = origin {
        reached("kernel entered", 0);
        reached("PID 1", hello.pid1_ns);
    }
    if reported.network_ready_ns != 0 {
        reached("network ready", reported.network_ready_ns);
    }
    reached("root mounted", reported.root_mounted_ns);
    reached("process started", reported.process_started_ns);
    timeline.phases.sort_by_key(|phase| phase.at_us);
}

#[cfg(test)]
mod tests {
    use super::*;
    use container_api::greeting::Hello;
    use jiff::Timestamp;

    #[test]
    fn moments_that_a_guest_made_up_are_not_told() {
        let now = Timestamp::now().as_microsecond();
        let origin = |pid1_ns| Origin::Cold {
            hello: Hello { pid1_ns },
            template_wanted: false,
        };
        let phases = |origin, reported: &GuestTimeline| {
            let mut timeline = Timeline::default();
            timeline.reached_at("start requested", now - 1_000_000);
            guest_phases(&mut timeline, now - 1000, origin, Some(reported));
            let names = timeline.phases.iter().map(|phase| phase.name.clone());
            names.collect::<Vec<_>>().join(", ")
        };
        let mut reported = GuestTimeline {
            request_ns: 500_000_000,
            root_mounted_ns: 500_400_000,
            process_started_ns: 500_800_000,
            network_ready_ns: 0,
        };
        assert_eq!(
            phases(origin(100_000_000), &reported),
            "start requested, kernel entered, PID 1, root mounted, process started"
        );
        reported.network_ready_ns = 500_200_000;
        assert_eq!(
            phases(origin(100_000_000), &reported),
            "start requested, kernel entered, PID 1, network ready, root mounted, process started"
        );
        reported.network_ready_ns = 0;
        reported.root_mounted_ns = u64::MAX;
        reported.process_started_ns = 0;
        assert_eq!(
            phases(origin(u64::MAX), &reported),
            "start requested, kernel entered, process started"
        );
        reported.request_ns = u64::MAX;
        assert_eq!(
            phases(origin(0), &reported),
            "start requested, root mounted"
        );
    }
}
