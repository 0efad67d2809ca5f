//! Ours and others in turn, round after round.

use weir_tests::report::{Digits, Figure, Spread, Target, one_line};

use crate::program::is_interrupted;

/// One program, how it is measured, and what ours is to reach beside it.
pub(crate) struct Contestant<'a> {
    name: String,
    target: Option<Target>,
    measure: Box<dyn FnMut() -> anyhow::Result<f64> + 'a>,
    values: Vec<Option<f64>>,
    problem: Option<String>,
}

impl<'a> Contestant<'a> {
    /// A program by its name.
    pub(crate) fn new(
        name: impl Into<String>,
        target: impl Into<Option<Target>>,
        measure: impl FnMut() -> anyhow::Result<f64> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            target: target.into(),
            measure: Box::new(measure),
            values: Vec::new(),
            problem: None,
        }
    }

    fn take_turn(&mut self) {
        let value = if is_interrupted() {
            Err(anyhow::anyhow!("interrupted"))
        } else {
            (self.measure)()
        };
        match &value {
            Ok(value) => eprint!("  {} {}", self.name, Digits(*value)),
            Err(error) => {
                let problem = one_line(error);
                eprint!("  {} failed: {problem}", self.name);
                self.problem = Some(problem);
            }
        }
        self.values.push(value.ok());
    }

    fn spread(&self) -> Option<Spread> {
        Spread::of(self.values.iter().flatten().copied())
    }
}

/// Measures all in turn, each round beginning with the next one, so that none has
/// the same place every time. The ratio is that of the pairs of a round.
pub(crate) fn in_turn(
    what: &str,
    ours: Contestant<'_>,
    others: Vec<Contestant<'_>>,
    rounds: usize,
) -> Vec<Figure> {
    let mut all: Vec<Contestant<'_>> = std::iter::once(ours).chain(others).collect();
    let count = all.len();
    for round in 0..rounds {
        eprint!("{what}, round {} of {rounds}:", round + 1);
        for place in 0..count {
            all[(round + place) % count].take_turn();
        }
        eprintln!();
    }
    let (ours, others) = all.split_first().expect("ours is the first");
    let beside = others.iter().map(|other| {
        let pairs = ours.values.iter().zip(&other.values);
        let ratios = pairs.filter_map(|(ours, other)| Some((*ours)? / (*other)?));
        let figure = Figure::new(what)
            .ours(ours.spread())
            .other(&other.name, other.spread())
            .ratio(Spread::of(ratios))
            .target(other.target);
        let problems = [
            ("ours", &ours.problem),
            (other.name.as_str(), &other.problem),
        ];
        problems
            .into_iter()
            .fold(figure, |figure, (name, problem)| match problem {
                Some(problem) => figure.note(format!("{name}: {problem}")),
                None => figure,
            })
    });
    beside.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_fails_does_not_stop_the_others() {
        let mut turn = 0;
        let ours = Contestant::new("ours", None, || Ok(30.0));
        let sound = Contestant::new("sound", Target::RatioAtLeast(1.5), || Ok(20.0));
        let ailing = Contestant::new("ailing", Target::RatioAtLeast(1.0), || {
            turn += 1;
            anyhow::ensure!(turn == 2, "it is gone");
            Ok(15.0)
        });
        let figures = in_turn("x", ours, vec![sound, ailing], 3);
        assert_eq!(figures[0].is_met(), Some(true));
        assert_eq!(
            figures[1].is_met(),
            Some(true),
            "of the round that went well"
        );
        let text = weir_tests::report::as_text(&figures);
        assert!(text.contains("ailing: it is gone"), "{text}");
    }
}
