//! Which CPUs the engine's threads run on.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::thread::JoinHandle;

use crate::socket::{SocketError, pin_thread, thread_cpus};

/// CPU numbers, rising and without repetition; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

/// Linux can be built for so many CPUs at most.
const CPUS_MAX: usize = 8192;

/// Why a text is no list of CPUs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no list of CPUs below {CPUS_MAX}: write 0-3,6")]
pub struct CpuListError {
    text: String,
}

impl CpuList {
    /// Tries each of the CPUs, on a thread of its own.
    ///
    /// # Errors
    /// The first CPU that the host does not have, or that the process may not use.
    pub fn check(&self) -> Result<(), SocketError> {
        let cpus = self.0.clone();
        let each = move || {
            let allowed = thread_cpus()?;
            cpus.iter().try_for_each(|cpu| {
                pin_thread(&[*cpu]).map_err(|error| {
                    let allowed = Self::from(&*allowed);
                    let object = format!("{cpu}: this process may use {allowed}");
                    let kind = error.kind();
                    SocketError::new("run on CPU", object, kind.into())
                })
            })
        };
        match std::thread::Builder::new()
            .spawn(each)
            .map(JoinHandle::join)
        {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(SocketError::new(
                "try CPUs",
                self,
                io::ErrorKind::Other.into(),
            )),
            Err(source) => Err(SocketError::new("start a thread on CPUs", self, source)),
        }
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

impl From<&[usize]> for CpuList {
    fn from(cpus: &[usize]) -> Self {
        let mut cpus = cpus.to_vec();
        cpus.sort_unstable();
        cpus.dedup();
        Self(cpus)
    }
}

impl FromStr for CpuList {
    type Err = CpuListError;

    /// Reads what taskset(1) and cpuset(7) write: `0-3,6`.
    fn from_str(text: &str) -> Result<Self, CpuListError> {
        let error = || CpuListError {
            text: text.to_owned(),
        };
        let number = |text: &str| -> Result<usize, CpuListError> {
            let cpu = text.trim().parse().map_err(|_| error())?;
            if cpu < CPUS_MAX {
                Ok(cpu)
            } else {
                Err(error())
            }
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(error());
            }
            cpus.extend(first..=last);
        }
        Ok(Self::from(&*cpus))
    }
}

/// As it is read: `0-3,6`.
impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &self.0[..];
        while let Some(first) = rest.first() {
            let run = rest
                .iter()
                .zip(*first..)
                .take_while(|(a, b)| *a == b)
                .count();
            let separator = if rest.len() == self.0.len() { "" } else { "," };
            write!(f, "{separator}{first}")?;
            if run > 1 {
                write!(f, "-{}", first + run - 1)?;
            }
            rest = &rest[run..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_as_they_are_written() {
        for (text, printed) in [
            ("0-3,6", "0-3,6"),
            ("6,0-2,3", "0-3,6"),
            (" 1 ", "1"),
            ("2-2,2", "2"),
        ] {
            let list: CpuList = text.parse().unwrap();
            assert_eq!(list.to_string(), printed, "{text}");
        }
        for text in [
            "",
            ",",
            "3-1",
            "a",
            "-1",
            "0-",
            "8192",
            "0-99999999999",
            "1;2",
        ] {
            let error = text.parse::<CpuList>().unwrap_err();
            assert!(error.to_string().contains("0-3,6"), "{text}");
        }
    }

    #[test]
    fn the_host_is_asked_for_each() {
        let own = CpuList::from(&*thread_cpus().unwrap());
        own.check().unwrap();
        assert_eq!(
            CpuList::from(&*thread_cpus().unwrap()),
            own,
            "tried elsewhere"
        );
        let beyond: CpuList = format!("{own},8191").parse().unwrap();
        let error = beyond.check().unwrap_err().to_string();
        assert!(
            error.contains("8191") && error.contains(&own.to_string()),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn printed_lists_read_the_same(cpus in proptest::collection::vec(0_usize..300, 1..40)) {
            let list = CpuList::from(&*cpus);
            prop_assert_eq!(list.to_string().parse::<CpuList>().unwrap(), list);
        }
    }
}
