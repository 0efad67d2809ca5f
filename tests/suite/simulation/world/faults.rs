//! What goes wrong, and when.

use super::{Down, World};
use crate::simulation::dice::Dice;

/// What goes wrong in a history, in thousandths a step.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) cut: u64,
    kill: u64,
    tear: u64,
    term: u64,
    power: u64,
    pub(super) crash: u64,
    pub(super) commit: u64,
    pub(super) full: u64,
    sync: u64,
    backup: u64,
}

impl Faults {
    /// Some kinds often, others never: each alone is met, and many together.
    pub(super) fn drawn(dice: &mut Dice) -> Self {
        let mut some = |most: u64| match dice.below(3) {
            0 => 0,
            _ => dice.below(most) + 1,
        };
        Self {
            cut: some(60),
            kill: some(15),
            tear: some(10),
            term: some(8),
            power: some(6),
            crash: some(20),
            commit: some(100),
            full: some(15),
            sync: some(10),
            backup: some(15),
        }
    }
}

impl World {
    pub(super) fn fault(&mut self) {
        if self.dice.permille(self.faults.cut) {
            self.cut();
        }
        if self.dice.permille(self.faults.crash) {
            self.crash();
        }
        if self.dice.permille(self.faults.backup) {
            self.backup = Some(self.database.clone());
        }
        if self.dice.permille(self.faults.backup / 3) && self.backup.is_some() {
            self.put_back();
        }
        let index = self.dice.below(self.agents.len() as u64) as usize;
        if self.agents[index].half.is_none() {
            return;
        }
        let host = self.agents[index].host.clone();
        let boot = self.agents[index].boot;
        if self.dice.permille(self.faults.full) {
            self.counts.count("disks that were full", 1);
            host.set_full(true);
        } else if self.dice.permille(100) {
            host.set_full(false);
        }
        if self.dice.permille(self.faults.sync) {
            self.counts.count("disks that did not sync", 1);
            host.set_unsyncable(true);
            self.oracle.boots.entry(boot).or_default().unsynced = true;
        } else if self.dice.permille(100) {
            host.set_unsyncable(false);
        }
        if self.dice.permille(self.faults.tear) {
            host.tear(self.dice.below(4_096));
        } else if self.dice.permille(self.faults.kill) {
            self.counts.count("kills of agents", 1);
            self.kill(index);
        } else if self.dice.permille(self.faults.term) {
            self.counts.count("agents that were ended", 1);
            self.terminate(index);
        } else if self.dice.permille(self.faults.power) {
            self.counts.count("losses of power", 1);
            self.kill(index);
            self.lose_power(index);
        }
    }

    /// A connection breaks; either end finds out first.
    fn cut(&mut self) {
        let ids: Vec<usize> = self.connections.keys().copied().collect();
        if let Some(agent) = self.agents.iter_mut().find(|_| self.dice.permille(200)) {
            self.counts.count("control streams cut", 1);
            (agent.session, agent.greeting) = (None, None);
        }
        if ids.is_empty() {
            return;
        }
        self.counts.count("records streams cut", 1);
        let id = ids[self.dice.below(ids.len() as u64) as usize];
        let at_ms = self.arrival_ms();
        let connection = self.connections.get_mut(&id).expect("it is there");
        if self.dice.permille(500) {
            connection.stream = None;
            let kept = self.dice.below(connection.up.len() as u64 + 1);
            connection.up.cut(kept as usize);
            connection.noticed_ms = Some(at_ms);
        } else {
            connection.served = false;
            let kept = self.dice.below(connection.down.len() as u64 + 1);
            connection.down.cut(kept as usize);
            connection.down.send(at_ms, Down::End);
        }
    }

    /// The controller is killed.
    pub(super) fn crash(&mut self) {
        if self.controller.take().is_none() {
            return;
        }
        self.counts.count("crashes of the controller", 1);
        for agent in &mut self.agents {
            (agent.session, agent.greeting) = (None, None);
        }
        for connection in self.connections.values_mut() {
            connection.served = false;
            let kept = self.dice.below(connection.down.len() as u64 + 1);
            connection.down.cut(kept as usize);
        }
    }

    /// The controller is started with an older database.
    fn put_back(&mut self) {
        let Some(backup) = self.backup.clone() else {
            return;
        };
        self.crash();
        self.counts.count("databases put back", 1);
        for (id, boot) in &mut self.oracle.boots {
            let Some(agent) = &boot.agent else { continue };
            let kept = backup.watermark(agent, *id);
            if kept < self.database.watermark(agent, *id) {
                boot.put_back = Some(boot.put_back.map_or(kept, |before| before.min(kept)));
            }
        }
        self.database = backup;
    }

    /// The agent is killed: what it had not written is gone.
    pub(super) fn kill(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        let at = agent.positions(agent.boot);
        agent.vanish();
        let torn = agent.host.was_torn();
        if let Some((written, acked, _)) = at {
            let boot = self.oracle.boots.entry(agent.boot).or_default();
            boot.acked = boot.acked.max(acked);
            boot.floor = Some(written.min(boot.emitted.len() as u64));
        }
        if torn {
            self.harmed(index);
        }
        self.hang_up(index);
    }

    /// The agent is told to end: it writes what it has.
    fn terminate(&mut self, index: usize) {
        let now = self.now();
        let closed = self.agents[index].close();
        let boot = self.agents[index].boot;
        self.emitted(boot, closed);
        self.agents[index].write(now);
        let at = self.agents[index].positions(boot);
        if let Some(half) = self.agents[index].vanish() {
            half.end(now);
        }
        let torn = self.agents[index].host.was_torn();
        if let Some((written, acked, _)) = at {
            let boot = self.oracle.boots.entry(boot).or_default();
            boot.floor = Some(written);
            boot.acked = boot.acked.max(acked);
        }
        if torn {
            self.harmed(index);
        }
        self.hang_up(index);
    }

    /// Of any boot of that host what was not synced may be damaged.
    pub(super) fn harmed(&mut self, index: usize) {
        let name = &self.agents[index].name;
        for boot in self.oracle.boots.values_mut() {
            boot.harmed |= boot.agent.as_ref() == Some(name);
        }
    }

    /// The power of a host goes.
    fn lose_power(&mut self, index: usize) {
        let agent = &self.agents[index];
        agent.host.lose_power(&mut self.dice);
        for boot in self.oracle.boots.values_mut() {
            if boot.agent.as_ref() == Some(&agent.name) {
                boot.harmed = true;
                boot.floor = boot.floor.map(|floor| floor.min(boot.durable));
            }
        }
    }

    /// The ends of an agent that is no more.
    fn hang_up(&mut self, index: usize) {
        let at_ms = self.arrival_ms();
        for connection in self.connections.values_mut() {
            if connection.agent == index && connection.stream.take().is_some() {
                let kept = self.dice.below(connection.up.len() as u64 + 1);
                connection.up.cut(kept as usize);
                connection.noticed_ms = Some(at_ms);
            }
        }
    }
}
