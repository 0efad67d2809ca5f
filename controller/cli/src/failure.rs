//! Why a command ended without doing what it was asked, and the exit code that says so.

use std::fmt;
use std::io;

use tonic::{Code, Status};
use weir_runtime::Endpoint;

use crate::output::text::printable;

/// Exit codes of `weir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; of a run: pass.
    Pass,
    /// Usage or file error.
    Usage,
    /// Controller gone, agents lost, flows that could not start.
    Infrastructure,
    /// Ended by the person or the system: 128 + SIGINT.
    Interrupted,
    /// The verdict of a run.
    Verdict(u8),
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Usage => 2,
            Self::Infrastructure => 3,
            Self::Interrupted => 130,
            Self::Verdict(code) => code,
        }
    }
}

/// A command that could not do its work: one sentence and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// `None`: nothing to say, such as when the reader of a pipe has gone.
    message: Option<String>,
}

impl Failure {
    /// The command line or a file is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Usage,
            message: Some(message.to_string()),
        }
    }

    /// Something that the command needs is not there.
    pub(crate) fn infrastructure(message: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Infrastructure,
            message: Some(message.to_string()),
        }
    }

    /// Stopped by a signal.
    pub(crate) fn interrupted(message: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Interrupted,
            message: Some(message.to_string()),
        }
    }

    /// The controller cannot be reached, or no longer.
    pub(crate) fn unreachable(endpoint: &Endpoint, why: impl fmt::Display) -> Self {
        Self::infrastructure(format!(
            "the controller at {endpoint} cannot be reached: {why}: is `weir serve` running? (another one: --controller ENDPOINT or WEIR_CONTROLLER)"
        ))
    }

    /// What a call was answered with. `operation` reads behind "cannot": "show run last".
    pub(crate) fn status(operation: &str, endpoint: &Endpoint, status: &Status) -> Self {
        let said = status.message();
        match status.code() {
            Code::Unavailable => Self::unreachable(endpoint, reason(status)),
            // What was asked is wrong: the controller's sentence names it and the way out.
            Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::OutOfRange => {
                Self::usage(said)
            }
            Code::Unimplemented => Self::infrastructure(format!(
                "cannot {operation}: the controller at {endpoint} does not know this call: it is another version of weir than this one"
            )),
            Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Aborted => Self::infrastructure(format!("cannot {operation}: {said}")),
            code => Self::infrastructure(format!(
                "cannot {operation}: {said} ({code:?} from {endpoint})"
            )),
        }
    }

    /// Standard output cannot be written. A reader that has gone, such as `head`, is no error.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                exit: Exit::Pass,
                message: None,
            };
        }
        Self::infrastructure(format!("write standard output: {error}"))
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<io::Error> for Failure {
    /// Every other input or output error is mapped where it happens.
    fn from(error: io::Error) -> Self {
        Self::output(&error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message
            .as_deref()
            .map_or(Ok(()), |message| f.write_str(&printable(message)))
    }
}

/// The innermost reason of a broken connection: tonic's own sentence is "transport error".
fn reason(status: &Status) -> String {
    let source = std::error::Error::source(status);
    source.map_or_else(|| status.message().to_owned(), innermost)
}

/// The sentence of the innermost source of an error.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        "unix:/run/weir.sock".parse().unwrap()
    }

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let table = [
            (Code::InvalidArgument, 2),
            (Code::NotFound, 2),
            (Code::Unavailable, 3),
            (Code::FailedPrecondition, 3),
            (Code::ResourceExhausted, 3),
            (Code::Internal, 3),
            (Code::Unimplemented, 3),
        ];
        for (code, exit) in table {
            let failure = Failure::status("x", &endpoint(), &Status::new(code, "why"));
            assert_eq!(failure.exit().code(), exit, "{code:?}");
        }
        assert_eq!(Exit::Pass.code(), 0);
        assert_eq!(Exit::Interrupted.code(), 130);
        assert_eq!(Exit::Verdict(4).code(), 4);
    }

    #[test]
    fn a_missing_controller_names_its_endpoint_and_the_fix() {
        let text = Failure::unreachable(&endpoint(), "no such file").to_string();
        assert!(
            text.contains("unix:/run/weir.sock") && text.contains("weir serve"),
            "{text}"
        );
    }

    #[test]
    fn a_closed_pipe_is_quiet() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(
            (failure.exit().code(), failure.to_string()),
            (0, String::new())
        );
    }

    #[test]
    fn what_others_said_cannot_drive_the_terminal() {
        let status = Status::invalid_argument("label \u{1b}[2Jx");
        let text = Failure::status("plan", &endpoint(), &status).to_string();
        assert_eq!(text, "label \\u{1b}[2Jx");
    }
}
