//! Finding and running the programs that build a lab.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::LabError;
use crate::plan::{Step, Tool};

/// Runs steps; remembers where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) ip: PathBuf,
}

impl Programs {
    /// Finds `ip`, which every lab needs; the others are looked for when used.
    pub(crate) fn find() -> Result<Self, LabError> {
        Ok(Self { ip: find("ip")? })
    }

    /// Makes sure that all programs of a plan are there before its first step.
    pub(crate) fn check(plan: &[Step]) -> Result<(), LabError> {
        plan.iter().try_for_each(|step| match step.tool {
            Tool::Ip | Tool::IpForce => find("ip").map(drop),
            Tool::Tc => find("tc").map(drop),
            Tool::Nft => find("nft").map(drop),
            Tool::Sh => find("sh").map(drop),
        })
    }

    /// Runs steps in order and stops at the first that fails.
    pub(crate) fn run(&self, plan: &[Step]) -> Result<(), LabError> {
        plan.iter().try_for_each(|step| self.run_step(step))
    }

    /// `ip netns exec NAMESPACE PROGRAM`: it replaces itself by the program.
    pub(crate) fn inside(&self, namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(&self.ip);
        command.args(["netns", "exec", namespace]).arg(program);
        command
    }

    fn run_step(&self, step: &Step) -> Result<(), LabError> {
        let output = feed(self.command(step)?, &step.input)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let line = failed_line(&said).and_then(|number| step.input.lines().nth(number - 1));
        Err(LabError::Step {
            step: line.map_or_else(|| step.to_string(), |line| format!("{step}: '{line}'")),
            message: said.trim().replace('\n', "; "),
        })
    }

    fn command(&self, step: &Step) -> Result<Command, LabError> {
        let batch = |program: PathBuf, options: &[&str]| {
            let mut command = Command::new(program);
            if let Some(namespace) = &step.namespace {
                command.args(["-n", namespace]);
            }
            command.args(options);
            command
        };
        let inside = |program: PathBuf, options: &[&str]| {
            let mut command = match &step.namespace {
                Some(namespace) => self.inside(namespace, program),
                None => Command::new(program),
            };
            command.args(options);
            command
        };
        Ok(match step.tool {
            Tool::Ip => batch(self.ip.clone(), &["-batch", "-"]),
            Tool::IpForce => batch(self.ip.clone(), &["-force", "-batch", "-"]),
            Tool::Tc => batch(find("tc")?, &["-batch", "-"]),
            Tool::Nft => inside(find("nft")?, &["-f", "-"]),
            Tool::Sh => inside(find("sh")?, &["-e"]),
        })
    }
}

/// Runs a command with this standard input and collects what it prints.
pub(crate) fn feed(mut command: Command, input: &str) -> Result<Output, LabError> {
    let failed = |command: &Command, source| LabError::Run {
        program: command.get_program().into(),
        source,
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&command, error))?;
    let pipe = child.stdin.take();
    let written = std::thread::scope(|scope| {
        // From a thread: the program may print before it has read everything.
        let writer =
            scope.spawn(move || pipe.map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes())));
        let output = child.wait_with_output();
        // A program that stops early explains itself on its standard error;
        // the broken pipe adds nothing.
        drop(writer.join());
        output
    });
    written.map_err(|error| failed(&command, error))
}

/// Finds a program in PATH, then where Debian puts those of administrators,
/// which are not in the PATH of ordinary users.
pub(crate) fn find(program: &'static str) -> Result<PathBuf, LabError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| LabError::MissingProgram {
            program,
            package: package(program),
        })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The Debian package of a program.
fn package(program: &str) -> &'static str {
    match program {
        "ip" | "tc" => "iproute2",
        "nft" => "nftables",
        "unshare" => "util-linux",
        _ => "dash",
    }
}

/// `ip` and `tc` say `Command failed -:3`.
fn failed_line(said: &str) -> Option<usize> {
    let number = said.rsplit_once("Command failed -:")?.1;
    number.trim().parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_that_failed() {
        assert_eq!(
            failed_line("RTNETLINK answers: File exists\nCommand failed -:3\n"),
            Some(3)
        );
        assert_eq!(failed_line("Command failed -:0"), None);
        assert_eq!(failed_line("Error: syntax"), None);
    }

    #[test]
    fn names_the_package_of_a_missing_program() {
        let error = find("no-such-program-here").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("no-such-program-here is missing"),
            "{error}"
        );
        assert_eq!(package("nft"), "nftables");
        assert_eq!(package("tc"), "iproute2");
    }

    #[test]
    fn feeds_more_than_a_pipe_holds() {
        let input = "x".repeat(1 << 20);
        let output = feed(Command::new("cat"), &input).unwrap();
        assert_eq!(output.stdout.len(), input.len());
    }
}
