//! What comes to a receiver's port and is no generator, and what a generator
//! finds that is no receiver.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;

use weir_tests::{binary, eventually};
use weir_wire::handshake::{Answer, Preamble};

use super::{LIMIT, on_loopback};

/// Bytes of `Meeting` frames that no receiver may choke on, behind its preamble.
fn bad_frames() -> Vec<Vec<u8>> {
    vec![
        // Longer than a frame may be.
        vec![0xff, 0xff, 0xff, 0xff],
        // No message.
        vec![0, 0, 0, 0],
        // Not a message.
        vec![0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff],
        // Cut off.
        vec![0, 0, 0, 9, 0x0a],
        // `Finished`, which has no place at the beginning.
        vec![0, 0, 0, 2, 0x5a, 0],
    ]
}

fn meeting(version: u16) -> Vec<u8> {
    Preamble::Meeting { version }.encode()
}

/// Sends bytes and reads what comes until the receiver closes.
fn exchange(at: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(at).expect("the receiver accepts");
    stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
    // A receiver that has said no already is gone before all is sent; a reset says
    // no as well as a close.
    let _gone = stream.write_all(bytes);
    let _gone = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    answer
}

fn generate(at: &str) -> Output {
    Command::new(binary("weir-agent"))
        .args(["generate", at, "--udp", "1M", "--for", "1s"])
        .args(["--settle", "200ms", "--ignore", "behind,frozen"])
        .output()
        .expect("weir-agent runs")
}

#[test]
fn garbage_on_the_port_is_turned_away_and_nothing_breaks() {
    let directory = tempfile::tempdir().expect("a directory");
    let (receiver, at) = on_loopback(directory.path());
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"",
        b"weir",
        b"weir\x09",
        &[0; 4096],
    ] {
        assert!(exchange(&at, garbage).is_empty());
    }
    for frame in bad_frames() {
        let answer = exchange(&at, &[meeting(weir_proto::frame::VERSION), frame].concat());
        assert_eq!(answer.first(), Some(&Answer::Accepted.encode()));
    }
    let output = generate(&at);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    eventually("the lines of those turned away", LIMIT, || {
        let lines = receiver.output();
        (lines.matches("turned away").count() >= 7).then_some(())
    });
}

#[test]
fn another_version_is_named_at_both_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let (receiver, at) = on_loopback(directory.path());
    assert_eq!(
        exchange(&at, &meeting(999)),
        [Answer::OtherVersion.encode()]
    );
    eventually("the line of the other version", LIMIT, || {
        receiver.output().contains("version 999").then_some(())
    });
    // Connections of runs belong to agents of a controller.
    let link = Preamble::Link { nonce: 7 }.encode();
    assert_eq!(exchange(&at, &link), [Answer::NotServed.encode()]);
}

#[test]
fn a_generator_says_what_it_found_instead_of_a_receiver() {
    let answers: [(Vec<u8>, &str); 4] = [
        (
            vec![Answer::OtherVersion.encode()],
            "the same weir-agent at both ends",
        ),
        (vec![Answer::Busy.encode()], "try again later"),
        (Vec::new(), "not another program"),
        (b"SSH-2.0\r\n".to_vec(), "newer version"),
    ];
    for (answer, words) in answers {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("an address").to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a generator dials");
            let mut preamble = [0; 7];
            stream.read_exact(&mut preamble).expect("a preamble");
            stream.write_all(&answer).expect("it reads");
        });
        let output = generate(&at);
        server.join().expect("the stand-in");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
}
