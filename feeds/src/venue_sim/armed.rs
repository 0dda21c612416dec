//! Injected faults that wait for their moment.
//!
//! Invariants: at most [`MAX_WAITING`] faults wait in each place; they strike in the order they were
//! injected; none strikes twice more than it says.

use super::book::ModelBook;
use super::dialect::Channel;
use super::faults::{Fault, Script, Scripted, When};
use super::model::Ids;
use std::collections::VecDeque;

/// Most faults waiting per instrument, per kind of request, and in the script.
const MAX_WAITING: usize = 65_536;

/// A fault and how often it is still to strike.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    fault: Fault,
    left: u32,
}

/// Faults of one kind, first come first served.
#[derive(Clone, Debug, Default)]
struct Queue(VecDeque<Waiting>);

impl Queue {
    fn push(&mut self, fault: Fault, times: u32) -> bool {
        let has_room = self.0.len() < MAX_WAITING;
        if has_room && times > 0 {
            self.0.push_back(Waiting { fault, left: times });
        }
        has_room
    }

    /// The fault that strikes now.
    fn take(&mut self) -> Option<Fault> {
        let first = self.0.front_mut()?;
        first.left -= 1;
        let (fault, left) = (first.fault, first.left);
        if left == 0 {
            self.0.pop_front();
        }
        Some(fault)
    }

    fn waiting(&self) -> usize {
        self.0.iter().map(|waiting| waiting.left as usize).sum()
    }
}

/// A book that REST shows in place of the present one.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) fault: Fault,
    pub(crate) book: ModelBook,
    pub(crate) ids: Ids,
    pub(crate) venue_ns: i64,
    pub(crate) answers: u32,
}

/// What waits for one instrument.
#[derive(Clone, Debug, Default)]
struct Target {
    book: Queue,
    mutes: Vec<(Channel, Waiting)>,
    frozen: Option<Frozen>,
    updates: u64,
}

/// Everything that waits.
#[derive(Clone, Debug)]
pub(crate) struct Armed {
    targets: Vec<Target>,
    rest: Queue,
    upgrades: Queue,
    script: Vec<Scripted>,
    updates: u64,
}

impl Armed {
    pub(crate) fn new(instruments: usize) -> Self {
        let targets = vec![Target::default(); instruments];
        let (rest, upgrades) = (Queue::default(), Queue::default());
        Self { targets, rest, upgrades, script: Vec::new(), updates: 0 }
    }

    /// Adds a script. False: it does not fit, and nothing was added.
    pub(crate) fn add_script(&mut self, script: &Script) -> bool {
        let fits = self.script.len() + script.0.len() <= MAX_WAITING;
        if fits {
            self.script.extend_from_slice(&script.0);
        }
        fits
    }

    /// An update of the instrument happened.
    pub(crate) fn note_update(&mut self, instrument: usize) {
        self.updates += 1;
        self.targets[instrument].updates += 1;
    }

    /// Updates so far, over all instruments.
    pub(crate) fn updates(&self) -> u64 {
        self.updates
    }

    /// A scripted fault whose time has come; call until there is none.
    pub(crate) fn due(&mut self, since_start_ns: i64) -> Option<Fault> {
        let at = self.script.iter().position(|scripted| match scripted.when {
            When::AllUpdates(count) => self.updates >= count,
            When::Updates { instrument, count } => {
                self.targets.get(instrument).is_none_or(|target| target.updates >= count)
            }
            When::ModelTime(ns) => since_start_ns >= ns,
        })?;
        Some(self.script.remove(at).fault)
    }

    /// Lets a fault wait that strikes frames, subscriptions or requests. False: too many wait.
    pub(crate) fn arm(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::MuteAfterAck { instrument, channel, subscriptions } => {
                let mutes = &mut self.targets[instrument].mutes;
                let has_room = mutes.len() < MAX_WAITING;
                if has_room && subscriptions > 0 {
                    mutes.push((channel, Waiting { fault, left: subscriptions }));
                }
                has_room
            }
            Fault::RestRefused { answers, .. } | Fault::RestSlow { answers, .. } => {
                self.rest.push(fault, answers)
            }
            Fault::RefuseUpgrades { attempts, .. } => self.upgrades.push(fault, attempts),
            _ => match fault.instrument() {
                Some(instrument) => self.targets[instrument].book.push(fault, fault.book_frames()),
                None => true,
            },
        }
    }

    /// REST shows this book of the instrument for a while, instead of one set before.
    pub(crate) fn freeze(&mut self, instrument: usize, frozen: Frozen) {
        self.targets[instrument].frozen = (frozen.answers > 0).then_some(frozen);
    }

    /// The book REST shows of the instrument, unless it is the present one.
    pub(crate) fn frozen(&self, instrument: usize) -> Option<&Frozen> {
        self.targets[instrument].frozen.as_ref()
    }

    /// A frozen book was shown.
    pub(crate) fn use_frozen(&mut self, instrument: usize) -> Option<Fault> {
        let slot = &mut self.targets[instrument].frozen;
        let frozen = slot.as_mut()?;
        frozen.answers -= 1;
        let (fault, left) = (frozen.fault, frozen.answers);
        if left == 0 {
            *slot = None;
        }
        Some(fault)
    }

    /// The fault that strikes the present book update of the instrument.
    pub(crate) fn take_book(&mut self, instrument: usize) -> Option<Fault> {
        self.targets[instrument].book.take()
    }

    /// The fault that mutes a new subscription.
    pub(crate) fn take_mute(&mut self, instrument: usize, channel: Channel) -> Option<Fault> {
        let mutes = &mut self.targets[instrument].mutes;
        let at = mutes.iter().position(|(muted, _)| *muted == channel)?;
        let (_, waiting) = &mut mutes[at];
        let fault = waiting.fault;
        waiting.left -= 1;
        if waiting.left == 0 {
            mutes.remove(at);
        }
        Some(fault)
    }

    /// The fault that strikes the present REST request.
    pub(crate) fn take_rest(&mut self) -> Option<Fault> {
        self.rest.take()
    }

    /// The fault that strikes the present handshake.
    pub(crate) fn take_upgrade(&mut self) -> Option<Fault> {
        self.upgrades.take()
    }

    /// How often faults are still to strike, the script included.
    pub(crate) fn waiting(&self) -> usize {
        let of_target = |target: &Target| {
            let mutes: usize = target.mutes.iter().map(|(_, w)| w.left as usize).sum();
            let frozen = target.frozen.as_ref().map_or(0, |frozen| frozen.answers as usize);
            target.book.waiting() + mutes + frozen
        };
        self.targets.iter().map(of_target).sum::<usize>()
            + self.rest.waiting()
            + self.upgrades.waiting()
            + self.script.len()
    }
}
