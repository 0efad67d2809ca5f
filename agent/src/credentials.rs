//! The agent's certificate, for a controller beyond this host.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::transport::Channel;
use weir_runtime::tls::{ClientTls, CredentialFiles, TlsError};
use weir_runtime::{ConnectError, Endpoint};

use crate::state::State;

/// Certificate and key in one file, so that it is replaced in one step.
const TLS: &str = "tls.pem";
/// The authority that is trusted.
const AUTHORITY: &str = "authority.crt";

/// The certificate, if there is one.
#[derive(Debug)]
pub(crate) struct Credentials {
    file: PathBuf,
    authority: PathBuf,
    tls: Mutex<Option<Arc<ClientTls>>>,
}

impl Credentials {
    /// Reads what the data directory has.
    ///
    /// # Errors
    /// Its files are damaged, or others can read the key.
    pub(crate) fn open(state: &State) -> Result<Self, TlsError> {
        let credentials = Self {
            file: state.file(TLS),
            authority: state.file(AUTHORITY),
            tls: Mutex::new(None),
        };
        if credentials.file.exists() {
            credentials.take_up()?;
        }
        Ok(credentials)
    }

    /// Uses what is on disk from now on.
    fn take_up(&self) -> Result<(), TlsError> {
        let files = CredentialFiles::one(&self.file);
        let tls = ClientTls::new(files, self.authority.clone())?;
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tls));
        Ok(())
    }

    /// Opens a connection to the controller.
    ///
    /// # Errors
    /// As [`Endpoint::connect_with`].
    pub(crate) async fn connect(&self, controller: &Endpoint) -> Result<Channel, ConnectError> {
        let tls = self
            .tls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        controller.connect_with(tls.map(|tls| tls.current())).await
    }
}
