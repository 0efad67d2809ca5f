//! A capability that the process may use, in force for a single call.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// For buffers past net.core.{r,w}mem_max, and congestion controls that are not
/// everybody's.
pub(super) const NET_ADMIN: CapabilitySet = CapabilitySet::NET_ADMIN;

/// For ports below net.ipv4.ip_unprivileged_port_start.
pub(super) const NET_BIND_SERVICE: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Calls with a capability in force on this thread, if it may have it; else as it is,
/// and the kernel refuses what it has to.
pub(super) fn with<T>(capability: CapabilitySet, call: impl FnOnce() -> T) -> T {
    let Ok(own) = capabilities(None) else {
        return call();
    };
    let raises = own.permitted.contains(capability) && !own.effective.contains(capability);
    let raised = CapabilitySets {
        effective: own.effective | capability,
        ..own
    };
    if !raises || set_capabilities(None, raised).is_err() {
        return call();
    }
    let result = call();
    if let Err(error) = set_capabilities(None, own) {
        tracing::error!(%error, ?capability, "a capability stays in force");
    }
    result
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn it_is_in_force_for_the_call_only() {
        let on_its_own = thread::spawn(|| {
            let own = capabilities(None).unwrap();
            let lowered = CapabilitySets {
                effective: own.effective - NET_ADMIN,
                ..own
            };
            set_capabilities(None, lowered).unwrap();
            let within = with(NET_ADMIN, || capabilities(None).unwrap().effective);
            let may = own.permitted.contains(NET_ADMIN);
            assert_eq!(within.contains(NET_ADMIN), may);
            assert_eq!(capabilities(None).unwrap(), lowered);
        });
        on_its_own.join().unwrap();
    }
}
