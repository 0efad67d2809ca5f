//! A client on the agents' socket that can say anything.

use prost::Message;
use prost::bytes::{Buf, BufMut};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Up;
use weir_proto::agent::v1::control_response::Message as Down;
use weir_proto::types::v1 as types;
use weir_runtime::Endpoint;

use crate::Cluster;

/// Bytes as they are, in the place of messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// One open stream.
#[derive(Debug)]
pub struct Stream {
    up: mpsc::UnboundedSender<Vec<u8>>,
    down: Streaming<Vec<u8>>,
}

impl Stream {
    /// Sends a message.
    pub fn send(&self, message: &impl Message) {
        self.send_bytes(message.encode_to_vec());
    }

    /// Sends bytes in the place of a message.
    pub fn send_bytes(&self, bytes: Vec<u8>) {
        // A stream that has been refused takes no more; its status says why.
        self.up.send(bytes).ok();
    }

    /// The next answer.
    pub async fn answer<M: Message + Default>(&mut self) -> Result<M, Status> {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(30), self.down.message());
        let bytes = answer.await.expect("an answer within 30 s")?;
        let bytes = bytes.ok_or_else(|| Status::cancelled("the stream has ended"))?;
        Ok(M::decode(bytes.as_slice()).expect("the controller's own message"))
    }

    /// The status that ends it; what comes before is passed over.
    pub async fn refusal(mut self) -> Status {
        loop {
            match self.answer::<pb::ControlResponse>().await {
                Ok(_) => {}
                Err(status) => return status,
            }
        }
    }
}

/// Somebody who holds a key and has a name.
#[derive(Debug)]
pub struct Pretender {
    channel: Channel,
    name: String,
    boot: [u8; 16],
    key: Ed25519KeyPair,
}

impl Pretender {
    /// Somebody on the agents' socket of a cluster.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn new(cluster: &Cluster, name: &str) -> Self {
        Self::at(&cluster.join_endpoint(), name).await
    }

    /// Somebody at an endpoint.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn at(endpoint: &str, name: &str) -> Self {
        let random = SystemRandom::new();
        let key = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        let mut boot = [0; 16];
        random.fill(&mut boot).expect("random bytes");
        Self {
            channel: channel(endpoint).await,
            name: name.to_owned(),
            boot,
            key: Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("the key just made"),
        }
    }

    /// Goes on over a connection of its own, as the same boot of the same agent.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn reconnect(&mut self, endpoint: &str) {
        self.channel = channel(endpoint).await;
    }

    /// Its boot.
    pub fn boot(&self) -> [u8; 16] {
        self.boot
    }

    async fn open(&self, path: &'static str, first: Option<Vec<u8>>) -> Stream {
        let (up, requests) = mpsc::unbounded_channel();
        if let Some(first) = first {
            up.send(first).expect("the receiver is here");
        }
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.expect("a connection");
        let requests = Request::new(UnboundedReceiverStream::new(requests));
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
        let down = client
            .streaming(requests, path, Raw)
            .await
            .expect("the call is taken");
        Stream {
            up,
            down: down.into_inner(),
        }
    }

    /// A control stream, and the challenge that it begins with.
    pub async fn control(&self) -> (Stream, Vec<u8>) {
        let mut stream = self.open("/weir.agent.v1.AgentService/Control", None).await;
        let first: pb::ControlResponse = stream.answer().await.expect("a challenge");
        let Some(Down::Challenge(challenge)) = first.message else {
            panic!("{first:?}");
        };
        (stream, challenge.nonce)
    }

    /// A records stream; nothing has been said yet.
    pub async fn records(&self) -> Stream {
        self.open("/weir.agent.v1.AgentService/Records", None).await
    }

    /// A good Hello.
    pub fn hello(&self, nonce: &[u8]) -> pb::Hello {
        let signed = [
            &b"weir-hello-1"[..],
            nonce,
            self.name.as_bytes(),
            &self.boot,
        ]
        .concat();
        pb::Hello {
            protocol_min: 1,
            protocol_max: 1,
            name: self.name.clone(),
            boot_id: self.boot.to_vec(),
            generation: 1,
            public_key: self.key.public_key().as_ref().to_vec(),
            signature: self.key.sign(&signed).as_ref().to_vec(),
            inventory: Some(types::Inventory {
                interfaces: vec![types::Interface {
                    name: "eth0".into(),
                    addresses: vec!["192.0.2.9/24".into()],
                    mtu: 1_500,
                    ..types::Interface::default()
                }],
                cores: 1,
                max_sessions: 100,
                ..types::Inventory::default()
            }),
            ..pb::Hello::default()
        }
    }

    /// A control stream after its greeting, and its epoch.
    pub async fn joined(&self) -> (Stream, u64) {
        let (mut stream, nonce) = self.control().await;
        stream.send(&request(Up::Hello(self.hello(&nonce))));
        let answer: pb::ControlResponse = stream.answer().await.expect("a welcome");
        let Some(Down::HelloAck(welcome)) = answer.message else {
            panic!("{answer:?}");
        };
        (stream, welcome.session_epoch)
    }

    /// What opens a records stream.
    pub fn records_open(&self, session_epoch: u64) -> pb::RecordsOpen {
        pb::RecordsOpen {
            last_run: 0,
            name: self.name.clone(),
            boot_id: self.boot.to_vec(),
            session_epoch,
        }
    }
}

async fn channel(endpoint: &str) -> Channel {
    let endpoint: Endpoint = endpoint.parse().expect("an endpoint");
    endpoint.connect().await.expect("the agents' socket")
}

/// A message of the control stream.
pub fn request(message: Up) -> pb::ControlRequest {
    pb::ControlRequest {
        message: Some(message),
    }
}
