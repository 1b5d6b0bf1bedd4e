//! How often a container is asked whether it listens: each question wakes its machine, and is among the packets that it counts.

use std::time::Duration;

use super::listening::Said;

/// The pause while something may change soon: at the beginning, and after a change.
const SOON: Duration = Duration::from_millis(250);
/// How long that is.
const LIVELY: Duration = Duration::from_secs(30);
/// The longest pause where nobody listens, or nothing is answered: whoever begins to listen is reached that late at most.
const REFUSED: Duration = Duration::from_secs(2);
/// The longest one where somebody listens: a connection that fails, or that the container ends, has it asked for sooner.
const LISTENS: Duration = Duration::from_secs(5);
/// The part of that time which each port of a container has: those with many are asked less often.
const EACH: Duration = Duration::from_millis(5);

/// Pauses between questions.
#[derive(Debug)]
pub struct Pace {
    shortest: Duration,
    pause: Duration,
    /// What was said last, and for how long nothing else was.
    last: Option<(Said, Duration)>,
}

impl Pace {
    /// For one port of a container with so many.
    pub fn new(ports: usize) -> Self {
        let ports = u32::try_from(ports).unwrap_or(u32::MAX);
        let shortest = EACH.saturating_mul(ports).max(SOON);
        Self {
            shortest,
            pause: shortest,
            last: None,
        }
    }

    /// Something may change soon: the pauses are short again.
    pub const fn hurry(&mut self) {
        self.last = None;
    }

    /// The shortest pause.
    pub const fn shortest(&self) -> Duration {
        self.shortest
    }

    /// The pause behind an answer.
    pub fn after(&mut self, said: Said) -> Duration {
        let since = match self.last {
            Some((last, since)) if last == said => since.saturating_add(self.pause),
            _ => Duration::ZERO,
        };
        self.last = Some((said, since));
        let (lively, longest) = match said {
            // Its end is not waited for as its beginning is.
            Said::Listens => (Duration::ZERO, LISTENS),
            Said::Refused | Said::Nothing => (LIVELY, REFUSED),
        };
        self.pause = if since.is_zero() || since < lively {
            self.shortest
        } else {
            (self.pause * 2).clamp(self.shortest, longest.max(self.shortest))
        };
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Questions within `time`, where all answers are the same.
    fn questions(pace: &mut Pace, said: Said, time: Duration) -> usize {
        let mut passed = Duration::ZERO;
        let mut questions = 0;
        while passed < time {
            passed += pace.after(said);
            questions += 1;
        }
        questions
    }

    #[test]
    fn what_goes_on_is_asked_for_rarely_and_what_changes_often() {
        let minute = Duration::from_secs(60);
        let mut pace = Pace::new(4);
        // At first as often as ever.
        assert_eq!(
            questions(&mut pace, Said::Refused, Duration::from_secs(10)),
            40
        );
        questions(&mut pace, Said::Refused, minute);
        assert!(questions(&mut pace, Said::Refused, minute) <= 31);
        assert_eq!(pace.after(Said::Listens), SOON);
        questions(&mut pace, Said::Listens, minute);
        assert!(questions(&mut pace, Said::Listens, minute) <= 13);
        assert_eq!(pace.after(Said::Listens), LISTENS);
        pace.hurry();
        assert_eq!(pace.after(Said::Listens), SOON);
        assert_eq!(pace.after(Said::Listens), SOON * 2);
        assert_eq!(pace.after(Said::Refused), SOON);
        questions(&mut pace, Said::Nothing, minute);
        assert!(questions(&mut pace, Said::Nothing, minute) <= 31);
        // Many ports share the time.
        let mut many = Pace::new(1000);
        assert_eq!(many.after(Said::Refused), Duration::from_secs(5));
        assert!(questions(&mut many, Said::Refused, minute) <= 13);
    }
}
