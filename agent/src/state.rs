//! What an agent keeps in its data directory.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | nothing; locked while the agent runs |
//! | `agent.key` | the Ed25519 private key (PKCS #8) that owns the agent's name |
//! | `tls.pem` | the certificate for a controller beyond this host, and its private key |
//! | `authority.crt` | the certificate of the authority that this agent trusts |
//! | `generation` | how often the agent has started |
//! | `accepted` | the snapshot accepted last, and from which controller |
//! | `journal.json` | every assignment ever accepted, with how it stands |
//! | `flows.jsonl` | the local log: one line for each end of a flow |
//! | `spool/` | records that are not delivered yet ([`crate::outbox`]) |
//! | `artifacts/` | files that flows wrote ([`crate::artifacts`]) |

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use prost::Message;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use weir_common::id::{AgentName, BootId, RunId};
use weir_proto::agent::v1 as pb;
use weir_proto::types::v1::Snapshot;
use weir_runtime::DataDir;
use weir_runtime::directory::DirectoryError;

const KEY: &str = "agent.key";
const GENERATION: &str = "generation";
const ACCEPTED: &str = "accepted";
const JOURNAL: &str = "journal.json";
const LOCAL_LOG: &str = "flows.jsonl";
/// The directory of records.
pub(crate) const SPOOL: &str = "spool";
/// The directory of files that flows wrote.
pub(crate) const ARTIFACTS: &str = "artifacts";

/// What a signature is for, so that it fits nowhere else.
const HELLO_CONTEXT: &[u8] = b"weir-hello-1";
const ENROL_CONTEXT: &[u8] = b"weir-enrol-1";

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made, locked, read or written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file is damaged.
    #[error("{} is damaged: {problem}; remove it to start afresh{consequence}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What removing it means.
        consequence: &'static str,
    },
    /// The kernel gives no random numbers.
    #[error("no random numbers from the kernel")]
    Random,
}

/// How an assignment stands; it only moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    Accepted,
    Prepared,
    Armed,
    Running,
    Finished,
    Stopped,
    Aborted,
}

impl Standing {
    /// Whether nothing of the assignment runs any more.
    pub(crate) fn is_final(self) -> bool {
        self >= Self::Finished
    }

    pub(crate) fn to_proto(self) -> pb::assignment_status::State {
        use pb::assignment_status::State;
        match self {
            Self::Accepted => State::Accepted,
            Self::Prepared => State::Prepared,
            Self::Armed => State::Armed,
            Self::Running => State::Running,
            Self::Finished => State::Finished,
            Self::Stopped => State::Stopped,
            Self::Aborted => State::Aborted,
        }
    }
}

/// One line of the journal. Run and nonce together name an assignment, over
/// all controllers that an agent may ever have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JournalEntry {
    pub(crate) run: RunId,
    pub(crate) nonce: u64,
    pub(crate) standing: Standing,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// Whether the accepted snapshot still holds it.
    pub(crate) wanted: bool,
}

/// The snapshot accepted last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Accepted {
    /// Identity of its controller; empty = none.
    pub(crate) controller_id: String,
    /// Its version; 0 = none.
    pub(crate) version: u64,
}

/// Who this agent is, in this start.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) name: AgentName,
    pub(crate) boot: BootId,
    pub(crate) generation: u64,
    key: Ed25519KeyPair,
}

impl Identity {
    /// The public key, 32 bytes.
    pub(crate) fn public_key(&self) -> Vec<u8> {
        self.key.public_key().as_ref().to_vec()
    }

    /// Signs a challenge: context, nonce, name and boot id.
    pub(crate) fn sign(&self, nonce: &[u8]) -> Vec<u8> {
        let name = self.name.as_str().as_bytes();
        let message = [HELLO_CONTEXT, nonce, name, &self.boot.0].concat();
        self.key.sign(&message).as_ref().to_vec()
    }

    /// Signs what is shown to enrol: context, hashes of the request and of the token's
    /// id, name.
    pub(crate) fn sign_enrolment(&self, request: &[u8], token_id: &str) -> Vec<u8> {
        let (request, id) = (
            digest(&SHA256, request),
            digest(&SHA256, token_id.as_bytes()),
        );
        let name = self.name.as_str().as_bytes();
        let message = [ENROL_CONTEXT, request.as_ref(), id.as_ref(), name].concat();
        self.key.sign(&message).as_ref().to_vec()
    }
}

/// The data directory of a running agent.
#[derive(Debug)]
pub(crate) struct State {
    data: DataDir,
}

impl State {
    /// Locks the directory.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StateError> {
        Ok(Self {
            data: DataDir::open(path)?,
        })
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.data.file(name)
    }

    /// Counts this start and draws its boot id; makes the key at the first one.
    pub(crate) fn identity(&self, name: AgentName) -> Result<Identity, StateError> {
        let random = SystemRandom::new();
        let key = self.key(&random)?;
        let before = match self.data.read(GENERATION)? {
            None => 0,
            Some(bytes) => String::from_utf8_lossy(&bytes)
                .trim()
                .parse::<u64>()
                .map_err(|_| {
                    let consequence = ", after the controller has forgotten this agent";
                    self.damaged(GENERATION, "not a number".into(), consequence)
                })?,
        };
        let generation = before.saturating_add(1);
        self.data
            .write(GENERATION, format!("{generation}\n").as_bytes())?;
        let mut boot = [0; 16];
        random.fill(&mut boot).map_err(|_| StateError::Random)?;
        Ok(Identity {
            name,
            boot: BootId(boot),
            generation,
            key,
        })
    }

    fn key(&self, random: &SystemRandom) -> Result<Ed25519KeyPair, StateError> {
        let pkcs8 = if let Some(bytes) = self.data.read(KEY)? {
            bytes
        } else {
            let document =
                Ed25519KeyPair::generate_pkcs8(random).map_err(|_| StateError::Random)?;
            self.data.write(KEY, document.as_ref())?;
            document.as_ref().to_vec()
        };
        Ed25519KeyPair::from_pkcs8(&pkcs8)
            .map_err(|error| self.damaged(KEY, error.to_string(), " under another name"))
    }

    /// What was accepted before, and the journal.
    pub(crate) fn load(&self) -> Result<(Accepted, Vec<JournalEntry>), StateError> {
        let accepted = match self.data.read(ACCEPTED)? {
            None => Accepted::default(),
            Some(bytes) => decode_accepted(&bytes)
                .map_err(|error| self.damaged(ACCEPTED, error.to_string(), ""))?,
        };
        let journal = match self.data.read(JOURNAL)? {
            None => Vec::new(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let consequence = "; an assignment that was run could then be run again";
                self.damaged(JOURNAL, error.to_string(), consequence)
            })?,
        };
        Ok((accepted, journal))
    }

    fn damaged(&self, name: &str, problem: String, consequence: &'static str) -> StateError {
        StateError::Damaged {
            path: self.data.file(name),
            problem,
            consequence,
        }
    }

    /// Keeps an accepted snapshot; on disk when this returns.
    pub(crate) fn keep_accepted(
        &self,
        controller_id: &str,
        snapshot: &Snapshot,
    ) -> Result<(), StateError> {
        Ok(self
            .data
            .write(ACCEPTED, &encode_accepted(controller_id, snapshot))?)
    }

    /// Keeps the journal; on disk when this returns.
    pub(crate) fn keep_journal(&self, journal: &[JournalEntry]) -> Result<(), StateError> {
        let text = serde_json::to_vec_pretty(journal).expect("a journal is plain data");
        Ok(self.data.write(JOURNAL, &text)?)
    }

    /// Adds lines to the local log. Not synced: it is a second copy.
    pub(crate) fn log(&self, lines: &[u8]) -> Result<(), StateError> {
        let path = self.data.file(LOCAL_LOG);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        let result: io::Result<()> = file.and_then(|mut file| file.write_all(lines));
        result.map_err(|source| {
            StateError::Directory(DirectoryError::Io {
                operation: "append to",
                path,
                source,
            })
        })
    }
}

/// The welcome of the session in which the snapshot came (it names the
/// controller), then the snapshot, each after its length.
fn encode_accepted(controller_id: &str, snapshot: &Snapshot) -> Vec<u8> {
    let welcome = pb::HelloAck {
        controller_id: controller_id.to_owned(),
        session_epoch: snapshot.epoch,
        ..pb::HelloAck::default()
    };
    let mut bytes = welcome.encode_length_delimited_to_vec();
    bytes.extend(snapshot.encode_length_delimited_to_vec());
    bytes
}

fn decode_accepted(mut bytes: &[u8]) -> Result<Accepted, prost::DecodeError> {
    let welcome = pb::HelloAck::decode_length_delimited(&mut bytes)?;
    let snapshot = Snapshot::decode_length_delimited(&mut bytes)?;
    Ok(Accepted {
        controller_id: welcome.controller_id,
        version: snapshot.version,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    fn name() -> AgentName {
        "a".parse().unwrap()
    }

    #[test]
    fn each_start_has_its_own_boot_and_a_higher_generation() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            State::open(directory.path().to_owned())
                .unwrap()
                .identity(name())
                .unwrap()
        };
        let (first, second) = (open(), open());
        assert_eq!((first.generation, second.generation), (1, 2));
        assert_ne!(first.boot, second.boot);
        assert_eq!(first.public_key(), second.public_key());
        let mode = std::fs::metadata(directory.path().join(KEY))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_signature_covers_nonce_name_and_boot() {
        let directory = tempfile::tempdir().unwrap();
        let identity = State::open(directory.path().to_owned())
            .unwrap()
            .identity(name())
            .unwrap();
        let signature = identity.sign(&[7; 32]);
        let message = [&b"weir-hello-1"[..], &[7; 32], b"a", &identity.boot.0].concat();
        let key = UnparsedPublicKey::new(&ED25519, identity.public_key());
        key.verify(&message, &signature).unwrap();
    }

    #[test]
    fn what_was_kept_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path().to_owned()).unwrap();
        assert_eq!(state.load().unwrap(), (Accepted::default(), vec![]));
        let snapshot = Snapshot {
            epoch: 3,
            version: 9,
            items: vec![],
        };
        state.keep_accepted("c-1", &snapshot).unwrap();
        let entry = JournalEntry {
            run: RunId(1),
            nonce: u64::MAX,
            standing: Standing::Running,
            reason: String::new(),
            wanted: true,
        };
        state.keep_journal(std::slice::from_ref(&entry)).unwrap();
        let accepted = Accepted {
            controller_id: "c-1".into(),
            version: 9,
        };
        assert_eq!(state.load().unwrap(), (accepted, vec![entry]));
    }

    #[test]
    fn damage_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path().to_owned()).unwrap();
        state.data.write(JOURNAL, b"[{").unwrap();
        let error = state.load().unwrap_err().to_string();
        assert!(error.contains("journal.json is damaged"), "{error}");
        state.data.write(GENERATION, b"x").unwrap();
        assert!(matches!(
            state.identity(name()),
            Err(StateError::Damaged { .. })
        ));
    }
}
