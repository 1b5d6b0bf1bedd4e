//! `--output`: the destinations of the result.

use std::path::PathBuf;

use super::pairs;

/// Where the result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the images that are here, and to its registry, too.
    Image {
        /// To the registry.
        push: bool,
        /// Names beside those of `--tag`.
        names: Vec<String>,
    },
    /// An archive of the image.
    Archive {
        /// As `docker save` writes it, else an OCI layout.
        docker: bool,
        /// The file; `-` is standard output.
        dest: PathBuf,
    },
    /// A tar of its files.
    Tar(PathBuf),
    /// Its files in a directory.
    Local(PathBuf),
}

/// As buildx reads it: pairs, or a path alone.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Output, String> {
    let pairs = pairs::parse(text)?;
    if let [(path, None)] = pairs.as_slice() {
        return Ok(if path == "-" {
            Output::Tar("-".into())
        } else {
            Output::Local(path.into())
        });
    }
    let (mut kind, mut dest, mut push, mut names) = (None, None, false, Vec::new());
    for (key, value) in pairs {
        let value = value.ok_or_else(|| format!("'{key}' is no <key>=<value>"))?;
        match key.as_str() {
            "type" => kind = Some(value),
            "dest" | "out" => dest = Some(PathBuf::from(value)),
            "push" => push = value != "false",
            "name" => names.extend(value.split(',').map(str::to_owned)),
            other => {
                return Err(format!(
                    "unknown key '{other}': type, dest, name and push are known"
                ));
            }
        }
    }
    let needs = |dest: Option<PathBuf>| {
        dest.filter(|dest| !dest.as_os_str().is_empty())
            .ok_or_else(|| "dest field is required".to_owned())
    };
    let image = |push| Output::Image {
        push,
        names: names.clone(),
    };
    match (kind.as_deref(), dest) {
        (Some("image"), None) => Ok(image(push)),
        (Some("registry"), None) => Ok(image(true)),
        (Some("image" | "registry"), Some(_)) => {
            Err("an image has no dest: type=oci writes an archive".to_owned())
        }
        (Some("oci" | "docker"), None) => Ok(image(false)),
        (Some("oci"), Some(dest)) => Ok(Output::Archive {
            docker: false,
            dest,
        }),
        (Some("docker"), Some(dest)) => Ok(Output::Archive { docker: true, dest }),
        (Some("tar"), dest) => needs(dest).map(Output::Tar),
        (Some("local"), dest) => needs(dest).map(Output::Local),
        (Some(other), _) => Err(format!(
            "unknown type '{other}': oci, docker, tar, local, image and registry are known"
        )),
        (None, _) => Err("type=<type> is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs() {
        let image = |push| Output::Image {
            push,
            names: Vec::new(),
        };
        for (text, expected) in [
            ("out", Output::Local("out".into())),
            ("-", Output::Tar("-".into())),
            ("type=local,dest=a", Output::Local("a".into())),
            ("type=tar,dest=-", Output::Tar("-".into())),
            ("type=oci", image(false)),
            ("type=image,push=true", image(true)),
            ("type=registry", image(true)),
            (
                "type=docker,dest=x",
                Output::Archive {
                    docker: true,
                    dest: "x".into(),
                },
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for (text, words) in [
            ("type=tar", "dest field is required"),
            ("type=local,dest=", "dest field is required"),
            ("type=x", "unknown type"),
            ("dest=x", "type=<type>"),
            ("type=oci,foo=bar", "unknown key"),
            ("type=image,dest=x", "has no dest"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
