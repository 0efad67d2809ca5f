//! The policy file: its text, and whether the file may be believed.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use weir_common::nearest::nearest;
use weir_common::unit::{BitRate, ByteCount, PacketRate, Span};

use super::prefix::Destinations;

/// Where a policy is looked for if none is named.
pub const INSTALLED: &str = "/etc/weir/policy.toml";

/// Largest file that is read, bytes: a person writes it.
const FILE_MOST: u64 = 1 << 20;

/// Stands for what is allowed without a file, in `allow_destinations`.
const BUILT_IN: &str = "built-in";

/// The longest a flow may last where no file says otherwise.
const DURATION: Span = Span::from_secs(3600);

const KEYS: [&str; 8] = [
    "allow_destinations",
    "deny_destinations",
    "max_rate",
    "max_packet_rate",
    "max_flows",
    "max_sockets",
    "max_duration",
    "max_bytes",
];

/// What a policy file says; its default is what holds without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether what is allowed without a file stays allowed.
    pub built_in: bool,
    /// What is allowed besides.
    pub allow: Vec<Destinations>,
    /// What is denied, whatever allows it.
    pub deny: Vec<Destinations>,
    /// Sum over all flows that this host sends at a time, bit/s with IP headers.
    pub max_rate: Option<BitRate>,
    /// The same in packets a second.
    pub max_packet_rate: Option<PacketRate>,
    /// Flows with an end at this host, at a time.
    pub max_flows: Option<u64>,
    /// Sockets of flows at this host, at a time.
    pub max_sockets: Option<u64>,
    /// Length of a flow.
    pub max_duration: Span,
    /// What one run sends from this host, with IP headers.
    pub max_bytes: Option<ByteCount>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            built_in: true,
            allow: Vec::new(),
            deny: Vec::new(),
            max_rate: None,
            max_packet_rate: None,
            max_flows: None,
            max_sockets: None,
            max_duration: DURATION,
            max_bytes: None,
        }
    }
}

/// Why a policy file is not followed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// It is not there, or not for this process.
    #[error("read the policy file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than the host's administrator could change it.
    #[error("the policy file {} is not believed: {problem}", path.display())]
    Untrusted {
        /// Which file.
        path: PathBuf,
        /// Who could, and how to end that.
        problem: String,
    },
    /// Its text is not a policy.
    #[error("the policy file {}:{line}: {problem}", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, and what is allowed.
        problem: String,
    },
}

/// What tells one content of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The file's version now; `None` if it is not there.
    pub(crate) fn now(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::of)
    }
}

impl Rules {
    /// Reads a policy file that only root, or the user that this process runs as, may
    /// change.
    ///
    /// # Errors
    /// It cannot be read, others may write to it, or its text is no policy.
    pub fn read(path: &Path) -> Result<Self, PolicyFileError> {
        Self::read_version(path).map(|(rules, _)| rules)
    }

    pub(crate) fn read_version(path: &Path) -> Result<(Self, Version), PolicyFileError> {
        let failed = |source| PolicyFileError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let own = rustix::process::geteuid().as_raw();
        if let Some(problem) = distrust(&metadata, own) {
            let path = path.to_owned();
            return Err(PolicyFileError::Untrusted { path, problem });
        }
        let mut text = String::new();
        file.take(FILE_MOST)
            .read_to_string(&mut text)
            .map_err(failed)?;
        let rules = text
            .parse()
            .map_err(|error: TextError| PolicyFileError::Text {
                path: path.to_owned(),
                line: error.line,
                problem: error.problem,
            })?;
        Ok((rules, Version::of(&metadata)))
    }

    /// The host's policy file if there is one.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn installed() -> Result<Self, PolicyFileError> {
        let path = Path::new(INSTALLED);
        match Self::read(path) {
            Err(PolicyFileError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(Self::default())
            }
            read => read,
        }
    }
}

/// Why a file is not believed; `own` is the user that this process runs as.
fn distrust(metadata: &Metadata, own: u32) -> Option<String> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if !metadata.is_file() {
        return Some("it is not a regular file".to_owned());
    }
    if metadata.size() >= FILE_MOST {
        return Some(format!(
            "it has {} bytes, a policy has less than {FILE_MOST}",
            metadata.size()
        ));
    }
    if owner != 0 && owner != own {
        return Some(format!("user {owner} owns it: chown it to root"));
    }
    (mode & 0o022 != 0).then(|| format!("its mode {mode:03o} lets others write: `chmod go-w` it"))
}

/// What is wrong with a text, and in which line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TextError {
    line: usize,
    problem: String,
}

impl FromStr for Rules {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let line = |at: usize| {
            let before = text.get(..at).unwrap_or_default();
            1 + before.matches('\n').count()
        };
        let root = DeTable::parse(text).map_err(|error| TextError {
            line: line(error.span().map_or(0, |span| span.start)),
            problem: format!("not valid TOML: {}", error.message().replace('\n', ", ")),
        })?;
        let mut rules = Self::default();
        for (key, value) in root.get_ref() {
            let name: &str = key.get_ref();
            rules.set(name, value).map_err(|problem| TextError {
                line: line(key.span().start),
                problem: if KEYS.contains(&name) {
                    format!("`{name}`: {problem}")
                } else {
                    problem
                },
            })?;
        }
        Ok(rules)
    }
}

impl Rules {
    fn set(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        match key {
            "allow_destinations" => {
                let entries = entries(value)?;
                self.built_in = entries.iter().any(|entry| entry == BUILT_IN);
                let others = entries.iter().filter(|entry| *entry != BUILT_IN);
                self.allow = others
                    .map(|entry| entry.parse())
                    .collect::<Result<_, _>>()?;
            }
            "deny_destinations" => {
                let entries = entries(value)?;
                self.deny = entries
                    .iter()
                    .map(|entry| entry.parse())
                    .collect::<Result<_, _>>()?;
            }
            "max_rate" => self.max_rate = Some(quantity(value, "10 Mbit/s")?),
            "max_packet_rate" => self.max_packet_rate = Some(quantity(value, "1000 pkt/s")?),
            "max_flows" => self.max_flows = Some(count(value)?),
            "max_sockets" => self.max_sockets = Some(count(value)?),
            "max_duration" => {
                let most: Span = quantity(value, "1 h")?;
                if most.is_zero() {
                    return Err("0 allows no flow".to_owned());
                }
                self.max_duration = most;
            }
            "max_bytes" => self.max_bytes = Some(quantity(value, "10 GB")?),
            _ => {
                let key: String = key.chars().take(40).collect();
                let hint = match nearest(&key, KEYS) {
                    Some(near) => format!("did you mean `{near}`? "),
                    None => String::new(),
                };
                return Err(format!(
                    "unknown key `{key}`: {hint}keys: {}",
                    KEYS.join(", ")
                ));
            }
        }
        Ok(())
    }
}

fn entries(value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
    let form = || "write a list of texts, such as [\"10.0.0.0/8\"]".to_owned();
    let DeValue::Array(items) = value.get_ref() else {
        return Err(form());
    };
    let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        _ => Err(form()),
    };
    items.iter().map(text).collect()
}

fn quantity<T: FromStr<Err: ToString>>(
    value: &Spanned<DeValue<'_>>,
    example: &str,
) -> Result<T, String> {
    match value.get_ref() {
        DeValue::String(text) => text.parse().map_err(|error: T::Err| error.to_string()),
        _ => Err(format!(
            "write a quantity with its unit, such as \"{example}\""
        )),
    }
}

fn count(value: &Spanned<DeValue<'_>>) -> Result<u64, String> {
    let digits = match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
        _ => None,
    };
    digits.ok_or_else(|| "write a whole number from 0".to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Rules>().unwrap_err().to_string()
    }

    #[test]
    fn the_file_of_the_documentation_holds_every_key() {
        let document = include_str!("../../../docs/policy.md");
        let (_, block) = document.split_once("```toml\n").expect("an example");
        let (block, _) = block.split_once("```").expect("its end");
        let rules: Rules = block.parse().unwrap();
        for key in KEYS {
            assert!(block.contains(&format!("\n{key} = ")), "{key}");
        }
        assert!(rules.built_in && !rules.allow.is_empty() && !rules.deny.is_empty());
        assert_eq!(rules.max_rate, BitRate::new(100_000_000));
        assert_eq!(rules.max_duration, Span::from_secs(600));
    }

    #[test]
    fn nothing_is_what_holds_without_a_file() {
        assert_eq!("# nothing\n".parse(), Ok(Rules::default()));
        let none: Rules = "allow_destinations = []".parse().unwrap();
        assert!(!none.built_in && none.allow.is_empty());
    }

    #[test]
    fn errors_have_a_line_and_a_way_out() {
        for (text, words) in [
            ("\nmax_rates = \"1 Mbit/s\"", ["line 2", "`max_rate`"]),
            ("spoof = true", ["unknown key", "keys: allow"]),
            ("max_rate = 5", ["`max_rate`", "10 Mbit/s"]),
            ("max_rate = \"5\"", ["has no unit", "`max_rate`"]),
            ("max_flows = -1", ["whole number", "`max_flows`"]),
            ("max_flows = 0x10", ["whole number", "line 1"]),
            ("max_duration = \"0 s\"", ["no flow", "`max_duration`"]),
            (
                "deny_destinations = \"10.0.0.0/8\"",
                ["list", "`deny_destinations`"],
            ),
            (
                "deny_destinations = [\"10.0.0.0/99\"]",
                ["32 bits", "10.0.0.0/99"],
            ),
            (
                "deny_destinations = [\"built-in\"]",
                ["no prefix", "built-in"],
            ),
            ("max_flows = ", ["not valid TOML", "line 1"]),
            ("max_flows = 1\nmax_flows = 2", ["not valid TOML", "line 2"]),
        ] {
            let error = error(text);
            for word in words {
                assert!(error.contains(word), "{text}: {error}");
            }
        }
    }

    #[test]
    fn a_file_that_others_may_change_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        std::fs::write(&path, "max_flows = 3").unwrap();
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).unwrap();
            Rules::read(&path)
        };
        assert_eq!(mode(0o644).unwrap().max_flows, Some(3));
        for writable in [0o664, 0o646, 0o666] {
            let error = mode(writable).unwrap_err().to_string();
            assert!(error.contains("chmod go-w"), "{error}");
        }
        let metadata = std::fs::metadata(directory.path()).unwrap();
        assert!(distrust(&metadata, 0).is_some_and(|why| why.contains("regular")));
        mode(0o600).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        let owner = metadata.uid();
        assert_eq!(distrust(&metadata, owner), None);
        if owner != 0 {
            assert!(distrust(&metadata, owner + 1).is_some_and(|why| why.contains("chown")));
        }
        let missing = Rules::read(&directory.path().join("none")).unwrap_err();
        assert!(matches!(missing, PolicyFileError::Read { .. }));
    }

    #[test]
    fn a_change_is_another_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        assert_eq!(Version::now(&path), None);
        std::fs::write(&path, "max_flows = 3").unwrap();
        let first = Version::now(&path);
        assert_eq!(Rules::read_version(&path).ok().map(|read| read.1), first);
        std::fs::write(&path, "max_flows = 12").unwrap();
        assert_ne!(Version::now(&path), first);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}", key in proptest::sample::select(&KEYS[..])) {
            let _either = text.parse::<Rules>();
            let _either = format!("{key} = {text}").parse::<Rules>();
            let _either = format!("{key} = [{text:?}, 3]").parse::<Rules>();
        }
    }
}
