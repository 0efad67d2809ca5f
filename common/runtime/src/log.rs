//! Logging: lines on standard error, so that standard output stays for results.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Environment variable with the level or filter, such as `debug` or `weir_agent=debug,info`.
pub const ENVIRONMENT: &str = "WEIR_LOG";

/// A level or filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log filter `{filter}` is not valid: use error, warn, info, debug or trace")]
pub struct LogError {
    /// The filter as given.
    filter: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging with the filter of a flag, else of [`ENVIRONMENT`], else
/// `info`. A second call in one process changes nothing.
///
/// # Errors
/// The filter cannot be read.
pub fn start(flag: Option<&str>) -> Result<(), LogError> {
    let environment = std::env::var(ENVIRONMENT).ok();
    let filter = flag.or(environment.as_deref()).unwrap_or_default();
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(filter)
        .map_err(|source| LogError {
            filter: filter.to_owned(),
            source,
        })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .finish();
    // A library user may have set a subscriber of its own: that one stays.
    let _already_set = tracing::subscriber::set_global_default(subscriber).is_err();
    Ok(())
}
