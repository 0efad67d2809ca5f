//! A way for the datagrams of one UDP flow that treats them by script: some are lost,
//! some come twice, some after later ones. It stands where a router would, in a host
//! of a lab, and what it does is known to the packet.

mod script;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use clap::Parser;
use weir_wire::probe_header::{ProbeHeader, ProbeKind};

use self::script::{Held, Step};

#[derive(Debug, Parser)]
#[command(
    name = "relay",
    about = "Passes a UDP flow on, by script, until killed"
)]
struct Arguments {
    /// Where the generator's datagrams come
    listen: SocketAddr,
    /// Where they go
    target: SocketAddr,
    /// WHICH:WHEN, the first that applies: `7/20:0,0` sends the packets 7, 27, 47, ...
    /// twice, `3/20:` loses, `100-104:900` passes five on after 900 later ones
    script: Vec<Step>,
}

fn main() -> anyhow::Result<()> {
    let Arguments {
        listen,
        target,
        script,
    } = Arguments::parse();
    let near = Arc::new(UdpSocket::bind(listen)?);
    let far = Arc::new(UdpSocket::bind("0.0.0.0:0")?);
    far.connect(target)?;
    let generator = Arc::new(Mutex::new(None));
    {
        let (near, far, generator) = (near.clone(), far.clone(), generator.clone());
        thread::spawn(move || answers(&far, &near, &generator));
    }
    let mut held = Held::new(script);
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, source) = near.recv_from(&mut buffer)?;
        *generator.lock().expect("nobody panics") = Some(source);
        let datagram = &buffer[..length];
        match ProbeHeader::decode(datagram) {
            Ok(header) if matches!(header.kind, ProbeKind::Data { .. }) => {
                for datagram in held.pass(header.sequence, datagram) {
                    send(&far, &datagram)?;
                }
            }
            _ => send(&far, datagram)?,
        }
    }
}

/// A target that is not there yet, or not any more, is none of the relay's business.
fn send(far: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
    match far.send(datagram) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => Err(error),
        _ => Ok(()),
    }
}

/// Brings what the target says back to the generator.
fn answers(far: &UdpSocket, near: &UdpSocket, generator: &Mutex<Option<SocketAddr>>) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(length) = far.recv(&mut buffer) else {
            continue; // refused, as above
        };
        let generator = *generator.lock().expect("nobody panics");
        if let Some(generator) = generator {
            near.send_to(&buffer[..length], generator).ok();
        }
    }
}
