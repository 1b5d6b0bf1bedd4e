//! What the apiserver finds when it starts: bundles at rest, and containers that went on running.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use container_api::lock;
use container_api::protocol::{CURRENT, understands};
use container_api::runtime::{State, StateRequest};
use container_resource::bundle::{self, Boot, Bundle};
use container_resource::container::{
    ContainerConfiguration, ContainerState, ContainerStatus, CreateOptions,
};
use jiff::Timestamp;

use super::bundles::{self, Found};
use super::follow::{record_by_hand, recorded, remove_sockets};
use super::helper::{Helper, end_holder};
use super::{Containers, Entry};

/// How long a helper may take to say how its container is before the others are served without it.
const STATE_TIMEOUT: Duration = Duration::from_secs(2);

impl Containers {
    /// Reads every bundle and takes over the containers that run.
    pub async fn load(self: &Arc<Self>) -> std::io::Result<()> {
        self.sweep_transient()?;
        let mut entries = Vec::new();
        for found in bundles::scan(&self.roots)? {
            match found {
                Found::Bundle(id, bundle) => entries.extend(self.load_bundle(id, bundle)),
                Found::Remains(path) => self.discard(&path),
            }
        }
        // Asked when everything is read: who reads does not hear the answers.
        let settled = entries.iter().map(|entry| self.settle(entry));
        let at_rest = futures::future::join_all(settled).await;
        for (entry, at_rest) in entries.iter().zip(at_rest) {
            if at_rest {
                self.resume(entry);
            }
        }
        Ok(())
    }

    /// Removes what is left of a bundle, behind everything else. Its name, if it has one, is free at once.
    fn discard(&self, path: &Path) {
        match bundles::detach(&self.roots, &Bundle::new(path)) {
            Ok(trash) => self.clearing.remove(trash, Duration::ZERO),
            Err(error) => tracing::warn!("cannot remove {}: {error:#}", path.display()),
        }
    }

    /// Enters the container of a bundle; gives it, unless it is damaged.
    fn load_bundle(&self, id: String, bundle: Bundle) -> Option<Arc<Entry>> {
        let (configuration, options, damage) = match self.read(&id, &bundle) {
            Ok((configuration, options)) => (Some(configuration), options, None),
            Err(damage) => (None, CreateOptions::default(), Some(damage)),
        };
        let entry = Arc::new(Entry::new(id, bundle, configuration, options));
        self.reserve(entry.clone()).ok()?;
        if let Some(damage) = damage {
            tracing::warn!(container = %entry.id, "the container is damaged: {damage}");
            show_unknown(&entry, damage);
            return None;
        }
        // Without it the next start tells why not; until then there is nothing to count.
        if let Ok(boot) = bundle::read_json::<Boot>(&entry.bundle.boot()) {
            let restarts = |status: &mut ContainerStatus| status.restart_count = boot.restarts;
            entry.status.send_modify(restarts);
            entry.connect(&boot);
        }
        if let Ok(configuration) = entry.configuration() {
            let networks = configuration.networks.iter();
            let names = networks.map(|attachment| attachment.network.clone());
            self.networks.note(&entry.id, names);
        }
        Some(entry)
    }

    /// What the bundle of `id` holds, or why it is damaged.
    fn read(
        &self,
        id: &str,
        bundle: &Bundle,
    ) -> Result<(ContainerConfiguration, CreateOptions), String> {
        let mut configuration: ContainerConfiguration = bundle::read_json(&bundle.configuration())
            .map_err(|error| format!("config.json: {error}"))?;
        let options = bundle::read_json(&bundle.options())
            .map_err(|error| format!("options.json: {error}"))?;
        if configuration.id != id {
            if self.roots.containers().join(&configuration.id).exists() {
                return Err(format!(
                    "config.json is that of container {}",
                    configuration.id
                ));
            }
            // A rename that was cut off after its first half.
            id.clone_into(&mut configuration.id);
            bundle::write_json(&bundle.configuration(), &configuration)
                .map_err(|error| format!("config.json: {error}"))?;
        }
        Ok((configuration, options))
    }

    /// Takes `entry` over, or tidies up after it. Whether it is at rest then.
    async fn settle(self: &Arc<Self>, entry: &Arc<Entry>) -> bool {
        // A machine for its files alone goes with who wanted them.
        let boot = bundle::read_json::<Boot>(&entry.bundle.boot());
        let idle = boot.is_ok_and(|boot| boot.idle);
        if !idle && self.adopt(entry, STATE_TIMEOUT).await {
            return false;
        }
        // Sockets tell that it was started and that its helper did not end by itself.
        let was_running = !idle && entry.bundle.socket().exists();
        // A helper that does not hold its lock yet finds no sockets, and ends by itself.
        remove_sockets(entry);
        if matches!(lock::holder(&entry.bundle.lock()), Ok(None)) {
            self.at_rest(entry, was_running);
            return true;
        }
        let (containers, entry) = (self.clone(), entry.clone());
        tokio::spawn(async move {
            let _operation = entry.operation.lock().await;
            // Nobody can call it any more.
            match end_holder(&entry.bundle.lock()).await {
                Ok(()) => {
                    containers.at_rest(&entry, was_running);
                    containers.resume(&entry);
                }
                Err(error) => {
                    tracing::error!(container = %entry.id, "{error:#}");
                    show_unknown(&entry, error.to_string());
                }
            }
        });
        false
    }

    /// Takes over a container whose helper lives. One that is silent for `limit` lives, too: its disk may be slow, or
    /// somebody has stopped it. It is taken over when it answers, and ended only by who asks for that.
    async fn adopt(self: &Arc<Self>, entry: &Arc<Entry>, limit: Duration) -> bool {
        if !matches!(lock::holder(&entry.bundle.lock()), Ok(Some(_))) {
            return false;
        }
        let Ok(helper) = Helper::connect(&entry.bundle) else {
            return false;
        };
        entry.begin(helper.clone());
        self.networks.resume(&entry.id);
        let taken_over = tokio::spawn(self.clone().take_over(entry.clone(), helper));
        if tokio::time::timeout(limit, taken_over).await.is_err() {
            let silent = "the runtime helper does not answer";
            tracing::warn!(container = %entry.id, "{silent}");
            show_unknown(entry, silent.to_owned());
        }
        true
    }

    /// Asks the helper of `entry`, which has begun, how its container is, and goes on from there.
    async fn take_over(self: Arc<Self>, entry: Arc<Entry>, helper: Helper) {
        // An apiserver that was killed may have begun a pause.
        let request = StateRequest { settled: true };
        let state = match helper.client().state(request).await {
            Ok(state) => state.into_inner(),
            Err(status) => {
                tracing::debug!(container = %entry.id, "{}", status.message());
                // It has ended, as its follower sees.
                tokio::spawn(self.follow(entry, helper));
                return;
            }
        };
        if let Err(reason) = understood(state.protocol) {
            tracing::warn!(container = %entry.id, "{reason}");
            show_unknown(&entry, reason);
            // Its end is told as those of all versions are.
            tokio::spawn(self.follow(entry, helper));
            return;
        }
        // It may have been silent until somebody stopped it.
        let asked = entry.status.borrow().state == ContainerState::Stopping;
        let found = state.state();
        tracing::info!(container = %entry.id, "the container goes on: {}", found.as_str_name());
        let shown = match found {
            State::Booting => return self.finish_start(entry, helper),
            State::Stopped => return self.finish_stop(entry, helper),
            State::Running if !asked => ContainerState::Running,
            State::Paused if !asked => ContainerState::Paused,
            State::Stopping if !asked => {
                // Whoever asked for it has asked the apiserver before this one.
                entry.stop_by_hand(true);
                ContainerState::Stopping
            }
            _ => ContainerState::Stopping,
        };
        let started = Timestamp::from_millisecond(state.started_ms);
        entry.running(started.unwrap_or_else(|_| Timestamp::now()));
        entry.show(shown);
        self.watch_health(&entry, &helper);
        tokio::spawn(self.follow(entry, helper));
    }

    /// The client that asked for the start is gone: it is finished without that client's streams, and nobody
    /// waits for it.
    fn finish_start(self: Arc<Self>, entry: Arc<Entry>, helper: Helper) {
        tokio::spawn(async move {
            let _operation = entry.operation.lock().await;
            if let Err(error) = self.first_process(&entry, helper, None).await {
                tracing::warn!(container = %entry.id, "the container does not start: {error:#}");
            }
        });
    }

    /// Its helper records how it ended, and then ends by itself.
    fn finish_stop(self: Arc<Self>, entry: Arc<Entry>, helper: Helper) {
        entry.show(ContainerState::Stopping);
        tokio::spawn(async move {
            self.let_end(&entry, &helper).await;
            remove_sockets(&entry);
            self.at_rest(&entry, true);
            if entry.is_stopped_by_hand() {
                record_by_hand(&entry, &mut recorded(&entry));
            } else {
                self.resume(&entry);
            }
        });
    }

    /// Tidies up after a container whose helper is gone.
    fn at_rest(self: &Arc<Self>, entry: &Arc<Entry>, was_running: bool) {
        if let Err(error) = bundles::sweep(&entry.bundle) {
            tracing::warn!(container = %entry.id, "cannot tidy its bundle: {error:#}");
        }
        if !was_running && !entry.bundle.exit().exists() {
            return;
        }
        self.networks.ends(&entry.id);
        entry.end(recorded(entry), ContainerState::Stopped);
        if entry.options.auto_remove && !entry.is_held() {
            self.networks.leave(&entry.id);
            self.release(entry);
            self.discard(entry.bundle.directory());
            let (containers, entry) = (self.clone(), entry.clone());
            tokio::spawn(async move { containers.remove_anonymous_volumes(&entry).await });
        }
    }
}

/// Whether a helper speaks what this apiserver understands.
fn understood(protocol: u32) -> Result<(), String> {
    if understands(protocol) {
        return Ok(());
    }
    Err(format!(
        "its runtime helper is of another version: it speaks protocol {protocol}, and the container system service {CURRENT}; \
         `container stop` and `container start` bring it up to date"
    ))
}

fn show_unknown(entry: &Entry, reason: String) {
    entry.status.send_modify(|status| {
        status.state = ContainerState::Unknown;
        status.reason = Some(reason);
    });
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::process::{Command, Stdio};

    use container_api::roots::Roots;
    use container_api::socket;
    use rustix::process::Signal;

    use super::*;

    #[tokio::test]
    async fn a_silent_helper_is_taken_over_and_lives() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = Roots::new(scratch.path().into(), "/p".into(), None).unwrap();
        let containers = Containers::idle(&roots);
        let bundle = Bundle::new(roots.containers().join("silent"));
        std::fs::create_dir_all(bundle.directory()).unwrap();
        let entry = Entry::new("silent".into(), bundle, None, CreateOptions::default());
        let entry = Arc::new(entry);
        // Nobody accepts at its socket.
        let _listener = socket::bind(&entry.bundle.socket()).unwrap();
        let mut helper = Command::new("python3")
            .arg("-c")
            .arg("import fcntl,sys;f=open(sys.argv[1],'w');fcntl.lockf(f,fcntl.LOCK_EX);print(flush=True);sys.stdin.read()")
            .arg(entry.bundle.lock())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut held = std::io::BufReader::new(helper.stdout.take().unwrap());
        held.read_line(&mut String::new()).unwrap();

        assert!(containers.adopt(&entry, Duration::from_millis(1)).await);
        assert_eq!(helper.try_wait().unwrap(), None);
        assert!(entry.is_active());
        assert_eq!(entry.status.borrow().state, ContainerState::Unknown);
        // Whoever asks for its end gets it.
        entry.helper().unwrap().kill().await.unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&helper.wait().unwrap()),
            Some(Signal::KILL.as_raw())
        );
    }
}
