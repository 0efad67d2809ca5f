//! Who has agreed to be sent to, and how often an address is asked that has not.
//!
//! An address agrees to a run when what listens there answers with the run's nonce,
//! which only takers of part know. Until then it gets nothing but questions.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Time between two questions to one address: 100 a second, some 40 kbit/s of hellos.
const EVERY_NS: u64 = 10_000_000;

/// Questions that may leave at once: a run's first streams need not wait.
const AT_ONCE: u64 = 10;

/// Addresses that are remembered before those are forgotten that may be asked anyway.
const REMEMBERED: usize = 1_024;

/// When each address may be asked, for all runs of an engine: a generic cell rate
/// algorithm (ITU-T I.371) per address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Questions(Arc<Mutex<HashMap<IpAddr, u64>>>);

impl Questions {
    /// Counts a question to an address.
    ///
    /// # Errors
    /// It is too early; the instant from which it is not.
    fn ask(&self, address: IpAddr, now_ns: u64) -> Result<(), u64> {
        let mut due = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due_ns = due.get(&address).copied().unwrap_or(0).max(now_ns);
        let early_ns = due_ns.saturating_sub((AT_ONCE - 1) * EVERY_NS);
        if now_ns < early_ns {
            return Err(early_ns);
        }
        if due.len() >= REMEMBERED {
            due.retain(|_, due_ns| *due_ns > now_ns);
        }
        due.insert(address, due_ns + EVERY_NS);
        Ok(())
    }
}

/// The addresses that have agreed to one run.
#[derive(Debug)]
pub(crate) struct Consent {
    questions: Questions,
    agreed: Mutex<HashSet<IpAddr>>,
}

impl Consent {
    pub(crate) fn new(questions: &Questions) -> Self {
        Self {
            questions: questions.clone(),
            agreed: Mutex::default(),
        }
    }

    /// The address has answered with the run's nonce.
    pub(crate) fn given(&self, address: IpAddr) {
        let mut agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        agreed.insert(address);
    }

    /// Whether a hello or a connection may go to an address now.
    ///
    /// # Errors
    /// It is too early; the instant from which it is not.
    pub(crate) fn ask(&self, address: IpAddr, now_ns: u64) -> Result<(), u64> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        if agreed.contains(&address) {
            return Ok(());
        }
        self.questions.ask(address, now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_silent_address_is_asked_a_hundred_times_a_second() {
        let questions = Questions::default();
        let runs = [Consent::new(&questions), Consent::new(&questions)];
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let asked = |consent: &Consent, at_ns| u64::from(consent.ask(one, at_ns).is_ok());
        let mut all = 0;
        for ms in 0..10_000 {
            let at_ns = SECOND + ms * 1_000_000;
            all += runs.iter().map(|run| asked(run, at_ns)).sum::<u64>();
        }
        assert!((1_000..=1_010).contains(&all), "{all}");
        assert_eq!(runs[0].ask(other, 2 * SECOND), Ok(()));
        let too_early = runs[1].ask(one, 11 * SECOND - 1_000_000).unwrap_err();
        assert!((11 * SECOND..=11 * SECOND + EVERY_NS).contains(&too_early));
        runs[0].given(one);
        assert!((0..1_000).all(|_| runs[0].ask(one, 11 * SECOND).is_ok()));
        assert!(
            runs[1].ask(one, 11 * SECOND - 1).is_err(),
            "another run's consent"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let questions = Questions::default();
        for i in 0..3 * REMEMBERED as u32 {
            let address = std::net::Ipv4Addr::from_bits(i).into();
            questions.ask(address, u64::from(i) * SECOND).unwrap();
        }
        assert!(questions.0.lock().unwrap().len() <= REMEMBERED);
    }
}
