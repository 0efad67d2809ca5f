//! A deployment that signs what a test asks for, and a listener to knock at.

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, version};
use tokio_rustls::TlsConnector;
use weir_runtime::tls::{self, SERVER_NAME, ServerTls};

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected as _;
use weir_runtime::{Endpoint, Shutdown};

use crate::audit::Audit;
use crate::authority::Authority;
use crate::deny::DenyList;
use crate::listener::{Connection, Listener, Peer, Role, Tls};

pub(super) const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn now() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
}

/// A deployment whose authority signs whatever a test asks for.
pub(super) struct Deployment {
    pub(super) data: tempfile::TempDir,
    pub(super) authority: Authority,
    pub(super) audit: Audit,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(super) type Certificate = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Deployment {
    pub(super) fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let authority = Authority::open(data.path(), now()).unwrap();
        let key = tls::read_private(&data.path().join("ca/ca.key")).unwrap();
        let key = KeyPair::from_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let shown = &authority.deployment()[..8];
        let subject = format!("weir {shown}");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, subject);
        Self {
            audit: Audit::open(data.path()).unwrap(),
            data,
            authority,
            issuer: Issuer::new(params, key),
        }
    }

    pub(super) fn tls(&self) -> Tls {
        let files = self.authority.controller_files();
        let server = ServerTls::mutual(files, self.authority.certificate_file()).unwrap();
        Tls {
            server: Arc::new(server),
            deployment: self.authority.deployment().to_owned(),
            audit: self.audit.clone(),
        }
    }

    /// What the audit log has.
    pub(super) fn log(&self) -> String {
        self.audit.flush();
        fs::read_to_string(self.data.path().join(crate::audit::FILE)).unwrap()
    }

    /// What an agent's certificate is made of.
    pub(super) fn template(&self, role: &str, name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        let uri = format!("spiffe://{}/{role}/{name}", self.authority.deployment());
        params.subject_alt_names = vec![uri_name(&uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        live(&mut params, now(), now() + HOUR);
        params
    }

    pub(super) fn sign(&self, params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        (made.der().clone(), private(&key))
    }

    /// A client that trusts this deployment.
    pub(super) fn client(&self, certificate: Option<Certificate>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from(self.authority.certificate().to_vec());
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match certificate {
            Some((certificate, key)) => builder
                .with_client_auth_cert(vec![certificate], key)
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

pub(super) fn uri_name(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

pub(super) fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

pub(super) fn live(params: &mut CertificateParams, begin: Duration, end: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + (begin.saturating_sub(Duration::from_secs(60)));
    params.not_after = epoch + end;
}

/// A listener of a role, and what comes out of it.
pub(super) struct Gate {
    pub(super) address: SocketAddr,
    pub(super) deny: Arc<DenyList>,
    pub(super) accepted: ReceiverStream<io::Result<Connection>>,
    pub(super) _shutdown: Shutdown,
}

impl Gate {
    pub(super) async fn new(role: Role, tls: Tls) -> Self {
        let endpoint: Endpoint = "tls://127.0.0.1:0".parse().unwrap();
        let audit = tls.audit.clone();
        let listener = Listener::bind_tls(&endpoint, role, tls).await.unwrap();
        let address = listener.endpoint().addresses().await.unwrap()[0];
        let shutdown = Shutdown::new();
        let deny = Arc::default();
        Self {
            address,
            accepted: listener.accept(audit, &deny, &shutdown),
            deny,
            _shutdown: shutdown,
        }
    }

    /// Knocks; the answer is what the peer says to the first byte, nothing when
    /// it closes.
    pub(super) async fn knock(
        &self,
        config: ClientConfig,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// The peer closes without a word, or with an alert, which is given.
    pub(super) async fn refused(&self, config: ClientConfig) -> String {
        let mut stream = match self.knock(config).await {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes).await {
            Ok(0) => String::new(),
            Ok(count) => panic!("{count} bytes of an answer"),
            Err(error) => error.to_string(),
        }
    }

    /// The next connection that came through.
    pub(super) async fn next(&mut self) -> Peer {
        let connection = self.accepted.next().await.unwrap().unwrap();
        connection.connect_info().peer
    }
}
