//! Tokens as operators make them, list them and take them back.

use std::time::Duration;

use tonic::{Request, Response, Status};
use weir_proto::controller::v1 as pb;

use super::access::who;
use super::controller_service::OperatorGateway;
use super::enrol::draw;
use crate::audit::{Entry, Event};
use crate::store::TokenRow;

/// How long a token is remembered after its end, so that whoever shows it is told why.
const KEPT: Duration = Duration::from_secs(24 * 3_600);

impl OperatorGateway {
    /// Time since the Unix epoch.
    fn unix_now(&self) -> Duration {
        Duration::from_nanos(self.clock.unix_ns().unsigned_abs())
    }

    pub(super) async fn make_token(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenResponse>, Status> {
        let who = who(&request);
        let request = request.into_inner();
        let now = self.unix_now();
        let entry = Entry::new(Event::TokenCreated, who).by("ControllerService/CreateToken");
        let (entry, answer) = match draw(&self.authority, &request, now) {
            Ok((row, answer)) => {
                let entry = entry.to(format!("token {}", row.id)).because(format!(
                    "uses {}, life {} s, names {:?}",
                    row.uses_left, request.ttl_s, row.name_pattern
                ));
                let old = now.saturating_sub(KEPT).as_secs();
                let kept = self
                    .store(move |store| {
                        store.forget_tokens(old)?;
                        store.create_token(&row)
                    })
                    .await;
                (entry, kept.map(|()| answer))
            }
            Err(status) => (entry, Err(status)),
        };
        self.told(entry, answer)
    }

    pub(super) async fn tokens(&self) -> Result<Response<pb::ListTokensResponse>, Status> {
        let now = self.unix_now();
        let old = now.saturating_sub(KEPT).as_secs();
        let tokens = self
            .store(move |store| {
                store.forget_tokens(old)?;
                store.tokens()
            })
            .await?;
        let tokens = tokens.iter().map(|token| info(token, now)).collect();
        Ok(Response::new(pb::ListTokensResponse { tokens }))
    }

    pub(super) async fn take_token_back(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        let who = who(&request);
        let id = request.into_inner().id;
        let answer = self.take_back(&id).await;
        let entry = Entry::new(Event::TokenRevoked, who).by("ControllerService/RevokeToken");
        // What is no id may be a token, whose secret belongs into no log.
        let named: String = id.chars().take(16).collect();
        self.told(entry.to(format!("token {named}")), answer)
    }

    async fn take_back(&self, id: &str) -> Result<pb::RevokeTokenResponse, Status> {
        let now = self.unix_now();
        if id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Status::invalid_argument(
                "id: not that of a token, which is hexadecimal: weir token list shows them",
            ));
        }
        let wanted = id.to_owned();
        let token = self
            .store(move |store| store.revoke_token(&wanted, now.as_secs()))
            .await?
            .ok_or_else(|| {
                Status::not_found(format!("no token {id}: weir token list shows them"))
            })?;
        Ok(pb::RevokeTokenResponse {
            token: Some(info(&token, now)),
        })
    }
}

fn info(token: &TokenRow, now: Duration) -> pb::TokenInfo {
    pb::TokenInfo {
        id: token.id.clone(),
        uses_left: token.uses_left,
        expires_unix_s: token.expires_unix_s,
        name_pattern: token.name_pattern.clone(),
        state: token.state(now.as_secs()).to_owned(),
    }
}
