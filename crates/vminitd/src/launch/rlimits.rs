//! Resource limits (setrlimit(2)).

use rustix::process::{Resource, Rlimit, setrlimit};

use super::failure::{Context, Failure};
use super::plan::PlanError;
use crate::spec;

/// Open files of a process whose specification says nothing: the soft limit that select(2) copes with, under
/// the guest's own hard limit.
const OPEN_FILES: u64 = 1024;

/// Looks the names up; `u64::MAX` is `RLIM_INFINITY`.
pub fn parse(limits: &[spec::Rlimit]) -> Result<Vec<(Resource, Rlimit)>, PlanError> {
    let finite = |value: u64| (value != u64::MAX).then_some(value);
    let mut parsed = Vec::with_capacity(limits.len());
    for limit in limits {
        if limit.soft > limit.hard {
            return Err(PlanError::RlimitOrder(limit.kind.clone()));
        }
        let resource =
            resource(&limit.kind).ok_or_else(|| PlanError::Rlimit(limit.kind.clone()))?;
        let value = Rlimit {
            current: finite(limit.soft),
            maximum: finite(limit.hard),
        };
        parsed.push((resource, value));
    }
    Ok(parsed)
}

/// Sets them for the calling process. Needs `CAP_SYS_RESOURCE`.
pub fn apply(limits: &[(Resource, Rlimit)]) -> Result<(), Failure> {
    if !limits
        .iter()
        .any(|(resource, _)| *resource == Resource::Nofile)
    {
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: Some(OPEN_FILES),
            maximum,
        };
        setrlimit(Resource::Nofile, limit).context(|| "cannot limit the open files")?;
    }
    for (resource, limit) in limits {
        setrlimit(*resource, *limit)
            .context(|| format!("cannot set the resource limit {resource:?}"))?;
    }
    Ok(())
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, soft: u64, hard: u64) -> Result<Vec<(Resource, Rlimit)>, PlanError> {
        parse(&[spec::Rlimit {
            kind: kind.to_owned(),
            soft,
            hard,
        }])
    }

    #[test]
    fn names_and_infinity() {
        let limits = of("RLIMIT_NOFILE", 10, u64::MAX).unwrap();
        assert_eq!(limits[0].0, Resource::Nofile);
        assert_eq!((limits[0].1.current, limits[0].1.maximum), (Some(10), None));
    }

    #[test]
    fn bad_limits_are_refused() {
        assert!(matches!(of("NOFILE", 1, 1), Err(PlanError::Rlimit(_))));
        assert!(matches!(
            of("RLIMIT_CPU", 2, 1),
            Err(PlanError::RlimitOrder(_))
        ));
    }
}
