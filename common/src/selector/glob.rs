use crate::label::LONGEST;
use std::fmt;

/// A pattern for a whole word: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(String);

impl Glob {
    /// A pattern; `None` if it is empty, too long, or holds what a label cannot hold.
    pub fn new(pattern: &str) -> Option<Glob> {
        let forbidden = |c: char| {
            c.is_control() || c.is_whitespace() || matches!(c, ',' | '=' | '!' | '"' | '\'')
        };
        if pattern.is_empty() || pattern.len() > LONGEST || pattern.contains(forbidden) {
            return None;
        }
        Some(Glob(pattern.to_owned()))
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the pattern covers all of `word`. Takes at most pattern x word steps.
    pub fn matches(&self, word: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let word: Vec<char> = word.chars().collect();
        let (mut p, mut w) = (0, 0);
        // Where to go on if the characters after the last star do not fit: one more for the star.
        let mut retry: Option<(usize, usize)> = None;
        while w < word.len() {
            match pattern.get(p) {
                Some('*') => {
                    retry = Some((p + 1, w));
                    p += 1;
                }
                Some(c) if *c == '?' || *c == word[w] => {
                    p += 1;
                    w += 1;
                }
                _ => match retry {
                    Some((after_star, taken)) => {
                        p = after_star;
                        w = taken + 1;
                        retry = Some((after_star, taken + 1));
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_marks() {
        let cases = [
            ("host_*", "host_0", true),
            ("host_*", "host_", true),
            ("host_*", "router0", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "abab", true),
            ("h?st", "host", true),
            ("h?st", "hst", false),
            ("150", "1500", false),
            ("*", "", true),
        ];
        for (pattern, word, expected) in cases {
            assert_eq!(
                Glob::new(pattern).unwrap().matches(word),
                expected,
                "{pattern} {word}"
            );
        }
        assert_eq!(Glob::new(""), None);
        assert_eq!(Glob::new("a,b"), None);
    }
}
