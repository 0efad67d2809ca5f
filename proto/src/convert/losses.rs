//! Bursts of losses and outages.

use weir_common::record::{FlowOutage, Outages};
use weir_common::stats::Lengths;
use weir_common::stats::outage::KEPT_OUTAGES;

use super::{ConvertError, count, optional_count};
use crate::types::v1 as pb;

impl TryFrom<&pb::Lengths> for Lengths {
    type Error = ConvertError;

    fn try_from(message: &pb::Lengths) -> Result<Self, ConvertError> {
        let mut lengths = Self {
            count: count("count", message.count)?,
            packets: count("packets", message.packets)?,
            min: count("min", message.min)?,
            max: count("max", message.max)?,
            ..Self::default()
        };
        let (given, most) = (message.classes.len(), lengths.classes.len());
        if given > most {
            let problem = format!("{given} are more than {most}");
            return Err(ConvertError::new("classes", problem));
        }
        for (class, value) in lengths.classes.iter_mut().zip(&message.classes) {
            *class = count("classes", *value)?;
        }
        Ok(lengths)
    }
}

impl From<&Lengths> for pb::Lengths {
    fn from(value: &Lengths) -> Self {
        let used = value.classes.iter().rposition(|count| *count > 0);
        Self {
            count: value.count,
            packets: value.packets,
            min: value.min,
            max: value.max,
            classes: value.classes[..used.map_or(0, |last| last + 1)].to_vec(),
        }
    }
}

impl TryFrom<&pb::Outages> for Outages {
    type Error = ConvertError;

    fn try_from(message: &pb::Outages) -> Result<Self, ConvertError> {
        let given = message.kept.len();
        if given > KEPT_OUTAGES {
            let problem = format!("{given} are more than {KEPT_OUTAGES}");
            return Err(ConvertError::new("kept", problem));
        }
        let outage = |(i, outage): (usize, &pb::Outage)| {
            FlowOutage::try_from(outage).map_err(|error| error.within(format!("kept[{i}]")))
        };
        Ok(Self {
            count: count("count", message.count)?,
            sum_ns: count("sum_ns", message.sum_ns)?,
            resolution_ns: optional_count("resolution_ns", message.resolution_ns)?,
            kept: message
                .kept
                .iter()
                .enumerate()
                .map(outage)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Outages> for pb::Outages {
    fn from(value: &Outages) -> Self {
        Self {
            count: value.count,
            sum_ns: value.sum_ns,
            resolution_ns: value.resolution_ns,
            kept: value
                .kept
                .iter()
                .take(KEPT_OUTAGES)
                .map(Into::into)
                .collect(),
        }
    }
}

impl TryFrom<&pb::Outage> for FlowOutage {
    type Error = ConvertError;

    fn try_from(message: &pb::Outage) -> Result<Self, ConvertError> {
        let stream = u16::try_from(message.stream)
            .map_err(|_| ConvertError::new("stream", "is above 65535"))?;
        Ok(Self {
            stream,
            from_ns: count("from_ns", message.from_ns)?,
            length_ns: count("length_ns", message.length_ns)?,
            ended: message.ended,
            first_seq: count("first_seq", message.first_seq)?,
            last_seq: count("last_seq", message.last_seq)?,
            lost_packets: optional_count("lost_packets", message.lost_packets)?,
        })
    }
}

impl From<&FlowOutage> for pb::Outage {
    fn from(value: &FlowOutage) -> Self {
        Self {
            stream: value.stream.into(),
            from_ns: value.from_ns,
            length_ns: value.length_ns,
            ended: value.ended,
            first_seq: value.first_seq,
            last_seq: value.last_seq,
            lost_packets: value.lost_packets,
        }
    }
}
