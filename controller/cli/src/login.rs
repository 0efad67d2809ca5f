//! Who a person is towards a controller on another machine: a certificate, its
//! key and the authority that is trusted, in the user's configuration directory.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use weir_runtime::Endpoint;
use weir_runtime::directory::{create_private, write_atomic};
use weir_runtime::tls::{ClientTls, CredentialFiles, Secret};

use crate::failure::Failure;

/// Certificate and key.
const CREDENTIALS: &str = "login.pem";
/// The authority that is trusted.
const AUTHORITY: &str = "authority.crt";
/// The controller's endpoint.
const CONTROLLER: &str = "controller";
/// How the parts of a file of credentials begin.
const BEGIN: &str = "-----BEGIN ";

/// The files of a login.
#[derive(Debug)]
pub(crate) struct Kept([Option<Secret>; 3]);

/// What `weir login` has stored.
#[derive(Debug)]
pub(crate) struct Login {
    directory: PathBuf,
}

impl Login {
    /// That of this user; `None` for a user without a home.
    pub(crate) fn of_user() -> Option<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")))?;
        Some(Self {
            directory: base.join("weir"),
        })
    }

    /// The controller that it is for, if there is a login.
    pub(crate) fn controller(&self) -> Result<Option<Endpoint>, Failure> {
        let file = self.directory.join(CONTROLLER);
        match fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map(Some).map_err(|error| {
                let file = file.display();
                Failure::usage(format!("{file}: {error}: log in again, or weir logout"))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::usage(format!("read {}: {error}", file.display()))),
        }
    }

    /// The certificate, if there is a login.
    pub(crate) fn tls(&self) -> Result<Option<ClientTls>, Failure> {
        let file = self.directory.join(CREDENTIALS);
        if !file.exists() {
            return Ok(None);
        }
        ClientTls::new(CredentialFiles::one(file), self.directory.join(AUTHORITY))
            .map(Some)
            .map_err(Failure::usage)
    }

    /// Stores the parts of a file of credentials, readable by nobody else.
    pub(crate) fn store(&self, credentials: &str, controller: &Endpoint) -> Result<(), Failure> {
        let [certificate, key, authority] = parts(credentials)?;
        create_private(&self.directory).map_err(Failure::usage)?;
        let both = format!("{certificate}{key}");
        for (name, text) in [
            (CREDENTIALS, both.as_str()),
            (AUTHORITY, authority),
            (CONTROLLER, &format!("{controller}\n")),
        ] {
            write_atomic(&self.directory.join(name), text.as_bytes()).map_err(Failure::usage)?;
        }
        Ok(())
    }

    /// Its files as they are, to be given back.
    pub(crate) fn kept(&self) -> Kept {
        let read = |name| fs::read(self.directory.join(name)).map(Secret::new).ok();
        Kept([read(CREDENTIALS), read(AUTHORITY), read(CONTROLLER)])
    }

    /// Makes it what it was.
    pub(crate) fn restore(&self, kept: &Kept) -> Result<(), Failure> {
        self.remove()?;
        for (name, bytes) in [CREDENTIALS, AUTHORITY, CONTROLLER].iter().zip(&kept.0) {
            if let Some(bytes) = bytes {
                let file = self.directory.join(name);
                write_atomic(&file, bytes.expose()).map_err(Failure::usage)?;
            }
        }
        Ok(())
    }

    /// Removes it; whether there was one.
    pub(crate) fn remove(&self) -> Result<bool, Failure> {
        let mut was_there = false;
        for name in [CONTROLLER, CREDENTIALS, AUTHORITY] {
            let file = self.directory.join(name);
            match fs::remove_file(&file) {
                Ok(()) => was_there = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Failure::usage(format!(
                        "remove {}: {error}",
                        file.display()
                    )));
                }
            }
        }
        Ok(was_there)
    }
}

/// The certificate to show at a controller; `None` where none is needed.
pub(crate) fn certificate(controller: &Endpoint) -> Result<Option<Arc<ClientTls>>, Failure> {
    if controller.is_plain() {
        return Ok(None);
    }
    let login = Login::of_user().map_or(Ok(None), |login| login.tls())?;
    login.map(Arc::new).map(Some).ok_or_else(|| {
        Failure::usage(format!(
            "{controller} asks for a certificate: make one on the controller's machine with \
             `weir credentials NAME > FILE`, and use it here with `weir login FILE --controller {controller}`"
        ))
    })
}

/// Certificate, key and authority, as `weir credentials` writes them.
fn parts(credentials: &str) -> Result<[&str; 3], Failure> {
    let starts: Vec<usize> = credentials.match_indices(BEGIN).map(|(at, _)| at).collect();
    let [first, second, third] = starts[..] else {
        return Err(Failure::usage(
            "the credentials are not those of `weir credentials`: a certificate, its key and the authority in PEM",
        ));
    };
    let found = [
        &credentials[first..second],
        &credentials[second..third],
        &credentials[third..],
    ];
    let labels = ["CERTIFICATE", "PRIVATE KEY", "CERTIFICATE"];
    let fits = |(part, label): (&&str, &str)| part.starts_with(&format!("{BEGIN}{label}-----"));
    if !found.iter().zip(labels).all(fits) {
        return Err(Failure::usage(
            "the credentials are in another order than `weir credentials` writes them",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n\
        -----BEGIN PRIVATE KEY-----\nBB\n-----END PRIVATE KEY-----\n\
        -----BEGIN CERTIFICATE-----\nCC\n-----END CERTIFICATE-----\n";

    #[test]
    fn credentials_are_taken_apart() {
        let [certificate, key, authority] = parts(PEM).unwrap();
        assert!(certificate.contains("AA") && key.contains("BB") && authority.contains("CC"));
        assert!(parts("").is_err());
        let swapped = format!("{key}{certificate}{authority}");
        assert!(parts(&swapped).is_err());
    }

    #[test]
    fn a_login_is_private_and_can_be_removed() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let login = Login {
            directory: directory.path().join("weir"),
        };
        assert!(login.controller().unwrap().is_none());
        let controller: Endpoint = "tcp://192.0.2.1:4840".parse().unwrap();
        let before = login.kept();
        login.store(PEM, &controller).unwrap();
        assert_eq!(login.controller().unwrap(), Some(controller));
        for file in [CREDENTIALS, AUTHORITY, CONTROLLER] {
            let file = fs::metadata(login.directory.join(file)).unwrap();
            assert_eq!(file.permissions().mode() & 0o777, 0o600);
        }
        let kept = login.kept();
        login.restore(&before).unwrap();
        assert!(!login.remove().unwrap());
        login.restore(&kept).unwrap();
        assert!(login.remove().unwrap());
    }
}
