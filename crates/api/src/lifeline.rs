//! What a client and the helper of its container tell each other beside the streams.
//!
//! The last descriptor that a client hands over is one end of a stream socket, its *lifeline*. It closes with the client,
//! however that ends. The helper says on it which of the client's descriptors failed; the client, what its terminal does.

use crate::streams::StandardStream;

/// One of the client's descriptors could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which one.
    pub stream: StandardStream,
    /// Number of the error (`errno(3)`); those of Linux are all below 256.
    pub error: u8,
}

impl Failed {
    /// Bytes of a message.
    pub const LENGTH: usize = 2;

    /// As it is sent.
    pub fn encode(self) -> [u8; Self::LENGTH] {
        let stream = match self.stream {
            StandardStream::Stdin => 0,
            StandardStream::Stdout => 1,
            StandardStream::Stderr => 2,
        };
        [stream, self.error]
    }

    /// What was sent; nothing where that is no message.
    pub fn decode([stream, error]: [u8; Self::LENGTH]) -> Option<Self> {
        let stream = match stream {
            0 => StandardStream::Stdin,
            1 => StandardStream::Stdout,
            2 => StandardStream::Stderr,
            _ => return None,
        };
        Some(Self { stream, error })
    }
}

/// What a client says, in a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saying {
    /// It is stopped by its terminal (Ctrl-Z): no output, until it goes on.
    Hold,
    /// It goes on.
    GoOn,
    /// Its terminal has gone: a process that it started has none any more either.
    HangUp,
}

impl Saying {
    /// As it is sent.
    pub fn encode(self) -> u8 {
        match self {
            Self::Hold => b'h',
            Self::GoOn => b'g',
            Self::HangUp => b'u',
        }
    }

    /// What was sent; nothing where that has no meaning.
    pub fn decode(byte: u8) -> Option<Self> {
        match byte {
            b'h' => Some(Self::Hold),
            b'g' => Some(Self::GoOn),
            b'u' => Some(Self::HangUp),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written() {
        for number in 0..=u8::MAX {
            if let Some(failed) = Failed::decode([number, 28]) {
                assert_eq!(failed.encode(), [number, 28]);
            }
            if let Some(saying) = Saying::decode(number) {
                assert_eq!(saying.encode(), number);
            }
        }
        let full = Failed {
            stream: StandardStream::Stderr,
            error: 28,
        };
        assert_eq!(Failed::decode(full.encode()), Some(full));
        assert_eq!(Failed::decode([3, 0]), None);
        for saying in [Saying::Hold, Saying::GoOn, Saying::HangUp] {
            assert_eq!(Saying::decode(saying.encode()), Some(saying));
        }
    }
}
