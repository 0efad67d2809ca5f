//! A command of the command line that goes on while the test does other things.

use std::process::{Child, Command, Stdio};

use crate::{Cluster, Ran};

/// A command in the background; killed when it is dropped.
#[derive(Debug)]
pub struct Background(Option<Child>);

impl Background {
    /// Starts `weir` with the words of a line.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(cluster: &Cluster, line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        let child = cluster
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("weir starts");
        Self(Some(child))
    }

    /// SIGINT.
    ///
    /// # Panics
    /// When it has ended.
    pub fn interrupt(&self) {
        let child = self.0.as_ref().expect("it has not been waited for");
        let id = child.id().to_string();
        let status = Command::new("kill").args(["-INT", &id]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it is not our child.
    pub fn finish(mut self) -> Ran {
        let child = self.0.take().expect("it has not been waited for");
        Ran::of(&child.wait_with_output().expect("our own child"))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
