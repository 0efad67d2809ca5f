//! The nearest known word to a mistyped one, for errors that help.

/// Returns the candidate nearest to `word`, or `None` when nothing is near enough to be meant.
///
/// Near is a small edit distance in which a difference of case counts half. Of equally near
/// candidates the one that shares the longer beginning with `word` wins, then the first.
///
/// ```
/// use weir_common::nearest::nearest;
/// assert_eq!(nearest("trafic", ["name", "traffic"]), Some("traffic"));
/// assert_eq!(nearest("zzz", ["name", "traffic"]), None);
/// ```
pub fn nearest<'a, I>(word: &str, candidates: I) -> Option<&'a str>
where
    I: IntoIterator<Item = &'a str>,
{
    let mut best: Option<(usize, usize, &str)> = None;
    for candidate in candidates {
        let cost = distance(word, candidate);
        let shared = shared_start(word, candidate);
        let better =
            best.is_none_or(|(least, most, _)| cost < least || (cost == least && shared > most));
        if better {
            best = Some((cost, shared, candidate));
        }
    }
    let (cost, _, candidate) = best?;
    let length = word.chars().count().max(candidate.chars().count());
    // Costs are in half edits: up to half of the letters may differ.
    (cost <= length.max(2)).then_some(candidate)
}

/// Longest word that is compared: longer ones are never typing errors of a key.
const LONGEST: usize = 64;

/// Edit distance in half edits: a change of case costs 1, anything else 2; a swap of neighbours is one edit.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(LONGEST).collect();
    let right: Vec<char> = right.chars().take(LONGEST).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).map(|column| column * 2).collect();
    for (i, a) in left.iter().enumerate() {
        let mut next = vec![(i + 1) * 2];
        for (j, b) in right.iter().enumerate() {
            let mut cost = (row[j] + replace_cost(*a, *b))
                .min(row[j + 1] + 2)
                .min(next[j] + 2);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                cost = cost.min(before[j - 1] + 2);
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[right.len()]
}

fn replace_cost(a: char, b: char) -> usize {
    if a == b {
        0
    } else if a.eq_ignore_ascii_case(&b) {
        1
    } else {
        2
    }
}

fn shared_start(left: &str, right: &str) -> usize {
    left.chars()
        .zip(right.chars())
        .take_while(|(a, b)| a.eq_ignore_ascii_case(b))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["name", "for", "warmup", "pause", "traffic"];
        assert_eq!(nearest("trafic", keys), Some("traffic"));
        assert_eq!(nearest("warm-up", keys), Some("warmup"));
        assert_eq!(nearest("nmae", keys), Some("name"));
        assert_eq!(nearest("bandwidth", keys), None);
    }

    #[test]
    fn a_shared_beginning_breaks_ties() {
        assert_eq!(
            nearest("Mbits", ["bit/s", "kbit/s", "Mbit/s"]),
            Some("Mbit/s")
        );
    }

    #[test]
    fn survives_the_empty_word() {
        assert_eq!(nearest("", ["name"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
