//! A few threads that drive many tasks.
//!
//! ```text
//!              ┌───────── instants due, in their order ──────────┐
//!  mail ──► agenda ──► turn: step, at most a few times ──► what it waits for
//!              └───────── sockets ready (epoll) ─────────────────┘
//! ```
//!
//! A worker owns its tasks: no lock is taken for a step. What other threads want
//! (a new task, a look at something that changed) comes as mail.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::agenda::{Agenda, Token};
use super::{Next, Scratch, Stream};
use crate::clock::Clock;
use crate::meter::host::Account;
use crate::run::spawn;
use crate::socket::{
    Bell, Epoll, Interest, SocketError, Tokens, set_timer_slack_ns, thread_cpu_ns,
};
use crate::wait::short_of;

/// Something that a worker drives: a stream, or whatever else waits for sockets and
/// instants without a thread of its own.
pub(crate) trait Task: Send {
    /// As [`Stream::step`]; [`Next::Sockets`] speaks of [`sockets`](Self::sockets).
    fn step(&mut self, now_ns: u64, scratch: &mut Scratch) -> Next;

    /// The sockets that it may wait for, and for what with [`Next::Sockets`].
    fn sockets(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest));

    /// Changes with the sockets and what they are to be ready for.
    fn revision(&self) -> u32 {
        0
    }

    /// The step cost so much CPU time.
    fn charge(&mut self, _cpu_ns: u64) {}
}

impl<S: Stream> Task for S {
    fn step(&mut self, now_ns: u64, scratch: &mut Scratch) -> Next {
        Stream::step(self, now_ns, scratch)
    }

    fn sockets(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {
        each(self.socket(), Interest::Readable);
    }

    fn charge(&mut self, cpu_ns: u64) {
        self.host().charge(cpu_ns);
    }
}

/// Steps that a task may take in one turn; enough for a departure and the wait
/// after it, few enough not to hold up the others.
const STEPS_A_TURN: u32 = 8;

/// Sockets told of at once.
const EVENTS: usize = 256;

/// Where a worker's mail goes.
struct Mailbox {
    mail: Mutex<Mail>,
    bell: Bell,
    account: Arc<Account>,
}

#[derive(Default)]
struct Mail {
    tasks: Vec<(Token, Box<dyn Task>)>,
    look: Vec<Token>,
    look_all: bool,
    close: bool,
    /// Tokens given back by tasks that ended, and the first one never given.
    free: Vec<Token>,
    fresh: Token,
    rung: bool,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Mail> {
        // Every statement leaves the lists whole.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the worker look at its mail, unless it was told to already.
    fn ring(&self, mut mail: MutexGuard<'_, Mail>) {
        let rung = std::mem::replace(&mut mail.rung, true);
        drop(mail);
        if !rung {
            self.bell.ring();
        }
    }
}

/// Lets one task have a look at what changed. Clones rouse the same task; after its
/// end nothing happens, or another task takes a look in vain.
#[derive(Clone)]
pub(crate) struct Alarm {
    mailbox: Arc<Mailbox>,
    task: Token,
}

impl Alarm {
    /// Gives the task a turn soon.
    pub(crate) fn ring(&self) {
        let mut mail = self.mailbox.lock();
        mail.look.push(self.task);
        self.mailbox.ring(mail);
    }
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alarm({})", self.task)
    }
}

/// The workers of a run.
pub(crate) struct Crew {
    mailboxes: Vec<Arc<Mailbox>>,
    next: AtomicUsize,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crew({})", self.mailboxes.len())
    }
}

impl Crew {
    /// Starts a thread for each of `cpus` (at least one): kept to that CPU, or to
    /// none.
    pub(crate) fn start(
        cpus: &[Option<usize>],
        clock: &Arc<dyn Clock>,
    ) -> Result<(Self, Vec<JoinHandle<()>>), CrewError> {
        let mut crew = Self {
            mailboxes: Vec::new(),
            next: AtomicUsize::new(0),
        };
        let mut threads = Vec::new();
        for (number, cpu) in cpus.iter().enumerate() {
            let mailbox = Arc::new(Mailbox {
                mail: Mutex::new(Mail::default()),
                bell: Bell::new()?,
                account: Arc::new(Account::new(*cpu)),
            });
            let worker = Worker::new(Arc::clone(&mailbox), Arc::clone(clock))?;
            match spawn(*cpu, &format!("weir-crew{number}"), move || worker.work()) {
                Ok(thread) => threads.push(thread),
                // Fewer will do.
                Err(error) if crew.mailboxes.is_empty() => return Err(error.into()),
                Err(_) => break,
            }
            crew.mailboxes.push(mailbox);
        }
        Ok((crew, threads))
    }

    /// Gives a worker the task that `make` makes with its alarm and the account of
    /// the worker's thread. The workers take turns.
    pub(crate) fn add(&self, make: impl FnOnce(&Alarm, &Arc<Account>) -> Box<dyn Task>) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mailbox = &self.mailboxes[turn % self.mailboxes.len()];
        let mut mail = mailbox.lock();
        let task = mail.free.pop().unwrap_or_else(|| {
            mail.fresh += 1;
            mail.fresh - 1
        });
        drop(mail);
        let alarm = Alarm {
            mailbox: Arc::clone(mailbox),
            task,
        };
        let made = make(&alarm, &mailbox.account);
        let mut mail = mailbox.lock();
        mail.tasks.push((task, made));
        mailbox.ring(mail);
    }

    /// Gives every task a turn soon.
    pub(crate) fn look_all(&self) {
        for mailbox in &self.mailboxes {
            let mut mail = mailbox.lock();
            mail.look_all = true;
            mailbox.ring(mail);
        }
    }

    /// Ends the threads; tasks that are left are dropped.
    pub(crate) fn close(&self) {
        for mailbox in &self.mailboxes {
            let mut mail = mailbox.lock();
            mail.close = true;
            mailbox.ring(mail);
        }
    }
}

/// Why there are no workers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrewError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Thread(#[from] io::Error),
}

/// What a worker's sockets are watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Nothing,
    For(Interest),
    /// By the task's own list, of this revision.
    List(u32),
}

struct Slot {
    task: Box<dyn Task>,
    watched: Watched,
}

struct Worker {
    mailbox: Arc<Mailbox>,
    clock: Arc<dyn Clock>,
    epoll: Epoll,
    agenda: Agenda,
    slots: Vec<Option<Slot>>,
    scratch: Scratch,
    /// CPU time of this thread at the end of the last step, ns.
    cpu_ns: u64,
}

/// The bell's token; tasks have those below.
const BELL: u64 = u64::MAX;

impl Worker {
    fn new(mailbox: Arc<Mailbox>, clock: Arc<dyn Clock>) -> Result<Self, SocketError> {
        let epoll = Epoll::new()?;
        epoll.watch(mailbox.bell.as_fd(), BELL, Interest::Readable)?;
        Ok(Self {
            mailbox,
            clock,
            epoll,
            agenda: Agenda::default(),
            slots: Vec::new(),
            scratch: Scratch::default(),
            cpu_ns: 0,
        })
    }

    fn work(mut self) {
        // Refused only by kernels that lack it; then timers are 50 us coarser.
        let _coarser = set_timer_slack_ns(1);
        let mut ready = Tokens::new(EVENTS);
        let mut open = true;
        while open {
            let now_ns = self.clock.now_ns();
            self.mailbox.account.refresh(now_ns);
            self.agenda.due(now_ns);
            for _ in 0..self.agenda.turns() {
                let Some(token) = self.agenda.take() else {
                    break;
                };
                self.turn(token);
            }
            let timeout = self.patience();
            if let Err(error) = self.epoll.wait(&mut ready, timeout) {
                tracing::error!(%error, "a worker gives up its tasks");
                return;
            }
            for token in ready.iter() {
                match Token::try_from(token) {
                    Ok(task) => self.agenda.ready(task),
                    Err(_) => open = self.read_mail(),
                }
            }
        }
    }

    /// How long nothing is to be done unless a socket is ready or mail comes.
    fn patience(&self) -> Option<Duration> {
        if self.agenda.turns() > 0 {
            return Some(Duration::ZERO);
        }
        let until_ns = self.agenda.quiet_until_ns()?;
        let now_ns = self.clock.now_ns();
        let left = Duration::from_nanos(until_ns.saturating_sub(now_ns));
        Some(short_of(left))
    }

    /// Whether the worker goes on.
    fn read_mail(&mut self) -> bool {
        self.mailbox.bell.silence();
        let mut mail = self.mailbox.lock();
        mail.rung = false;
        let tasks = std::mem::take(&mut mail.tasks);
        let look = std::mem::take(&mut mail.look);
        let look_all = std::mem::take(&mut mail.look_all);
        let close = mail.close;
        drop(mail);
        for (token, task) in tasks {
            let at = token as usize;
            if at >= self.slots.len() {
                self.slots.resize_with(at + 1, || None);
            }
            self.slots[at] = Some(Slot {
                task,
                watched: Watched::Nothing,
            });
            self.agenda.ready(token);
        }
        for token in look {
            self.agenda.ready(token);
        }
        if look_all {
            let living = self.slots.iter().enumerate();
            for (at, _) in living.filter(|(_, slot)| slot.is_some()) {
                self.agenda.ready(at as Token);
            }
        }
        !close
    }

    fn turn(&mut self, token: Token) {
        let Some(Some(slot)) = self.slots.get_mut(token as usize) else {
            return; // it ended, and was roused meanwhile
        };
        let (clock, scratch) = (&*self.clock, &mut self.scratch);
        let steps = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..STEPS_A_TURN {
                match slot.task.step(clock.now_ns(), scratch) {
                    Next::Again => {}
                    next => return next,
                }
            }
            Next::Again
        }));
        let cpu_ns = thread_cpu_ns();
        slot.task.charge(cpu_ns.saturating_sub(self.cpu_ns));
        self.cpu_ns = cpu_ns;
        let Ok(next) = steps else {
            tracing::error!("a task of the run panicked");
            self.end(token);
            return;
        };
        let (watched, until_ns) = match next {
            Next::Again => {
                self.agenda.ready(token);
                return;
            }
            Next::At(at_ns) => (Watched::Nothing, at_ns),
            Next::Readable(until_ns) => (Watched::For(Interest::Readable), until_ns),
            Next::Writable(until_ns) => (Watched::For(Interest::Writable), until_ns),
            Next::Sockets(until_ns) => (Watched::List(slot.task.revision()), until_ns),
            Next::Done => {
                self.end(token);
                return;
            }
        };
        if slot.watched != watched {
            slot.watched = watched;
            watch(&self.epoll, slot, token);
        }
        if until_ns < u64::MAX {
            self.agenda.wait(token, until_ns);
        }
    }

    fn end(&mut self, token: Token) {
        if let Some(slot) = self.slots.get_mut(token as usize).and_then(Option::take) {
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(slot)));
            if dropped.is_err() {
                tracing::error!("a task of the run panicked at its end");
            }
        }
        self.agenda.forget(token);
        self.mailbox.lock().free.push(token);
    }
}

/// Watches a task's sockets for what it now waits for.
fn watch(epoll: &Epoll, slot: &Slot, token: Token) {
    slot.task.sockets(&mut |fd, listed| {
        let interest = match slot.watched {
            Watched::Nothing => {
                epoll.forget(fd);
                return;
            }
            Watched::For(interest) => interest,
            Watched::List(_) => listed,
        };
        if let Err(error) = epoll.watch(fd, u64::from(token), interest) {
            // Out of memory or of watches (fs.epoll.max_user_watches): the task
            // still has its turns by the clock.
            tracing::warn!(%error, fd = fd.as_raw_fd(), "socket not watched");
        }
    });
}
