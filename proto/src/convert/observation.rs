//! Rows of interfaces and kernels, and the manifest that ends them.

use weir_common::observation::{
    KernelCounters, KernelRow, LinkCounters, LinkRow, Observed, Observer, Route,
};

use super::{ConvertError, clip, count, limits, optional_count, owned, required, run, text};
use crate::types::v1 as pb;

owned! {
    pb::LinkRow => LinkRow,
    pb::KernelRow => KernelRow,
    pb::Observed => Observed,
}

/// Bytes of an interface's name; Linux has 15 (IFNAMSIZ).
const INTERFACE: usize = 64;
/// Bytes of a boot id; Linux has 36.
const BOOT_ID: usize = 64;

impl TryFrom<&pb::LinkCounters> for LinkCounters {
    type Error = ConvertError;

    fn try_from(message: &pb::LinkCounters) -> Result<Self, ConvertError> {
        Ok(Self {
            rx_bytes: optional_count("rx_bytes", message.rx_bytes)?,
            rx_packets: optional_count("rx_packets", message.rx_packets)?,
            rx_drops: optional_count("rx_drops", message.rx_drops)?,
            rx_errors: optional_count("rx_errors", message.rx_errors)?,
            tx_bytes: optional_count("tx_bytes", message.tx_bytes)?,
            tx_packets: optional_count("tx_packets", message.tx_packets)?,
            tx_drops: optional_count("tx_drops", message.tx_drops)?,
            tx_errors: optional_count("tx_errors", message.tx_errors)?,
            qdisc_drops: optional_count("qdisc_drops", message.qdisc_drops)?,
        })
    }
}

impl From<&LinkCounters> for pb::LinkCounters {
    fn from(value: &LinkCounters) -> Self {
        Self {
            rx_bytes: kept(value.rx_bytes),
            rx_packets: kept(value.rx_packets),
            rx_drops: kept(value.rx_drops),
            rx_errors: kept(value.rx_errors),
            tx_bytes: kept(value.tx_bytes),
            tx_packets: kept(value.tx_packets),
            tx_drops: kept(value.tx_drops),
            tx_errors: kept(value.tx_errors),
            qdisc_drops: kept(value.qdisc_drops),
        }
    }
}

impl TryFrom<&pb::LinkRow> for LinkRow {
    type Error = ConvertError;

    fn try_from(message: &pb::LinkRow) -> Result<Self, ConvertError> {
        let counters = required("counters", message.counters.as_ref())?;
        let qdisc = message.qdisc.as_deref();
        Ok(Self {
            run: run(message.run)?,
            interface: name("interface", &message.interface, INTERFACE)?,
            k: message.k,
            start_ns: count("start_ns", message.start_ns)?,
            length_ns: count("length_ns", message.length_ns)?,
            counters: counters
                .try_into()
                .map_err(|error: ConvertError| error.within("counters"))?,
            qdisc: qdisc
                .map(|kind| name("qdisc", kind, INTERFACE))
                .transpose()?,
            qdisc_backlog_bytes: optional_count(
                "qdisc_backlog_bytes",
                message.qdisc_backlog_bytes,
            )?,
        })
    }
}

impl From<&LinkRow> for pb::LinkRow {
    fn from(value: &LinkRow) -> Self {
        Self {
            run: value.run.0,
            interface: clip(&value.interface, INTERFACE),
            k: value.k,
            start_ns: value.start_ns,
            length_ns: value.length_ns,
            counters: Some((&value.counters).into()),
            qdisc: value.qdisc.as_deref().map(|kind| clip(kind, INTERFACE)),
            qdisc_backlog_bytes: value.qdisc_backlog_bytes,
        }
    }
}

impl TryFrom<&pb::KernelRow> for KernelRow {
    type Error = ConvertError;

    fn try_from(message: &pb::KernelRow) -> Result<Self, ConvertError> {
        Ok(Self {
            run: run(message.run)?,
            kernel_boot_id: name("kernel_boot_id", &message.kernel_boot_id, BOOT_ID)?,
            k: message.k,
            start_ns: count("start_ns", message.start_ns)?,
            length_ns: count("length_ns", message.length_ns)?,
            cores: message.cores,
            counters: KernelCounters {
                cpu_us: optional_count("cpu_us", message.cpu_us)?,
                steal_us: optional_count("steal_us", message.steal_us)?,
                softnet_processed: optional_count("softnet_processed", message.softnet_processed)?,
                softnet_dropped: optional_count("softnet_dropped", message.softnet_dropped)?,
                softnet_squeezed: optional_count("softnet_squeezed", message.softnet_squeezed)?,
                psi_cpu_some_us: optional_count("psi_cpu_some_us", message.psi_cpu_some_us)?,
            },
        })
    }
}

impl From<&KernelRow> for pb::KernelRow {
    fn from(value: &KernelRow) -> Self {
        let counters = &value.counters;
        Self {
            run: value.run.0,
            kernel_boot_id: clip(&value.kernel_boot_id, BOOT_ID),
            k: value.k,
            start_ns: value.start_ns,
            length_ns: value.length_ns,
            cores: value.cores,
            cpu_us: kept(counters.cpu_us),
            steal_us: kept(counters.steal_us),
            softnet_processed: kept(counters.softnet_processed),
            softnet_dropped: kept(counters.softnet_dropped),
            softnet_squeezed: kept(counters.softnet_squeezed),
            psi_cpu_some_us: kept(counters.psi_cpu_some_us),
        }
    }
}

impl TryFrom<&pb::Observed> for Observed {
    type Error = ConvertError;

    fn try_from(message: &pb::Observed) -> Result<Self, ConvertError> {
        bounded("observers", message.observers.len(), limits::OBSERVERS)?;
        bounded("routes", message.routes.len(), limits::ROUTES)?;
        let observers = message.observers.iter().enumerate();
        let routes = message.routes.iter().enumerate();
        Ok(Self {
            run: run(message.run)?,
            links: message.links,
            kernels: message.kernels,
            interfaces_left_out: message.interfaces_left_out,
            load_milli: optional_count("load_milli", message.load_milli)?,
            observers: observers
                .map(|(i, each)| {
                    observer(each).map_err(|error| error.within(format_args!("observers[{i}]")))
                })
                .collect::<Result<_, _>>()?,
            routes: routes
                .map(|(i, each)| {
                    route(each).map_err(|error| error.within(format_args!("routes[{i}]")))
                })
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Observed> for pb::Observed {
    fn from(value: &Observed) -> Self {
        let observers = value.observers.iter().take(limits::OBSERVERS);
        let routes = value.routes.iter().take(limits::ROUTES);
        let clipped = |text: &String| clip(text, limits::WORD);
        Self {
            run: value.run.0,
            links: value.links,
            kernels: value.kernels,
            interfaces_left_out: value.interfaces_left_out,
            load_milli: value.load_milli,
            observers: observers
                .map(|observer| pb::Observer {
                    who: clipped(&observer.who),
                    pid: observer.pid,
                    interface: observer.interface.as_ref().map(clipped),
                    here: observer.here,
                })
                .collect(),
            routes: routes
                .map(|route| pb::Route {
                    target: clipped(&route.target),
                    at_start: route.at_start.as_ref().map(clipped),
                    at_end: route.at_end.as_ref().map(clipped),
                })
                .collect(),
        }
    }
}

fn observer(message: &pb::Observer) -> Result<Observer, ConvertError> {
    Ok(Observer {
        who: text("who", &message.who, limits::WORD)?,
        pid: message.pid,
        interface: optional_text("interface", message.interface.as_deref())?,
        here: message.here,
    })
}

fn route(message: &pb::Route) -> Result<Route, ConvertError> {
    Ok(Route {
        target: text("target", &message.target, limits::WORD)?,
        at_start: optional_text("at_start", message.at_start.as_deref())?,
        at_end: optional_text("at_end", message.at_end.as_deref())?,
    })
}

fn optional_text(field: &str, value: Option<&str>) -> Result<Option<String>, ConvertError> {
    value
        .map(|value| text(field, value, limits::WORD))
        .transpose()
}

/// No larger than what the other side takes.
fn kept(value: Option<u64>) -> Option<u64> {
    value.map(|n| n.min(limits::COUNT))
}

/// A text that is there and short.
fn name(field: &str, value: &str, most: usize) -> Result<String, ConvertError> {
    if value.is_empty() {
        return Err(ConvertError::new(field, "is empty"));
    }
    text(field, value, most)
}

fn bounded(field: &str, n: usize, most: usize) -> Result<(), ConvertError> {
    if n > most {
        return Err(ConvertError::new(
            field,
            format!("{n} are more than {most}"),
        ));
    }
    Ok(())
}
