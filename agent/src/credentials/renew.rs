//! The certificate is renewed at about half of its life, with a new key; the
//! next connection shows the new one.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_proto::agent::v1::RenewRequest;
use weir_proto::agent::v1::agent_service_client::AgentServiceClient;

use super::{CredentialsError, Fresh, unix_now};
use crate::agent::Shared;
use crate::link::control::{LinkError, step};
use crate::supervisor::chain;

/// Time between looks at the certificate's age: wall clocks jump, hosts sleep.
const LOOK: Duration = Duration::from_secs(60);

/// When a certificate is to be renewed: after half of its life, sooner or later
/// by a tenth of that as `random` says, so that agents do not all come at once.
fn due(begin: Duration, end: Duration, random: u64) -> Duration {
    let half = end.saturating_sub(begin) / 2;
    let spread = half / 5;
    let share = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
    begin + half * 9 / 10 + spread.mul_f64(share)
}

/// Keeps the certificate fresh until `end`.
pub(crate) async fn keep(shared: &Arc<Shared>, end: &CancellationToken) {
    if shared.controller.is_plain() {
        return;
    }
    let random = crate::link::control::random();
    let mut told = String::new();
    while !end.is_cancelled() {
        let joined = shared.session.borrow().is_some();
        let life = shared.credentials.life();
        let is_due = life.is_some_and(|(begin, end)| unix_now() >= due(begin, end, random));
        if joined && is_due {
            match renew(shared).await {
                Ok(()) => {
                    tracing::info!(agent = %shared.identity.name, "renewed the certificate");
                    told.clear();
                }
                Err(error) => {
                    let reason = chain(&error);
                    if reason != told {
                        tracing::warn!(agent = %shared.identity.name, reason, "the certificate could not be renewed; trying again every minute");
                    }
                    told = reason;
                }
            }
        }
        // A session that begins is a good moment: the controller is there.
        let mut session = shared.session.subscribe();
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            changed = session.changed() => if changed.is_err() { return },
            () = end.cancelled() => {}
        }
    }
}

async fn renew(shared: &Arc<Shared>) -> Result<(), LinkError> {
    let channel = shared.connect().await?;
    let fresh = Fresh::draw().map_err(crate::credentials::EnrolError::from)?;
    let request = RenewRequest {
        request: fresh.request.clone(),
    };
    let mut client = AgentServiceClient::new(channel);
    let answer = step("the renewal", client.renew(request))
        .await?
        .into_inner();
    let stored: Result<(), CredentialsError> =
        shared.credentials.store(&answer.certificate, &fresh.secret);
    stored.map_err(crate::credentials::EnrolError::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_half_of_the_life() {
        let (begin, end) = (Duration::from_secs(1_000), Duration::from_secs(3_000));
        assert_eq!(due(begin, end, 0), Duration::from_secs(1_900));
        let latest = due(begin, end, u64::MAX);
        assert!(latest > Duration::from_secs(2_099) && latest <= Duration::from_secs(2_100));
        // A certificate that ends before it begins is due, and does not panic.
        assert_eq!(due(end, begin, 7), end);
    }
}
