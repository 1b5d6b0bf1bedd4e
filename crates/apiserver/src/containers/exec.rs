//! `exec`: a further process in a running container.

use container_api::{Error, Kind, runtime};
use container_resource::event::{Action, Attribute};
use container_resource::process::{self, ProcessOptions};

use super::helper::Lent;
use super::{Containers, Entry};

impl Containers {
    /// Starts `words` in the container `id`; what `options` leave open is as with its first process. Gives the new process's
    /// id.
    pub async fn exec(
        &self,
        id: &str,
        words: &[String],
        options: &ProcessOptions,
        lent: Option<Lent>,
    ) -> Result<String, Error> {
        let entry = self.get(id)?;
        entry.helper()?;
        let mut request = request(&entry, words, options)?;
        request.stdio = entry.relay(lent).await?;
        let process = request.process.clone();
        entry
            .ask(|mut client| async move { client.exec(request).await })
            .await?;
        let attributes = [(Attribute::Process, process.clone())];
        self.events.tell(Action::Exec, id, attributes);
        Ok(process)
    }
}

/// What a helper is asked for to run `words` as a further process of `entry`, without streams.
pub(super) fn request(
    entry: &Entry,
    words: &[String],
    options: &ProcessOptions,
) -> Result<runtime::ExecRequest, Error> {
    let first = entry.configuration()?;
    let configuration = process::further(&first.init_process, options, words)
        .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
    let configuration =
        serde_json::to_vec(&configuration).map_err(|error| Error::caused(Kind::Internal, error))?;
    Ok(runtime::ExecRequest {
        process: uuid::Uuid::new_v4().to_string(),
        configuration: configuration.into(),
        stdio: None,
        apart: false,
    })
}

#[cfg(test)]
mod tests {
    use container_resource::bundle::Bundle;
    use container_resource::container::{CreateOptions, ProcessConfiguration, User};
    use serde_json::json;

    use super::*;

    fn merged(options: &serde_json::Value, words: &[&str]) -> Result<ProcessConfiguration, Error> {
        let configuration = serde_json::from_value(json!({
            "id": "web",
            "image": {"reference": "r", "descriptor": {"mediaType": "m", "digest": "sha256:00", "size": 1}},
            "initProcess": {"executable": "serve", "arguments": ["-v"], "environment": ["A=1", "B=2"],
                            "workingDirectory": "/srv", "terminal": true, "user": {"id": {"uid": 7, "gid": 8}},
                            "supplementalGroups": [9]},
            "platform": {"os": "linux", "architecture": "amd64"},
            "resources": {"cpus": 1, "memoryInBytes": 1},
            "runtimeHandler": "r",
            "creationDate": "2026-01-01T00:00:00Z"
        }));
        let entry = Entry::new(
            "web".into(),
            Bundle::new("/nowhere"),
            Some(configuration.unwrap()),
            CreateOptions::default(),
        );
        let options: ProcessOptions = serde_json::from_value(options.clone()).unwrap();
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let request = request(&entry, &words, &options)?;
        assert!(request.stdio.is_none() && !request.apart && !request.process.is_empty());
        Ok(serde_json::from_slice(&request.configuration).unwrap())
    }

    #[test]
    fn what_a_client_leaves_open_is_as_with_the_first_process() {
        let process = merged(&json!({}), &["ls", "-l"]).unwrap();
        assert_eq!(
            (process.executable.as_str(), &*process.arguments),
            ("ls", &["-l".to_owned()][..])
        );
        assert_eq!(process.environment, ["A=1", "B=2"]);
        assert_eq!(process.working_directory, "/srv");
        assert_eq!(process.supplemental_groups, [9]);
        assert_eq!(process.user, User::Id { uid: 7, gid: 8 });
        // A terminal is a client's own.
        assert!(!process.terminal && !process.privileged);
    }

    #[test]
    fn what_a_client_says_holds() {
        let options = json!({
            "environment": ["B=3", "C=4"], "workingDirectory": "/tmp", "uid": 0, "gid": 1, "terminal": true, "privileged": true
        });
        let process = merged(&options, &["sh"]).unwrap();
        assert_eq!(process.environment, ["A=1", "B=3", "C=4"]);
        assert_eq!(process.working_directory, "/tmp");
        assert!(process.terminal && process.privileged);
        assert_eq!(process.user, User::Id { uid: 0, gid: 1 });
        for (options, words) in [
            (json!({}), &[][..]),
            (json!({"workingDirectory": "tmp"}), &["sh"]),
        ] {
            assert_eq!(
                merged(&options, words).unwrap_err().kind,
                Kind::InvalidArgument
            );
        }
    }
}
