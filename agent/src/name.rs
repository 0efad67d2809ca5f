//! What an agent calls itself.

use weir_common::id::{AgentName, IdError};
use weir_common::label::Labels;

/// Everything a name may come from, best first.
#[derive(Debug, Clone, Default)]
pub struct Candidates<'a> {
    /// `--name`.
    pub flag: Option<&'a str>,
    /// `WEIR_NAME`.
    pub environment: Option<&'a str>,
    /// Labels `asn` and `node` together name a host of an emulated internet.
    pub labels: Option<&'a Labels>,
    /// `CONTAINER_NAME`: the hostname of a container is a random id.
    pub container: Option<&'a str>,
    /// The host's own name.
    pub hostname: Option<&'a str>,
}

/// Why there is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name that somebody chose is malformed.
    #[error("{origin}")]
    Chosen {
        /// `--name` or `WEIR_NAME`, and what is allowed.
        origin: String,
        /// What is wrong.
        #[source]
        source: IdError,
    },
    /// Nothing usable.
    #[error("this host has no usable name: give one with --name or WEIR_NAME")]
    None,
}

impl Candidates<'_> {
    /// The first usable name, in this order:
    ///
    /// 1. `--name`; malformed is an error, since somebody meant it.
    /// 2. `WEIR_NAME`; the same.
    /// 3. labels: `asn-node`, such as `150-host_0`.
    /// 4. `CONTAINER_NAME`.
    /// 5. the hostname.
    ///
    /// Empty candidates, and malformed ones from 3 on, are passed over.
    ///
    /// # Errors
    /// A chosen name is malformed, or nothing is left.
    pub fn choose(&self) -> Result<AgentName, NameError> {
        let chosen = [("--name", self.flag), ("WEIR_NAME", self.environment)];
        for (origin, name) in chosen {
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                let describe = |source| NameError::Chosen {
                    origin: origin.to_owned(),
                    source,
                };
                return name.parse().map_err(describe);
            }
        }
        let label = |key| self.labels.and_then(|labels| labels.value(key));
        let labelled = label("asn")
            .zip(label("node"))
            .map(|(asn, node)| format!("{asn}-{node}"));
        [labelled.as_deref(), self.container, self.hostname]
            .into_iter()
            .flatten()
            .find_map(|name| name.trim().parse().ok())
            .ok_or(NameError::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_names() {
        let mut labels = Labels::new();
        labels.insert("asn", "150").unwrap();
        labels.insert("node", "Host_0").unwrap();
        let mut asn_only = Labels::new();
        asn_only.insert("asn", "150").unwrap();
        let all = Candidates {
            flag: Some("flag"),
            environment: Some("environment"),
            labels: Some(&labels),
            container: Some("as150h-host_0-10.150.0.71"),
            hostname: Some("3f2a"),
        };
        let name = |candidates: Candidates<'_>| candidates.choose().unwrap().to_string();
        assert_eq!(name(all.clone()), "flag");
        assert_eq!(
            name(Candidates {
                flag: None,
                ..all.clone()
            }),
            "environment"
        );
        let unnamed = Candidates {
            flag: None,
            environment: Some(""),
            ..all
        };
        assert_eq!(name(unnamed.clone()), "150-host_0");
        let unlabelled = Candidates {
            labels: Some(&asn_only),
            ..unnamed
        };
        assert_eq!(name(unlabelled.clone()), "as150h-host_0-10.150.0.71");
        assert_eq!(
            name(Candidates {
                container: None,
                ..unlabelled.clone()
            }),
            "3f2a"
        );
        assert_eq!(
            name(Candidates {
                container: Some("a b"),
                ..unlabelled
            }),
            "3f2a"
        );
    }

    #[test]
    fn chosen_names_are_never_passed_over() {
        let bad = Candidates {
            flag: Some("a b"),
            hostname: Some("h"),
            ..Candidates::default()
        };
        assert!(matches!(bad.choose(), Err(NameError::Chosen { .. })));
        assert_eq!(Candidates::default().choose(), Err(NameError::None));
    }
}
