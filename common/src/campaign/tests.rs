//! Both faces, against each other and against everything that is wrong.

mod errors;
mod examples;
mod lines;
mod resolve;
mod round_trip;

use super::*;

fn read(text: &str) -> Result<Campaign, CampaignError> {
    file::parse(text, "test.toml")
}

/// Reads a command line as a shell would: blanks separate, single quotes hold together.
fn line(text: &str) -> Result<Campaign, CampaignError> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '\'' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    flags::parse(&words)
}
