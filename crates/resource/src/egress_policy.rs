//! Destinations outside of a network, as flags have them: `none`, or `allow=<rule>[,<rule>]...`.

use crate::egress::{EgressError, EgressRule};
use crate::vain_egress::{self as vain, VainError};

/// The most rules of one container or network.
pub const MAX_RULES: usize = 256;

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressPolicyError {
    /// Neither `none` nor `allow=`.
    #[error("invalid egress '{0}': none, or allow=<rule>[,<rule>]... is expected")]
    Form(String),
    /// `none` beside rules, or as one of them.
    #[error(
        "'none' in an egress policy stands alone, without allow= and without rules: it allows nothing"
    )]
    None,
    /// A rule of it.
    #[error(transparent)]
    Rule(#[from] EgressError),
    /// A rule that no packet and no name can ever meet.
    #[error(transparent)]
    Vain(#[from] VainError),
    /// More than [`MAX_RULES`].
    #[error("{0} egress rules are too many: at most {MAX_RULES} are allowed")]
    TooMany(usize),
}

/// The rules of a policy; `none` has none.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<Vec<EgressRule>, EgressPolicyError> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    let rules = text
        .strip_prefix("allow=")
        .ok_or_else(|| EgressPolicyError::Form(text.to_owned()))?;
    if rules
        .split(',')
        .any(|rule| rule.eq_ignore_ascii_case("none"))
    {
        return Err(EgressPolicyError::None);
    }
    let rules = rules
        .split(',')
        .map(str::parse)
        .collect::<Result<Vec<EgressRule>, _>>()?;
    for rule in &rules {
        vain::check(rule)?;
    }
    check(&rules)?;
    Ok(rules)
}

/// The rules of a flag that was given several times; absent: it was not given.
///
/// # Errors
/// When `none` is beside rules, or there are too many rules together.
pub fn join(
    policies: &[impl AsRef<[EgressRule]>],
) -> Result<Option<Vec<EgressRule>>, EgressPolicyError> {
    let lists = || policies.iter().map(AsRef::as_ref);
    let rules: Vec<EgressRule> = lists().flatten().cloned().collect();
    if !rules.is_empty() && lists().any(<[EgressRule]>::is_empty) {
        return Err(EgressPolicyError::None);
    }
    check(&rules)?;
    Ok((!policies.is_empty()).then_some(rules))
}

/// Whether `rules` are not too many.
///
/// # Errors
/// [`EgressPolicyError::TooMany`].
pub fn check(rules: &[EgressRule]) -> Result<(), EgressPolicyError> {
    if rules.len() > MAX_RULES {
        return Err(EgressPolicyError::TooMany(rules.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn several_policies_are_one_or_none() {
        let parsed = |texts: &[&str]| -> Vec<Vec<EgressRule>> {
            texts.iter().map(|text| parse(text).unwrap()).collect()
        };
        assert_eq!(join(&[] as &[Vec<EgressRule>]), Ok(None));
        assert_eq!(join(&parsed(&["none", "none"])), Ok(Some(Vec::new())));
        let both = join(&parsed(&["allow=10.0.0.0/8", "allow=a.example"]));
        assert_eq!(both.unwrap().unwrap().len(), 2);
        let mixed = join(&parsed(&["allow=a.example", "none"]));
        assert_eq!(mixed, Err(EgressPolicyError::None));
    }

    #[test]
    fn a_policy_is_none_or_rules() {
        assert_eq!(parse("none"), Ok(Vec::new()));
        let shown = |text: &str| {
            let rules = parse(text).unwrap();
            rules.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            shown("allow=A.example,10.0.0.0/8:80"),
            ["a.example", "10.0.0.0/8:80"]
        );
        for (text, words) in [
            ("", "invalid egress ''"),
            ("all", "invalid egress 'all'"),
            ("allow=", "invalid egress rule ''"),
            ("allow=a,,b", "invalid egress rule ''"),
            ("allow=a:0", "invalid egress rule 'a:0'"),
            (
                "allow=a.example,registry:5000",
                "egress rule 'registry:5000'",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
        for text in ["allow=none", "allow=192.0.2.1,none", "allow=None,a.example"] {
            assert_eq!(parse(text), Err(EgressPolicyError::None), "{text}");
        }
        let many = vec!["a.example"; MAX_RULES + 1].join(",");
        assert_eq!(
            parse(&format!("allow={many}")),
            Err(EgressPolicyError::TooMany(257))
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(allow=)?\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
