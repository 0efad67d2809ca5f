//! Who may call what: one table, applied to every call of every listener
//! before a service sees it. A method without a rule is for nobody.

use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::status::denied;
use crate::audit::{Audit, Entry, Event, Who};
use crate::deny::Standing;
use crate::listener::{Arrival, Peer, Role};

const AGENTS: &[Role] = &[Role::Agent];
const NEWCOMERS: &[Role] = &[Role::Newcomer];
const OPERATORS: &[Role] = &[Role::Operator];
const READERS: &[Role] = &[Role::Operator, Role::Viewer];
const ALL: &[Role] = &[Role::Agent, Role::Operator, Role::Viewer];

/// Every method that is served, and the roles that may call it.
const RULES: &[(&str, &[Role])] = &[
    ("/weir.agent.v1.AgentService/Control", AGENTS),
    ("/weir.agent.v1.AgentService/Records", AGENTS),
    ("/weir.agent.v1.AgentService/Upload", AGENTS),
    ("/weir.agent.v1.AgentService/Renew", AGENTS),
    ("/weir.enrol.v1.EnrolService/Enrol", NEWCOMERS),
    (
        "/weir.controller.v1.ControllerService/CreateToken",
        OPERATORS,
    ),
    ("/weir.controller.v1.ControllerService/ListAgents", READERS),
    // It starts nothing, and a viewer may want to know what a file means.
    ("/weir.controller.v1.ControllerService/Plan", READERS),
    ("/weir.controller.v1.ControllerService/Run", OPERATORS),
    ("/weir.controller.v1.ControllerService/Watch", READERS),
    ("/weir.controller.v1.ControllerService/ListRuns", READERS),
    ("/weir.controller.v1.ControllerService/GetResult", READERS),
    ("/weir.controller.v1.ControllerService/Records", READERS),
    ("/weir.controller.v1.ControllerService/Stop", OPERATORS),
    ("/weir.controller.v1.ControllerService/Delete", OPERATORS),
    ("/weir.controller.v1.ControllerService/GetInfo", READERS),
    (
        "/weir.controller.v1.ControllerService/ListArtifacts",
        READERS,
    ),
    (
        "/weir.controller.v1.ControllerService/FetchArtifact",
        READERS,
    ),
    (
        "/weir.controller.v1.ControllerService/IssueCertificate",
        OPERATORS,
    ),
    (
        "/weir.controller.v1.ControllerService/ListTokens",
        OPERATORS,
    ),
    (
        "/weir.controller.v1.ControllerService/RevokeToken",
        OPERATORS,
    ),
    ("/weir.controller.v1.ControllerService/Deny", OPERATORS),
    ("/weir.controller.v1.ControllerService/Allow", OPERATORS),
    (
        "/weir.controller.v1.ControllerService/ListDenied",
        OPERATORS,
    ),
    ("/grpc.health.v1.Health/Check", ALL),
    ("/grpc.health.v1.Health/Watch", ALL),
    // What it tells is in the source.
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ALL,
    ),
];

/// Who a request is from, for the audit log. The table has let it through.
pub(super) fn who<T>(request: &tonic::Request<T>) -> Who {
    let peer = request.extensions().get::<Peer>();
    peer.map(Who::from).unwrap_or_default()
}

/// What the connection of a request may still do.
pub(super) fn standing<T>(request: &tonic::Request<T>) -> Standing {
    let standing = request.extensions().get::<Standing>();
    standing.cloned().unwrap_or_default()
}

/// Checks that a stream speaks for the name of its certificate, if it has one.
///
/// # Errors
/// A status that names both.
pub(super) fn vouched(who: &Who, name: &str) -> Result<(), Status> {
    match &who.name {
        Some(vouched) if vouched != name => {
            let name: String = name.chars().take(80).collect();
            Err(Status::permission_denied(format!(
                "the certificate is of agent {vouched}, not {name}: start the agent with that --name, or enrol it again"
            )))
        }
        _ => Ok(()),
    }
}

/// Whether a peer may call a path.
///
/// # Errors
/// A status that names the role and the method.
fn check(peer: Option<&Peer>, path: &str) -> Result<(), Status> {
    let method = path.trim_start_matches('/');
    let Some((_, roles)) = RULES.iter().find(|(known, _)| *known == path) else {
        return Err(Status::unimplemented(format!(
            "no method {method}: this controller is weir {}, the caller may be of another version",
            env!("CARGO_PKG_VERSION")
        )));
    };
    let Some(peer) = peer else {
        return Err(Status::permission_denied(format!(
            "{method}: the connection has no role"
        )));
    };
    if roles.contains(&peer.role) {
        return Ok(());
    }
    let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    Err(Status::permission_denied(format!(
        "the role {} may not call {method}: it is for the role {}; connect as one",
        peer.role,
        roles.join(" or "),
    )))
}

/// The layer that applies the table.
#[derive(Debug, Clone)]
pub struct Access {
    audit: Audit,
}

impl Access {
    /// Refusals are told to this log.
    pub fn new(audit: Audit) -> Self {
        Self { audit }
    }
}

impl<S> Layer<S> for Access {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            audit: self.audit.clone(),
        }
    }
}

/// A service behind the table.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    audit: Audit,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(arrival) = request.extensions_mut().remove::<Arrival>() {
            arrival.called.set();
            request.extensions_mut().insert(arrival.peer);
            request.extensions_mut().insert(arrival.standing);
        }
        let standing = request.extensions().get::<Standing>();
        let denied = standing.and_then(Standing::denied).map(denied);
        let peer = request.extensions().get::<Peer>();
        let path = request.uri().path();
        let Some(status) = denied.or_else(|| check(peer, path).err()) else {
            return Box::pin(self.inner.call(request));
        };
        let who = peer.map(Who::from).unwrap_or_default();
        tracing::info!(role = who.role, reason = status.message(), "call refused");
        let entry = Entry::new(Event::Call, who).by(path);
        self.audit.tell(entry.refused(status.message()));
        Box::pin(ready(Ok(status.into_http())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use tonic::Code;
    use tower::ServiceExt as _;

    use super::*;
    use crate::listener::Transport;

    fn methods(descriptors: &[u8]) -> Vec<String> {
        let set = FileDescriptorSet::decode(descriptors).unwrap();
        let mut paths = Vec::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let (package, service) = (file.package(), service.name());
                    paths.push(format!("/{package}.{service}/{}", method.name()));
                }
            }
        }
        paths
    }

    /// Every method that is in a descriptor set of a service that is served.
    fn served() -> BTreeSet<String> {
        [
            weir_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ]
        .iter()
        .flat_map(|set| methods(set))
        .collect()
    }

    fn peer(role: Role) -> Peer {
        Peer {
            role,
            name: None,
            transport: Transport::Unix { uid: Some(7) },
        }
    }

    #[test]
    fn every_method_has_a_rule_and_every_rule_a_method() {
        let ruled: Vec<&str> = RULES.iter().map(|(path, _)| *path).collect();
        let unique: BTreeSet<String> = ruled.iter().map(|path| (*path).to_owned()).collect();
        assert_eq!(ruled.len(), unique.len(), "a method has two rules");
        assert_eq!(unique, served());
        assert!(RULES.iter().all(|(_, roles)| !roles.is_empty()));
    }

    /// A call through the layer: the status that came back, `Ok` from a service.
    fn called(access: &Access, role: Option<Role>, path: &str) -> Code {
        let service = tower::service_fn(|_: Request<Body>| {
            ready(Ok::<_, Infallible>(Status::ok("reached").into_http()))
        });
        let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
        if let Some(role) = role {
            request.extensions_mut().insert(peer(role));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let response: Response<Body> = runtime
            .block_on(access.layer(service).oneshot(request))
            .unwrap();
        Status::from_header_map(response.headers()).unwrap().code()
    }

    #[test]
    fn every_role_gets_its_own_methods_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::open(directory.path()).unwrap();
        let access = Access::new(audit);
        let operators_only = [
            "Run",
            "Stop",
            "Delete",
            "IssueCertificate",
            "CreateToken",
            "ListTokens",
            "RevokeToken",
            "Deny",
            "Allow",
            "ListDenied",
        ];
        let mut refusals = 0;
        for path in served() {
            let method = path.rsplit('/').next().unwrap();
            let of_weir = path.starts_with("/weir.");
            for role in [Role::Agent, Role::Operator, Role::Viewer, Role::Newcomer] {
                let may = match role {
                    Role::Newcomer => path.contains("EnrolService"),
                    _ if !of_weir => true,
                    Role::Agent => path.contains("AgentService"),
                    Role::Operator => path.contains("ControllerService"),
                    Role::Viewer => {
                        path.contains("ControllerService") && !operators_only.contains(&method)
                    }
                };
                let expected = if may {
                    Code::Ok
                } else {
                    Code::PermissionDenied
                };
                assert_eq!(
                    called(&access, Some(role), &path),
                    expected,
                    "{role} {path}"
                );
                refusals += usize::from(!may);
            }
            assert_eq!(called(&access, None, &path), Code::PermissionDenied);
        }
        let unknown = "/weir.controller.v1.ControllerService/Shell";
        assert_eq!(
            called(&access, Some(Role::Operator), unknown),
            Code::Unimplemented
        );
        assert!(refusals > 10);
    }

    #[test]
    fn a_refusal_is_in_the_audit_log() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::open(directory.path()).unwrap();
        let stop = "/weir.controller.v1.ControllerService/Stop";
        let code = called(&Access::new(audit.clone()), Some(Role::Viewer), stop);
        assert_eq!(code, Code::PermissionDenied);
        audit.flush();
        let log = std::fs::read_to_string(directory.path().join(crate::audit::FILE)).unwrap();
        assert!(log.contains("ControllerService/Stop") && log.contains("viewer"));
    }

    #[test]
    fn who_is_denied_may_call_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::open(directory.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let list = std::sync::Arc::new(crate::deny::DenyList::default());
        let presence = list.enter(vec!["operator:anna".parse().unwrap()]);
        runtime.block_on(async {
            list.deny(&crate::store::Denial {
                subject: "operator:anna".parse().unwrap(),
                reason: String::new(),
                by: String::new(),
                since_unix_ns: 0,
            })
        });
        for path in served() {
            let service = tower::service_fn(|_: Request<Body>| {
                ready(Ok::<_, Infallible>(Status::ok("reached").into_http()))
            });
            let mut request = Request::builder().uri(&path).body(Body::empty()).unwrap();
            request.extensions_mut().insert(Arrival {
                peer: peer(Role::Operator),
                called: crate::listener::Called::default(),
                standing: presence.standing(),
            });
            let access = Access::new(audit.clone());
            let response: Response<Body> = runtime
                .block_on(access.layer(service).oneshot(request))
                .unwrap();
            let status = Status::from_header_map(response.headers()).unwrap();
            assert_eq!(status.code(), Code::PermissionDenied, "{path}");
            assert!(status.message().contains("weir allow operator:anna"));
        }
    }

    #[test]
    fn a_refusal_names_the_role_and_the_method() {
        let path = "/weir.controller.v1.ControllerService/Stop";
        let status = check(Some(&peer(Role::Viewer)), path).unwrap_err();
        for word in ["viewer", "ControllerService/Stop", "operator"] {
            assert!(status.message().contains(word), "{status}");
        }
    }
}
