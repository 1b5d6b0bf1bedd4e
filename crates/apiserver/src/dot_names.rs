//! Names of what is not whole: it begins with a dot, which no name of a user's does, and is swept at the next start.

/// Begins the name of what is being made, or removed in one step.
const UNFINISHED: &str = ".unfinished-";
/// Begins the name of what is being removed.
const REMOVING: &str = ".removing-";

/// A new name for what is being made.
pub fn unfinished() -> String {
    format!("{UNFINISHED}{}", uuid::Uuid::new_v4())
}

/// A new name for what is being removed.
pub fn removing() -> String {
    format!("{REMOVING}{}", uuid::Uuid::new_v4())
}

/// Whether `name` is one of [`unfinished`].
pub fn is_unfinished(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

/// Whether `name` is one of [`removing`].
pub fn is_removing(name: &str) -> bool {
    name.starts_with(REMOVING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_again_and_are_nobody_s() {
        assert!(is_unfinished(unfinished().as_ref()));
        assert!(is_removing(&removing()));
        for name in [unfinished(), removing()] {
            assert!(container_resource::name::validate(&name).is_err());
        }
        assert!(!is_unfinished("web".as_ref()) && !is_removing("web"));
    }
}
