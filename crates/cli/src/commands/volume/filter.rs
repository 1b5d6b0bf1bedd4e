//! `--filter` of commands about volumes, as Docker has it.

use container_resource::switch;
use container_resource::volume::VolumeUsage;

/// What volumes have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Docker's `all=1` of `prune`, which is so anyway.
    All,
    /// No container has it, or one has.
    Dangling(bool),
    /// What its name has in it.
    Name(String),
    /// A label.
    Label {
        key: String,
        /// Any, unless given.
        value: Option<String>,
        /// Whether it is to be there.
        there: bool,
    },
}

impl Filter {
    /// Whether `listed` is one of those.
    pub fn fits(&self, listed: &VolumeUsage) -> bool {
        match self {
            Self::All => true,
            Self::Dangling(dangling) => listed.used != *dangling,
            Self::Name(part) => listed.volume.id.contains(part),
            Self::Label { key, value, there } => {
                let found = listed.volume.configuration.labels.get(key);
                let fits = |label: &String| value.as_ref().is_none_or(|value| value == label);
                found.is_some_and(fits) == *there
            }
        }
    }
}

/// `<name>=<value>`.
pub fn parse(text: &str) -> Result<Filter, &'static str> {
    const EXPECTED: &str = "label=<key>[=<value>], label!=<key>[=<value>], name=<text> or dangling=<true|false> is expected";
    let (name, value) = text.split_once('=').ok_or(EXPECTED)?;
    match (name, switch::parse(value)) {
        ("all", Ok(true)) => return Ok(Filter::All),
        ("dangling", Ok(dangling)) => return Ok(Filter::Dangling(dangling)),
        ("name", _) if !value.is_empty() => return Ok(Filter::Name(value.to_owned())),
        ("label" | "label!", _) => {}
        _ => return Err(EXPECTED),
    }
    let (key, value) = match value.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (value, None),
    };
    if key.is_empty() {
        return Err(EXPECTED);
    }
    Ok(Filter::Label {
        key: key.to_owned(),
        value,
        there: name == "label",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_about_labels_names_and_use() {
        let listed = serde_json::json!({
            "volume": { "id": "data-1", "configuration": {
                "name": "data-1", "driver": "local", "format": "ext4", "source": "/v",
                "creationDate": "2026-01-01T00:00:00Z", "labels": { "team": "web", "keep": "" },
            } },
            "allocatedInBytes": 0,
            "used": true,
        });
        let listed: VolumeUsage = serde_json::from_value(listed).unwrap();
        for (text, fits) in [
            ("label=team", true),
            ("label=team=web", true),
            ("label=team=db", false),
            ("label=none", false),
            ("label!=keep", false),
            ("label!=team=db", true),
            ("label!=none", true),
            ("name=ata", true),
            ("name=x", false),
            ("dangling=true", false),
            ("dangling=0", true),
            ("all=1", true),
        ] {
            assert_eq!(parse(text).unwrap().fits(&listed), fits, "{text}");
        }
        for text in [
            "",
            "label",
            "label=",
            "label==x",
            "dangling=x",
            "all=0",
            "name=",
            "driver=local",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
