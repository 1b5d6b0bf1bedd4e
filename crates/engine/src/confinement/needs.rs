//! What a VMM must be let do because of what its machine is made of. Each device adds its own.

/// Beyond what every VMM does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    requests: Vec<u32>,
    file_size: u64,
    starting: Vec<i64>,
}

impl Needs {
    /// Requests of `ioctl`(2), which it makes at any time.
    pub(crate) fn requests(&mut self, requests: impl IntoIterator<Item = libc::Ioctl>) {
        // The kernel looks at the lower half.
        #[allow(clippy::cast_possible_truncation)]
        let requests = requests.into_iter().map(|request| request as u32);
        for request in requests {
            if !self.requests.contains(&request) {
                self.requests.push(request);
            }
        }
    }

    /// System calls that it makes while it starts, beside those of every VMM.
    pub(crate) fn starting(&mut self, calls: impl IntoIterator<Item = i64>) {
        for call in calls {
            if !self.starting.contains(&call) {
                self.starting.push(call);
            }
        }
    }

    /// A file of `size` bytes that it writes to.
    pub(crate) fn file_of(&mut self, size: u64) {
        self.file_size = self.file_size.max(size);
    }

    /// The largest file that it writes to, in bytes.
    pub(crate) fn largest_file(&self) -> u64 {
        self.file_size
    }

    /// The calls of its start.
    pub(crate) fn calls_of_the_start(&self) -> &[i64] {
        &self.starting
    }

    /// The requests, the one that is made most first.
    pub(crate) fn all_requests(&self) -> &[u32] {
        &self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_add_up_and_nothing_is_listed_twice() {
        let mut needs = Needs::default();
        needs.requests([3, 1]);
        needs.requests([1, 2]);
        needs.starting([9]);
        needs.starting([9]);
        needs.file_of(7);
        needs.file_of(5);
        assert_eq!(needs.all_requests(), [3, 1, 2]);
        assert_eq!(needs.calls_of_the_start(), [9]);
        assert_eq!(needs.largest_file(), 7);
    }
}
