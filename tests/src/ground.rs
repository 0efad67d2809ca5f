//! Where a test may build networks: as root here, as an ordinary user inside a
//! user namespace, for which the test program starts itself again.

use std::any::type_name;
use std::ffi::OsString;

use weir_lab::privilege::{self, Privilege};

/// What a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Any place where namespaces can be made.
    Lab,
    /// A user namespace, also when root runs the test: its programs have no
    /// privilege over the machine, so that they may not force socket buffers.
    UserNamespace,
}

/// Whether the test of this name goes on in this process. Otherwise it has been
/// run, and has passed, in a process that could.
///
/// # Panics
/// When it failed there, or when no place can be had.
pub fn goes_on(test: &str, ground: Ground) -> bool {
    let inside = privilege::is_in_user_namespace();
    let here = match (privilege::probe(), ground) {
        (Privilege::Refused { why }, _) => panic!("no network can be built here: {why}"),
        (Privilege::Root, Ground::Lab) => true,
        (Privilege::Root, Ground::UserNamespace) => inside,
        (Privilege::UserNamespace, _) => false,
    };
    if !here {
        let program = std::env::current_exe().expect("a process knows its program");
        let arguments = [test, "--exact", "--nocapture", "--include-ignored"].map(OsString::from);
        let status = privilege::in_user_namespace(&program, &arguments)
            .and_then(|mut again| {
                again.status().map_err(|source| weir_lab::LabError::Read {
                    path: program,
                    source,
                })
            })
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(status.success(), "{test} failed in a user namespace");
    }
    here
}

/// The name of the test that a function was declared in, as the test program
/// knows it: the path without the crate.
pub fn test_of<F>(_declared_in_it: F) -> &'static str {
    let path = type_name::<F>();
    let path = path.rsplit_once("::").map_or(path, |(test, _)| test);
    path.split_once("::").map_or(path, |(_, test)| test)
}

/// Ends the test function here if it has been run in another process; see
/// [`goes_on`]. The first line of every test that builds a network.
#[macro_export]
macro_rules! needs {
    ($ground:expr) => {
        fn here() {}
        if !$crate::ground::goes_on($crate::ground::test_of(here), $ground) {
            return;
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_knows_its_name() {
        fn here() {}
        assert_eq!(test_of(here), "ground::tests::a_test_knows_its_name");
    }
}
