//! Messages that no peer sends: made from the committed descriptor set, field by
//! field with absurd values, and then changed byte by byte. So every method has
//! them, also one that is added tomorrow.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use weir_common::assignment::Snapshot;
use weir_common::record::Entry;
use weir_common::selector::Selector;
use weir_proto::agent::v1 as agent;
use weir_proto::controller::v1 as controller;
use weir_proto::convert;
use weir_proto::enrol::v1 as enrol;

/// Depth of messages in messages.
const DEPTH: u32 = 6;

/// Always the same numbers (xorshift64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A sequence; each seed has another.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }
}

/// A method, and the messages that go over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Its path, such as `/weir.agent.v1.AgentService/Control`.
    pub path: String,
    /// Name of what is sent, such as `.weir.agent.v1.ControlRequest`.
    pub request: String,
    /// Name of what is answered.
    pub response: String,
}

/// The committed descriptor set.
#[derive(Debug)]
pub struct Descriptors {
    messages: BTreeMap<String, DescriptorProto>,
    methods: Vec<Method>,
}

impl Descriptors {
    /// Reads it.
    ///
    /// # Panics
    /// When it is no descriptor set.
    pub fn read() -> Self {
        let set = FileDescriptorSet::decode(weir_proto::FILE_DESCRIPTOR_SET).expect("a set");
        let (mut messages, mut methods) = (BTreeMap::new(), Vec::new());
        for file in set.file {
            let package = format!(".{}", file.package());
            for service in &file.service {
                methods.extend(service.method.iter().map(|method| Method {
                    path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                    request: method.input_type().to_owned(),
                    response: method.output_type().to_owned(),
                }));
            }
            for message in file.message_type {
                keep(&mut messages, &package, message);
            }
        }
        Self { messages, methods }
    }

    /// Every method.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// Whether a message has no fields: nothing in it can be wrong.
    pub fn is_empty(&self, message: &str) -> bool {
        let found = self.messages.get(message);
        found.is_none_or(|message| message.field.is_empty())
    }

    /// An absurd message of a type, and then some bytes of it changed.
    pub fn mutant(&self, message: &str, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.fill(message, DEPTH, dice, &mut bytes);
        // One in four stays as it is: wrong in its values alone.
        for _ in 0..dice.below(4) {
            mutate(&mut bytes, dice);
        }
        bytes
    }

    fn fill(&self, message: &str, depth: u32, dice: &mut Dice, out: &mut Vec<u8>) {
        let Some(descriptor) = self.messages.get(message) else {
            return;
        };
        for field in &descriptor.field {
            let times = match field.label() {
                Label::Repeated => dice.below(4),
                _ => u64::from(dice.below(3) > 0),
            };
            for _ in 0..times {
                let number = field.number() as u64;
                let is_message = field.r#type() == Type::Message;
                if is_message && depth == 0 {
                    continue;
                }
                match field.r#type() {
                    Type::Message => {
                        let mut inner = Vec::new();
                        self.fill(field.type_name(), depth - 1, dice, &mut inner);
                        bytes_field(number, &inner, out);
                    }
                    Type::String => bytes_field(number, text(dice).as_bytes(), out),
                    Type::Bytes => {
                        let length = [0, 1, 8, 16, 32, 64, 200][dice.below(7) as usize];
                        let bytes: Vec<u8> = (0..length).map(|_| dice.draw() as u8).collect();
                        bytes_field(number, &bytes, out);
                    }
                    Type::Double | Type::Fixed64 | Type::Sfixed64 => {
                        varint(number << 3 | 1, out);
                        out.extend_from_slice(&number_of(dice).to_le_bytes());
                    }
                    Type::Float | Type::Fixed32 | Type::Sfixed32 => {
                        varint(number << 3 | 5, out);
                        out.extend_from_slice(&(number_of(dice) as u32).to_le_bytes());
                    }
                    _ => {
                        varint(number << 3, out);
                        varint(number_of(dice), out);
                    }
                }
            }
        }
    }
}

fn keep(messages: &mut BTreeMap<String, DescriptorProto>, within: &str, message: DescriptorProto) {
    let name = format!("{within}.{}", message.name());
    for nested in &message.nested_type {
        keep(messages, &name, nested.clone());
    }
    messages.insert(name, message);
}

/// Small, or at the edge of something.
fn number_of(dice: &mut Dice) -> u64 {
    match dice.below(8) {
        0 => u64::MAX,
        1 => i64::MAX as u64,
        2 => i64::MIN as u64,
        3 => u64::from(u32::MAX),
        4 => f64::NAN.to_bits(),
        5 => dice.draw(),
        _ => dice.below(10),
    }
}

fn text(dice: &mut Dice) -> String {
    const TEXTS: [&str; 8] = [
        "",
        "a1",
        "last~1",
        "asn=150",
        "\u{1b}[2J\n=cmd()",
        "r-0001",
        "../../etc/passwd",
        "\u{202e}\0",
    ];
    match dice.below(9) {
        8 => "x".repeat(dice.below(2_000) as usize),
        n => TEXTS[n as usize].to_owned(),
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Changes one place: a byte, a bit, the end, or an insertion.
pub fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if bytes.is_empty() {
        return;
    }
    let at = dice.below(bytes.len() as u64) as usize;
    match dice.below(4) {
        0 => bytes[at] = dice.draw() as u8,
        1 => bytes[at] ^= 1 << dice.below(8),
        2 => bytes.truncate(at),
        _ => bytes.insert(at, dice.draw() as u8),
    }
}

/// Reads bytes as a message; `false`: refused.
type Reader = fn(&[u8]) -> bool;

/// How each message is read.
const READERS: &[(&str, Reader)] = &[
    (".weir.agent.v1.ControlRequest", |bytes| {
        agent::ControlRequest::decode(bytes).is_ok_and(said)
    }),
    (".weir.agent.v1.ControlResponse", |bytes| {
        agent::ControlResponse::decode(bytes).is_ok_and(wanted)
    }),
    (".weir.agent.v1.RecordsRequest", |bytes| {
        agent::RecordsRequest::decode(bytes).is_ok_and(delivered)
    }),
    (
        ".weir.agent.v1.RecordsResponse",
        decoded::<agent::RecordsResponse>,
    ),
    (".weir.controller.v1.ListAgentsRequest", |bytes| {
        controller::ListAgentsRequest::decode(bytes)
            .is_ok_and(|request| request.selector.parse::<Selector>().is_ok())
    }),
    (
        ".weir.controller.v1.ListAgentsResponse",
        decoded::<controller::ListAgentsResponse>,
    ),
    (
        ".weir.controller.v1.PlanRequest",
        decoded::<controller::PlanRequest>,
    ),
    (
        ".weir.controller.v1.PlanResponse",
        decoded::<controller::PlanResponse>,
    ),
    (
        ".weir.controller.v1.RunRequest",
        decoded::<controller::RunRequest>,
    ),
    (
        ".weir.controller.v1.RunResponse",
        decoded::<controller::RunResponse>,
    ),
    (
        ".weir.controller.v1.WatchRequest",
        decoded::<controller::WatchRequest>,
    ),
    (
        ".weir.controller.v1.WatchResponse",
        decoded::<controller::WatchResponse>,
    ),
    (
        ".weir.controller.v1.ListRunsRequest",
        decoded::<controller::ListRunsRequest>,
    ),
    (
        ".weir.controller.v1.ListRunsResponse",
        decoded::<controller::ListRunsResponse>,
    ),
    (
        ".weir.controller.v1.GetResultRequest",
        decoded::<controller::GetResultRequest>,
    ),
    (
        ".weir.controller.v1.GetResultResponse",
        decoded::<controller::GetResultResponse>,
    ),
    (
        ".weir.controller.v1.RecordsRequest",
        decoded::<controller::RecordsRequest>,
    ),
    (
        ".weir.controller.v1.RecordsResponse",
        decoded::<controller::RecordsResponse>,
    ),
    (
        ".weir.controller.v1.StopRequest",
        decoded::<controller::StopRequest>,
    ),
    (
        ".weir.controller.v1.StopResponse",
        decoded::<controller::StopResponse>,
    ),
    (
        ".weir.controller.v1.DeleteRequest",
        decoded::<controller::DeleteRequest>,
    ),
    (
        ".weir.controller.v1.DeleteResponse",
        decoded::<controller::DeleteResponse>,
    ),
    (
        ".weir.controller.v1.GetInfoRequest",
        decoded::<controller::GetInfoRequest>,
    ),
    (
        ".weir.controller.v1.GetInfoResponse",
        decoded::<controller::GetInfoResponse>,
    ),
    (
        ".weir.controller.v1.IssueCertificateRequest",
        decoded::<controller::IssueCertificateRequest>,
    ),
    (
        ".weir.controller.v1.IssueCertificateResponse",
        decoded::<controller::IssueCertificateResponse>,
    ),
    (
        ".weir.controller.v1.AllowRequest",
        decoded::<controller::AllowRequest>,
    ),
    (
        ".weir.controller.v1.AllowResponse",
        decoded::<controller::AllowResponse>,
    ),
    (
        ".weir.controller.v1.DenyRequest",
        decoded::<controller::DenyRequest>,
    ),
    (
        ".weir.controller.v1.DenyResponse",
        decoded::<controller::DenyResponse>,
    ),
    (
        ".weir.controller.v1.ListDeniedRequest",
        decoded::<controller::ListDeniedRequest>,
    ),
    (
        ".weir.controller.v1.ListDeniedResponse",
        decoded::<controller::ListDeniedResponse>,
    ),
    (
        ".weir.controller.v1.ListTokensRequest",
        decoded::<controller::ListTokensRequest>,
    ),
    (
        ".weir.controller.v1.ListTokensResponse",
        decoded::<controller::ListTokensResponse>,
    ),
    (
        ".weir.controller.v1.RevokeTokenRequest",
        decoded::<controller::RevokeTokenRequest>,
    ),
    (
        ".weir.controller.v1.RevokeTokenResponse",
        decoded::<controller::RevokeTokenResponse>,
    ),
    (
        ".weir.controller.v1.CreateTokenRequest",
        decoded::<controller::CreateTokenRequest>,
    ),
    (
        ".weir.controller.v1.CreateTokenResponse",
        decoded::<controller::CreateTokenResponse>,
    ),
    (
        ".weir.agent.v1.UploadRequest",
        decoded::<agent::UploadRequest>,
    ),
    (
        ".weir.agent.v1.UploadResponse",
        decoded::<agent::UploadResponse>,
    ),
    (
        ".weir.controller.v1.ListArtifactsRequest",
        decoded::<controller::ListArtifactsRequest>,
    ),
    (
        ".weir.controller.v1.ListArtifactsResponse",
        decoded::<controller::ListArtifactsResponse>,
    ),
    (
        ".weir.controller.v1.FetchArtifactRequest",
        decoded::<controller::FetchArtifactRequest>,
    ),
    (
        ".weir.controller.v1.FetchArtifactResponse",
        decoded::<controller::FetchArtifactResponse>,
    ),
    (
        ".weir.agent.v1.RenewRequest",
        decoded::<agent::RenewRequest>,
    ),
    (
        ".weir.agent.v1.RenewResponse",
        decoded::<agent::RenewResponse>,
    ),
    (
        ".weir.enrol.v1.EnrolRequest",
        decoded::<enrol::EnrolRequest>,
    ),
    (
        ".weir.enrol.v1.EnrolResponse",
        decoded::<enrol::EnrolResponse>,
    ),
];

/// Reads a message as its receiver does, up to the vocabulary; `None` when the type
/// goes over no method that is known here. `Some(false)`: refused.
pub fn is_read(message: &str, bytes: &[u8]) -> Option<bool> {
    let (_, read) = READERS.iter().find(|(name, _)| *name == message)?;
    Some(read(bytes))
}

fn decoded<M: prost::Message + Default>(bytes: &[u8]) -> bool {
    M::decode(bytes).is_ok()
}

/// What an agent says on its control stream.
fn said(request: agent::ControlRequest) -> bool {
    use agent::control_request::Message;
    match request.message {
        Some(Message::SessionStatus(status)) => convert::end(status.end).is_ok(),
        Some(Message::Hello(hello)) => hello.name.parse::<weir_common::id::AgentName>().is_ok(),
        Some(_) => true,
        None => false,
    }
}

/// What an agent delivers.
fn delivered(request: agent::RecordsRequest) -> bool {
    use agent::records_request::Message;
    match request.message {
        Some(Message::Batch(batch)) => batch
            .entries
            .iter()
            .all(|entry| Entry::try_from(entry).is_ok()),
        Some(Message::Open(_)) => true,
        None => false,
    }
}

/// What a controller wants of an agent.
fn wanted(response: agent::ControlResponse) -> bool {
    use agent::control_response::Message;
    match response.message {
        Some(Message::Snapshot(snapshot)) => Snapshot::try_from(&snapshot).is_ok(),
        Some(_) => true,
        None => false,
    }
}
