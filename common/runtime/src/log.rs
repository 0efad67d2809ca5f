//! Logging: lines on standard error, so that standard output stays for results.
//!
//! What others said stands in them: control characters are escaped, and unless
//! somebody asked for `debug`, lines that come too fast are counted instead of
//! written, so that nobody fills a disk by being refused.

mod writer;

use std::str::FromStr as _;

use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

/// Environment variable with the level or filter, such as `debug` or `weir_agent=debug,info`.
pub const ENVIRONMENT: &str = "WEIR_LOG";

/// A level or filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log filter `{filter}` is not valid: use error, warn, info, debug or trace")]
pub struct LogError {
    /// The filter as given.
    filter: String,
    #[source]
    source: ParseError,
}

/// Starts logging with the filter of a flag, else of [`ENVIRONMENT`], else
/// `info`. A second call in one process changes nothing.
///
/// # Errors
/// The filter cannot be read.
pub fn start(flag: Option<&str>) -> Result<(), LogError> {
    let environment = std::env::var(ENVIRONMENT).ok();
    let filter = flag.or(environment.as_deref()).unwrap_or_default();
    let filter = targets(filter).map_err(|source| LogError {
        filter: filter.to_owned(),
        source,
    })?;
    let is_bounded = filter
        .iter()
        .map(|(_, level)| level)
        .chain(filter.default_level())
        .all(|level| level <= LevelFilter::INFO);
    let lines = fmt::layer()
        .with_writer(writer::Lines::new(is_bounded))
        .with_target(false)
        .with_filter(filter);
    let subscriber = tracing_subscriber::registry().with(lines);
    // A library user may have set a subscriber of its own: that one stays.
    let _already_set = tracing::subscriber::set_global_default(subscriber).is_err();
    Ok(())
}

/// A level for everything, or levels by module. A regular expression, as other
/// filters know it, would cost the static agent a tenth of its size.
fn targets(filter: &str) -> Result<Targets, ParseError> {
    let level = match filter {
        "" => Ok(LevelFilter::INFO),
        filter => LevelFilter::from_str(filter),
    };
    if let Ok(level) = level {
        let targets = Targets::new().with_default(level);
        // It warns of every peer that breaks the rules of HTTP/2.
        let is_calm = level <= LevelFilter::INFO;
        return Ok(if is_calm {
            targets.with_target("h2", level.min(LevelFilter::ERROR))
        } else {
            targets
        });
    }
    let targets = Targets::from_str(filter)?;
    let default = targets.default_level().unwrap_or(LevelFilter::INFO);
    Ok(targets.with_default(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_modules_are_read() {
        let default = |text| targets(text).map(|targets| targets.default_level());
        assert_eq!(default("").unwrap(), Some(LevelFilter::INFO));
        assert_eq!(default("debug").unwrap(), Some(LevelFilter::DEBUG));
        assert_eq!(
            default("weir_agent=trace").unwrap(),
            Some(LevelFilter::INFO)
        );
        assert_eq!(
            default("weir_agent=debug,warn").unwrap(),
            Some(LevelFilter::WARN)
        );
        assert!(targets("weir_agent=loud").is_err());
    }
}
