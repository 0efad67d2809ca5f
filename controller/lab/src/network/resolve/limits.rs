//! Rate limits and losses onto the ends of links.

use super::super::{Link, listed};
use super::Resolver;
use crate::{Direction, Loss, Shape, TopologyError};

impl Resolver<'_> {
    /// Access limits first, then those of named links, which replace them.
    pub(super) fn shapes_and_losses(&mut self) -> Result<(), TopologyError> {
        for system in &self.topology.systems {
            let Some(shape) = system.access else { continue };
            let links: Vec<String> = self
                .network
                .access_links(system.asn)
                .map(|link| link.name.clone())
                .collect();
            for link in links {
                let index = self.link_index(&link)?;
                check_shape(&link, shape)?;
                let near = self.network.links[index].near.node;
                let serves_near = self.network.nodes[near].asn == Some(system.asn);
                limit(&mut self.network.links[index], shape, serves_near);
            }
        }
        for (link, shape) in &self.topology.shapes {
            check_shape(link, *shape)?;
            let index = self.link_index(link)?;
            self.network.links[index].set_shape(*shape);
        }
        for (link, loss) in &self.topology.losses {
            let index = self.link_index(link)?;
            self.network.links[index].set_loss(*loss);
        }
        Ok(())
    }

    fn link_index(&self, name: &str) -> Result<usize, TopologyError> {
        let links = &self.network.links;
        links
            .iter()
            .position(|link| link.name == name)
            .ok_or_else(|| TopologyError::UnknownLink {
                link: name.to_owned(),
                known: listed(links.iter().map(|link| link.name.as_str())),
            })
    }
}

impl Link {
    /// Replaces the rate limits in the shape's directions.
    pub(crate) fn set_shape(&mut self, shape: Shape) {
        if shape.direction().is_out() {
            self.near.shape = Some(shape);
        }
        if shape.direction().is_in() {
            self.far.shape = Some(shape);
        }
    }

    /// Replaces the loss in the loss's directions: lost is what arrives.
    pub(crate) fn set_loss(&mut self, loss: Loss) {
        if loss.direction().is_out() {
            self.far.loss = Some(loss);
        }
        if loss.direction().is_in() {
            self.near.loss = Some(loss);
        }
    }
}

/// Applies the access limit of one of the two ASes of a link. Where both ASes
/// of a direct link limit a direction, the lower rate holds.
fn limit(link: &mut Link, shape: Shape, serves_near: bool) {
    let (own, other) = if serves_near {
        (&mut link.near, &mut link.far)
    } else {
        (&mut link.far, &mut link.near)
    };
    let ends = [
        (own, Direction::is_out as fn(Direction) -> bool),
        (other, Direction::is_in),
    ];
    for (end, limits) in ends {
        let lower = end
            .shape
            .is_none_or(|present| shape.rate() < present.rate());
        if limits(shape.direction()) && lower {
            end.shape = Some(shape);
        }
    }
}

fn check_shape(link: &str, shape: Shape) -> Result<(), TopologyError> {
    shape.flaw().map_or(Ok(()), |why| {
        Err(TopologyError::BadShape {
            link: link.to_owned(),
            why,
        })
    })
}
