//! What runs inside the hosts of a lab: this test program again, which finds
//! its action in the environment. So no other program has to be installed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use weir_lab::Lab;

/// What to do in a host.
pub(crate) enum Action {
    /// Sends `packets` datagrams of `size` B at once.
    SendUdp {
        to: SocketAddr,
        packets: u32,
        size: usize,
    },
    /// Sends one small datagram every 50 ms, 20 times.
    SendUdpSlowly { to: SocketAddr },
    /// Waits for one datagram.
    AwaitUdp { port: u16 },
    /// Takes one connection and reads it to its end.
    Serve { at: SocketAddr, within: Duration },
    /// Connects and writes 1 MiB.
    Connect { to: SocketAddr, within: Duration },
}

impl Action {
    fn words(&self) -> String {
        match self {
            Self::SendUdp { to, packets, size } => format!("send {to} {packets} {size}"),
            Self::SendUdpSlowly { to } => format!("slowly {to}"),
            Self::AwaitUdp { port } => format!("await {port}"),
            Self::Serve { at, within } => format!("serve {at} {}", within.as_millis()),
            Self::Connect { to, within } => format!("connect {to} {}", within.as_millis()),
        }
    }
}

/// An action that goes on in a host and is ready, with sockets bound.
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts an action and waits until it is ready.
    pub(crate) fn start(lab: &Lab, host: &str, action: &Action) -> Self {
        let mut child = lab
            .command(host, std::env::current_exe().unwrap())
            .unwrap()
            .args(["inside::acts", "--exact", "--ignored", "--nocapture"])
            .env(ACTION, action.words())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, output };
        assert_eq!(
            running.said().as_deref(),
            Some("ready"),
            "{host}: {}",
            action.words()
        );
        running
    }

    /// Waits for its end and gives its result.
    pub(crate) fn finish(mut self) -> String {
        let said = self.said().unwrap_or_default();
        // The harness prints its summary, which nobody may leave unread.
        drop(std::io::copy(&mut self.output, &mut std::io::sink()));
        self.child.wait().unwrap();
        said
    }

    /// Starts an action, waits for its end and gives its result.
    pub(crate) fn run(lab: &Lab, host: &str, action: &Action) -> String {
        Self::start(lab, host, action).finish()
    }

    /// The next line that the action, not the harness, printed.
    fn said(&mut self) -> Option<String> {
        let mut lines = self.output.by_ref().lines().map_while(Result::ok);
        lines.find_map(|line| Some(line.strip_prefix(MARK)?.to_owned()))
    }
}

/// Whether 1 MiB passes over a TCP connection from one host to another.
pub(crate) fn connects(lab: &Lab, from: &str, to: &str, address: IpAddr) -> bool {
    passes(lab, [from, to], address, Duration::from_secs(20))
}

/// Whether nothing passes; waits for the first repetition of the first packet.
pub(crate) fn is_cut(lab: &Lab, from: &str, to: &str, address: IpAddr) -> bool {
    !passes(lab, [from, to], address, Duration::from_millis(1_500))
}

fn passes(lab: &Lab, [from, to]: [&str; 2], address: IpAddr, within: Duration) -> bool {
    let at = SocketAddr::new(address, 5201);
    let server = Running::start(lab, to, &Action::Serve { at, within });
    let sent = Running::run(lab, from, &Action::Connect { to: at, within });
    let received = server.finish();
    (sent.as_str(), received.as_str()) == ("1048576", "1048576")
}

/// Sends so many UDP datagrams of `size` B to port 4000.
pub(crate) fn send_udp(lab: &Lab, from: &str, to: IpAddr, packets: u32, size: usize) {
    let to = SocketAddr::new(to, 4000);
    assert_eq!(
        Running::run(lab, from, &Action::SendUdp { to, packets, size }),
        packets.to_string()
    );
}

/// Not a test of its own: the action of a host.
#[test]
#[ignore = "started inside the hosts of a lab"]
fn acts() {
    let words = std::env::var(ACTION).unwrap();
    let words: Vec<&str> = words.split(' ').collect();
    // The harness may have begun a line.
    println!();
    match act(&words) {
        Ok(result) => println!("{MARK}{result}"),
        Err(error) => println!("{MARK}{error}"),
    }
}

fn act(words: &[&str]) -> std::io::Result<String> {
    let address = || -> SocketAddr { words[1].parse().unwrap() };
    let within = || Duration::from_millis(words[2].parse().unwrap());
    let ready = || println!("{MARK}ready");
    match words[0] {
        "send" => {
            let (packets, size): (u32, usize) =
                (words[2].parse().unwrap(), words[3].parse().unwrap());
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            ready();
            for _ in 0..packets {
                socket.send_to(&vec![0; size], address())?;
            }
            Ok(packets.to_string())
        }
        "slowly" => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            ready();
            for _ in 0..20 {
                socket.send_to(b"end", address())?;
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok("sent".to_owned())
        }
        "await" => {
            let socket = UdpSocket::bind(("0.0.0.0", words[1].parse().unwrap()))?;
            socket.set_read_timeout(Some(Duration::from_secs(20)))?;
            ready();
            socket.recv(&mut [0; 9])?;
            Ok("arrived".to_owned())
        }
        "serve" => {
            let listener = TcpListener::bind(address())?;
            ready();
            listener.set_nonblocking(true)?;
            let mut connection = accept_within(&listener, within())?;
            connection.set_nonblocking(false)?;
            connection.set_read_timeout(Some(Duration::from_secs(20)))?;
            std::io::copy(&mut connection, &mut std::io::sink()).map(|bytes| bytes.to_string())
        }
        "connect" => {
            ready();
            let mut stream = TcpStream::connect_timeout(&address(), within())?;
            let data = vec![0; 1 << 20];
            stream.write_all(&data)?;
            Ok(data.len().to_string())
        }
        other => panic!("no action {other}"),
    }
}

fn accept_within(listener: &TcpListener, longest: Duration) -> std::io::Result<TcpStream> {
    let deadline = std::time::Instant::now() + longest;
    loop {
        match listener.accept() {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if std::time::Instant::now() > deadline {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            accepted => return accepted.map(|(stream, _)| stream),
        }
    }
}

/// The environment variable with the action's words.
const ACTION: &str = "WEIR_LAB_TEST_ACTION";

/// Begins the lines of an action, to tell them from the harness's.
const MARK: &str = "action says ";
