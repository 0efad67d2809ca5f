//! Whether an SPDX expression can be satisfied with permissive licences alone.

/// Licences that may be in what is built; the same list stands in deny.toml.
const ALLOWED: [&str; 9] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Judges an expression of licences, `AND`, `OR` and parentheses; `AND` binds
/// tighter. Old manifests write `/` for `OR`.
pub(super) fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ")
        .replace(" WITH ", "+WITH+");
    let words: Vec<String> = spaced
        .split_whitespace()
        .map(|word| word.replace("+WITH+", " WITH "))
        .collect();
    let mut rest = words.as_slice();
    let allowed = either(&mut rest);
    // What is left over was not understood.
    allowed && rest.is_empty()
}

fn either(rest: &mut &[String]) -> bool {
    let mut allowed = both(rest);
    while take(rest, "OR") {
        allowed |= both(rest);
    }
    allowed
}

fn both(rest: &mut &[String]) -> bool {
    let mut allowed = one(rest);
    while take(rest, "AND") {
        allowed &= one(rest);
    }
    allowed
}

fn one(rest: &mut &[String]) -> bool {
    if take(rest, "(") {
        let allowed = either(rest);
        return take(rest, ")") && allowed;
    }
    let Some((licence, after)) = rest.split_first() else {
        return false;
    };
    *rest = after;
    ALLOWED.contains(&licence.as_str())
}

fn take(rest: &mut &[String], word: &str) -> bool {
    match rest.split_first() {
        Some((first, after)) if first == word => {
            *rest = after;
            true
        }
        _ => false,
    }
}

#[test]
fn expressions_are_understood() {
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "(MIT OR GPL-3.0-only) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
    ] {
        assert!(is_allowed(good), "{good}");
    }
    for bad in ["GPL-3.0-only", "MIT AND MPL-2.0", "(MIT", "MIT Zlib", ""] {
        assert!(!is_allowed(bad), "{bad}");
    }
}

#[test]
fn the_list_is_that_of_cargo_deny() {
    let rules =
        std::fs::read_to_string(super::tree::root().join("deny.toml")).expect("deny.toml is there");
    let list = rules
        .split_once("\nallow = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.expect("deny.toml has a list of licences");
    let theirs: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(theirs, ALLOWED);
}
