//! Kernel parameters of a container's guest: `--sysctl <name>=<value>`.

/// Why a text is no kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid kernel parameter '{0}': <name>=<value> is expected, as in net.core.somaxconn=1024"
)]
pub struct SysctlError(String);

/// A kernel parameter in sysctl notation (`sysctl.d(5)`): names are parts of letters, digits, `_` and `-`, joined
/// by `.` or `/`.
///
/// # Errors
/// When it is not of that form, so that a name never leads out of `/proc/sys`.
pub fn parse(text: &str) -> Result<(String, String), SysctlError> {
    let malformed = || SysctlError(text.to_owned());
    let (name, value) = text.split_once('=').ok_or_else(malformed)?;
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    if !name.split(['.', '/']).all(part) || value.contains(['\0', '\n']) {
        return Err(malformed());
    }
    Ok((name.replace('/', "."), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_separators_mean_the_same() {
        let expected = Ok(("net.core.somaxconn".to_owned(), "1 2".to_owned()));
        assert_eq!(parse("net.core.somaxconn=1 2"), expected);
        assert_eq!(parse("net/core/somaxconn=1 2"), expected);
    }

    #[test]
    fn nothing_leads_out() {
        for text in [
            "a",
            "=1",
            ".a=1",
            "a.=1",
            "a..b=1",
            "../../etc/passwd=1",
            "/a=1",
            "a b=1",
            "a=\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn names_stay_below_proc_sys(text in "[a-z./]{0,12}=1") {
            if let Ok((name, _)) = parse(&text) {
                prop_assert!(!name.starts_with('.') && !name.contains("..") && !name.contains('/'));
            }
        }
    }
}
