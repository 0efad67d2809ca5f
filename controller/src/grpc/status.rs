//! Errors as gRPC statuses: which are the caller's fault, which may be retried.

use std::error::Error;

use tonic::{Code, Status};
use weir_proto::convert::ConvertError;

use crate::audit::{Entry, Event, Who};
use crate::run::RunError;
use crate::store::{Denial, StoreError};

/// An error with its causes, one sentence.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A store's refusal or failure.
pub(super) fn of_store(error: &StoreError) -> Status {
    let text = chain(error);
    match error {
        StoreError::NoSuchRun { .. } => Status::not_found(text),
        StoreError::NameTaken { .. } | StoreError::StaleBoot { .. } => Status::already_exists(text),
        StoreError::Token(_) => Status::permission_denied(text),
        StoreError::Entry { .. } => Status::invalid_argument(text),
        StoreError::Refused { .. } | StoreError::Expected { .. } => {
            Status::failed_precondition(text)
        }
        StoreError::Storage { .. } => Status::resource_exhausted(text),
        _ => Status::internal(text),
    }
}

/// What could not be done with a run.
pub(super) fn of_run(error: &RunError) -> Status {
    match error {
        RunError::Campaign(_) | RunError::Plan(_) => Status::invalid_argument(error.to_string()),
        RunError::Shared { .. } | RunError::NoResult { .. } | RunError::Degraded => {
            Status::failed_precondition(error.to_string())
        }
        RunError::NoSuchRun { .. } => Status::not_found(error.to_string()),
        RunError::Store(error) => of_store(error),
        RunError::Internal { .. } => Status::internal(error.to_string()),
    }
}

/// Why a stream could not be read on, when its message is at fault: malformed
/// or too large. `None` when the connection has ended, which needs no answer.
pub(super) fn unreadable(status: &Status) -> Option<Status> {
    let own = status.source().is_none();
    let code = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => Code::OutOfRange,
        // Lists that are too long, and tonic's word for bytes that are no protobuf; h2's
        // errors have a source.
        Code::InvalidArgument | Code::Internal if own => Code::InvalidArgument,
        _ => return None,
    };
    Some(Status::new(code, format!("message: {}", status.message())))
}

/// What the audit log is told of a stream that ended with this status; `None`
/// when nothing was refused. A name that another key owns has an event of its own.
pub(super) fn refusal(event: Event, who: Who, status: &Status) -> Option<Entry> {
    let event = match status.code() {
        Code::AlreadyExists => Event::NameKey,
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unimplemented => event,
        _ => return None,
    };
    Some(Entry::new(event, who).refused(status.message()))
}

/// A peer on the deny list; says what to do.
pub(super) fn denied(denial: &Denial) -> Status {
    Status::permission_denied(denial.to_string())
}

/// A message that is not what it should be; names the field.
pub(super) fn of_convert(error: &ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}
