//! Strings of others on this terminal.

use std::fmt::{self, Write};

pub use weir_common::text::printable;

/// Writing into a string that is built in parts.
pub trait Put {
    /// Appends formatted text.
    fn put(&mut self, text: fmt::Arguments<'_>);
}

impl Put for String {
    fn put(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _infallible = self.write_fmt(text);
    }
}

/// The text cut to `most` characters, with an ellipsis where something is missing.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut start: String = text.chars().take(most.saturating_sub(1)).collect();
    start.push('…');
    start
}

/// `1 flow`, `2 flows`.
pub fn plural(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// The path with the home directory as `~`, for reading.
pub fn short_path(path: &str, home: Option<&str>) -> String {
    let inside = home
        .filter(|home| home.len() > 1)
        .and_then(|home| path.strip_prefix(home))
        .filter(|rest| rest.starts_with('/'));
    inside.map_or_else(|| printable(path), |rest| printable(&format!("~{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_and_counts() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(plural(1, "flow"), "1 flow");
        assert_eq!(plural(0, "flow"), "0 flows");
    }

    #[test]
    fn home_is_a_tilde_only_as_a_whole_directory() {
        assert_eq!(short_path("/home/a/x.db", Some("/home/a")), "~/x.db");
        assert_eq!(
            short_path("/home/ab/x.db", Some("/home/a")),
            "/home/ab/x.db"
        );
        assert_eq!(short_path("/var/x.db", Some("/")), "/var/x.db");
        assert_eq!(short_path("/var/x.db", None), "/var/x.db");
    }
}
