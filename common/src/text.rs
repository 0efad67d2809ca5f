//! Texts of others, made harmless.

/// The text with everything escaped that a terminal would obey rather than show: control characters, and the
/// marks that turn the direction of writing. Names and reasons come from hosts under test, which may be hostile.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns_direction(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Marks and overrides of the Unicode bidirectional algorithm (UAX #9, section 2).
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_are_shown_not_obeyed() {
        assert_eq!(
            printable("a\u{1b}[31mb\r\n\t\u{7f}\u{9b}"),
            "a\\u{1b}[31mb\\r\\n\\t\\u{7f}\\u{9b}"
        );
        assert_eq!(printable("x\u{202e}y"), "x\\u{202e}y");
        assert_eq!(printable("Zürich · 10 µs"), "Zürich · 10 µs");
    }
}
