//! Receivers: one file per transport, mirroring the generators: the stream, its
//! hot loop, what one arrival counts, when a segment is closed, what is given out.

pub(crate) mod tcp;
pub(crate) mod udp;

use weir_wire::link::SegmentFinal;

use crate::meter::datagrams::Output;
use crate::meter::flow::StreamClosed;
use crate::session::StreamContext;

/// How long a receiver may sleep while it could be told a final count: a fifth of a
/// second of delay at the end of a flow that ended early.
const LOOK_EVERY_NS: u64 = 200_000_000;

/// The same once a segment's time is over and its final count is due any moment.
const LOOK_SOON_NS: u64 = 5_000_000;

/// The final count of the segment that is to be closed next, fetched when there is
/// a new one.
#[derive(Debug, Default)]
struct Finals {
    version: u32,
    segment: usize,
    last: Option<SegmentFinal>,
}

impl Finals {
    /// The final count of a stream's segment, if it has come.
    fn of(&mut self, context: &StreamContext, segment: usize) -> Option<&SegmentFinal> {
        let version = context.session.finals_version();
        let another = segment != self.segment;
        if another || (version != self.version && self.last.is_none()) {
            self.last = context.session.final_of(segment, context.stream);
        }
        (self.segment, self.version) = (segment, version);
        self.last.as_ref()
    }
}

/// Hands on the rows and ends of a stream.
fn give_out(
    context: &StreamContext,
    output: Vec<Output>,
    mut complete: impl FnMut(usize, &mut StreamClosed),
) {
    for each in output {
        match each {
            Output::Row(segment, row) => context.session.flows[segment].row(context.stream, *row),
            Output::Closed(segment, mut closed) => {
                complete(segment, &mut closed);
                context.close(segment, *closed);
            }
        }
    }
}
