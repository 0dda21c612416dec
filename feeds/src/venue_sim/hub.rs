//! What a simulator's clock, sessions, REST handlers and operator share.
//!
//! Invariants: the lock is held for bounded work and never across an `await`; a session's queue is
//! bounded, and one that does not keep up is cut and counted; a snapshot is rendered between two
//! updates, so every frame up to it has been queued.

use super::armed::{Armed, Frozen};
use super::book::ModelBook;
use super::counters::{Counters, FiredFault, add, count};
use super::dialect::{
    BookFrame, Channel, Checksum, Dialect, Effect, Facts, Heartbeat, HeartbeatFrame, Notice,
    RestAnswer, RestView, Restart, Session, SnapshotSource, TopFrame, Topic, TradeFrame,
};
use super::faults::{Fault, Garbage, Garble, Script, truncated, with_wrong_types};
use super::model::{Ids, Listing, Model, Update};
use super::view::DepthView;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

/// Most fired faults that are remembered; older ones are forgotten first.
const MAX_FIRED: usize = 65_536;

/// Most delayed frames of a session; a further one is sent at once.
const MAX_HELD: usize = 256;

/// Most topics of a session; further subscriptions are counted as bad requests.
const MAX_TOPICS: usize = 8_192;

/// Largest [`Fault::Oversized`] text.
const MAX_OVERSIZED_BYTES: usize = 256 << 20;

/// One thing for a session to do.
#[derive(Clone, Debug)]
pub(crate) enum Outgoing {
    Text(Utf8Bytes),
    Binary(Bytes),
    /// A text frame, a byte at a time.
    Dribble(Utf8Bytes, Duration),
    Close(u16),
}

/// What a session may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Run,
    /// Neither read nor write, but keep the socket.
    Freeze,
    /// Drop the socket.
    Cut,
}

/// The session's side of a session.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) id: u64,
    pub(crate) queue: mpsc::Receiver<Outgoing>,
    pub(crate) orders: watch::Receiver<Order>,
}

/// The hub's side of a session.
#[derive(Debug)]
struct Client {
    session: Session,
    subscriptions: Vec<Subscription>,
    queue: mpsc::Sender<Outgoing>,
    orders: watch::Sender<Order>,
    held: Vec<Held>,
    /// Interval of session heartbeats, if the client asked for them.
    heartbeat: Option<Duration>,
    /// Something was queued since the last heartbeat.
    was_busy: bool,
}

#[derive(Debug)]
struct Subscription {
    topic: Topic,
    muted: bool,
    view: Option<DepthView>,
}

/// A delayed frame: it goes out after `frames` further ones of the instrument.
#[derive(Debug)]
struct Held {
    instrument: u16,
    frames: u32,
    text: Utf8Bytes,
}

#[derive(Debug)]
struct State {
    model: Model,
    clients: Vec<Client>,
    next_client: u64,
    armed: Armed,
    fired: VecDeque<FiredFault>,
    start_ns: i64,
    effects: Vec<Effect>,
    out: Vec<u8>,
}

/// Bounds of a [`Hub`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) sessions: usize,
    pub(crate) queue_frames: usize,
}

/// What is done with a REST request.
#[derive(Debug)]
pub(crate) struct RestOutcome {
    pub(crate) answer: Option<RestAnswer>,
    pub(crate) delay: Duration,
}

/// The shared state.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) facts: Facts,
    pub(crate) counters: Counters,
    state: Mutex<State>,
    limits: Limits,
    stopped: watch::Sender<bool>,
}

impl Hub {
    pub(crate) fn new(dialect: Arc<dyn Dialect>, model: Model, limits: Limits) -> Self {
        let state = State {
            armed: Armed::new(model.listings().len()),
            start_ns: model.now_ns(),
            model,
            clients: Vec::new(),
            next_client: 0,
            fired: VecDeque::new(),
            effects: Vec::new(),
            out: Vec::new(),
        };
        Self {
            facts: dialect.facts(),
            dialect,
            counters: Counters::default(),
            state: Mutex::new(state),
            limits,
            stopped: watch::Sender::new(false),
        }
    }

    /// A panic elsewhere leaves the state usable: every change to it is complete in itself.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn<'a>(&'a self, state: &'a mut State) -> Turn<'a> {
        Turn { hub: self, state }
    }

    /// Moves the market by `steps` updates, of one instrument or of random ones.
    pub(crate) fn step(&self, steps: u64, instrument: Option<usize>, not_before_ns: Option<i64>) {
        let state = &mut *self.lock();
        if let Some(now_ns) = not_before_ns {
            state.model.advance_to(now_ns);
        }
        let mut turn = self.turn(state);
        for _ in 0..steps {
            turn.step(instrument);
        }
    }

    /// Lets model time pass without updates; scripted faults may become due.
    pub(crate) fn advance_ns(&self, ns: i64) {
        let state = &mut *self.lock();
        let now_ns = state.model.now_ns().saturating_add(ns.max(0));
        state.model.advance_to(now_ns);
        self.turn(state).fire_due();
    }

    /// Injects a fault. False: it was refused and counted.
    pub(crate) fn inject(&self, fault: Fault) -> bool {
        self.turn(&mut self.lock()).inject(fault)
    }

    pub(crate) fn add_script(&self, script: &Script) -> bool {
        let state = &mut *self.lock();
        let instruments = state.model.listings().len();
        let are_listed =
            script.0.iter().all(|s| s.fault.instrument().is_none_or(|i| i < instruments));
        let accepted = are_listed && state.armed.add_script(script);
        if !accepted {
            count(&self.counters.faults_refused);
        }
        accepted
    }

    /// Sends heartbeats to the sessions that are due to have one.
    pub(crate) fn heartbeat(&self) {
        self.turn(&mut self.lock()).heartbeat();
    }

    pub(crate) fn with_model<T>(&self, read: impl FnOnce(&Model) -> T) -> T {
        read(&self.lock().model)
    }

    pub(crate) fn fired(&self) -> Vec<FiredFault> {
        self.lock().fired.iter().copied().collect()
    }

    pub(crate) fn waiting_faults(&self) -> usize {
        self.lock().armed.waiting()
    }

    /// The topics that are subscribed to, by session; muted ones included.
    pub(crate) fn topics(&self) -> Vec<Vec<Topic>> {
        let of_client = |client: &Client| client.subscriptions.iter().map(|s| s.topic).collect();
        self.lock().clients.iter().map(of_client).collect()
    }

    /// The fault that strikes a handshake.
    pub(crate) fn take_upgrade_fault(&self) -> Option<Fault> {
        let state = &mut *self.lock();
        let fault = state.armed.take_upgrade()?;
        self.turn(state).note(fault);
        count(&self.counters.upgrades_refused);
        Some(fault)
    }

    /// A new session, or the HTTP status of a refusal: no socket at that path, or too many sessions.
    pub(crate) fn attach(&self, path: &str, query: &str) -> Result<Seat, u16> {
        let state = &mut *self.lock();
        let mut session = Session::new(state.next_client);
        let mut effects = std::mem::take(&mut state.effects);
        effects.clear();
        let listings = state.model.listings();
        if !self.dialect.open(path, query, listings, &mut session, &mut effects) {
            count(&self.counters.bad_requests);
            return Err(404);
        }
        // Under the lock, so that no session slips in behind the last one that `stop` cuts.
        if state.clients.len() >= self.limits.sessions || *self.stopped.borrow() {
            count(&self.counters.turned_away);
            return Err(503);
        }
        let (sender, queue) = mpsc::channel(self.limits.queue_frames);
        let (order, orders) = watch::channel(Order::Run);
        let id = state.next_client;
        state.next_client += 1;
        state.clients.push(Client {
            session,
            subscriptions: Vec::new(),
            queue: sender,
            orders: order,
            held: Vec::new(),
            heartbeat: None,
            was_busy: false,
        });
        count(&self.counters.sessions_opened);
        count(&self.counters.sessions_open);
        let at = state.clients.len() - 1;
        self.turn(state).carry_out(at, &effects);
        state.effects = effects;
        Ok(Seat { id, queue, orders })
    }

    pub(crate) fn detach(&self, id: u64) {
        let mut state = self.lock();
        let before = state.clients.len();
        state.clients.retain(|client| client.session.id != id);
        self.counters.sessions_open.fetch_sub((before - state.clients.len()) as u64, Relaxed);
    }

    /// Carries out a client's message.
    pub(crate) fn handle(&self, id: u64, text: &str) {
        count(&self.counters.client_messages);
        let state = &mut *self.lock();
        let Some(at) = state.clients.iter().position(|client| client.session.id == id) else {
            return;
        };
        let mut effects = std::mem::take(&mut state.effects);
        effects.clear();
        let session = &mut state.clients[at].session;
        self.dialect.handle(text, state.model.listings(), session, &mut effects);
        self.turn(state).carry_out(at, &effects);
        state.effects = effects;
    }

    /// Answers a REST request.
    pub(crate) fn rest(&self, path: &str, query: &str) -> RestOutcome {
        count(&self.counters.rest_requests);
        let state = &mut *self.lock();
        let mut delay = Duration::ZERO;
        if let Some(fault) = state.armed.take_rest() {
            self.turn(state).note(fault);
            match fault {
                Fault::RestRefused { status, retry_after_s, .. } => {
                    count(&self.counters.rest_refused);
                    let answer = Some(refusal(status, retry_after_s));
                    return RestOutcome { answer, delay };
                }
                Fault::RestSlow { delay: late, .. } => delay = late,
                _ => {}
            }
        }
        let view = View { model: &state.model, armed: &state.armed, shown: Cell::new(None) };
        let answer = self.dialect.rest(path, query, &view);
        if let Some(instrument) = view.shown.get()
            && let Some(fault) = state.armed.use_frozen(instrument)
        {
            self.turn(state).note(fault);
        }
        if answer.is_none() {
            count(&self.counters.bad_requests);
        }
        RestOutcome { answer, delay }
    }

    /// Ends everything.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
        self.turn(&mut self.lock()).order_all(Order::Cut);
    }

    /// Returns once [`Hub::stop`] was called.
    pub(crate) async fn stopped(&self) {
        // An error would mean that the sender, a field of `self`, is gone.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }
}

/// A refusal as venues word it, near enough: clients look at the status.
pub(crate) fn refusal(status: u16, retry_after_s: Option<u32>) -> RestAnswer {
    let headers = retry_after_s.map(|s| ("retry-after", s.to_string())).into_iter().collect();
    let body = format!(r#"{{"code":-{status},"msg":"refused by the simulator"}}"#).into_bytes();
    RestAnswer { status, headers, body }
}

/// The market for REST, with books frozen by faults.
struct View<'a> {
    model: &'a Model,
    armed: &'a Armed,
    /// The frozen book that was shown.
    shown: Cell<Option<usize>>,
}

impl RestView for View<'_> {
    fn listings(&self) -> &[Listing] {
        self.model.listings()
    }

    fn book(&self, instrument: usize) -> (&ModelBook, Ids, i64) {
        if let Some(frozen) = self.armed.frozen(instrument) {
            self.shown.set(Some(instrument));
            return (&frozen.book, frozen.ids, frozen.venue_ns);
        }
        let ids = self.model.ids(instrument);
        (self.model.book(instrument), ids, self.model.updated_ns(instrument))
    }
}

/// One change of the state, under the lock.
struct Turn<'a> {
    hub: &'a Hub,
    state: &'a mut State,
}

impl Turn<'_> {
    /// One update of the market, and the faults that are due before it.
    fn step(&mut self, instrument: Option<usize>) {
        self.fire_due();
        let update = match instrument {
            Some(instrument) => self.state.model.step_instrument(instrument),
            None => self.state.model.step(),
        };
        let update = update.clone();
        self.state.armed.note_update(update.instrument);
        count(&self.hub.counters.updates);
        self.publish(&update);
    }

    fn fire_due(&mut self) {
        let since_start_ns = self.state.model.now_ns() - self.state.start_ns;
        while let Some(fault) = self.state.armed.due(since_start_ns) {
            self.inject(fault);
        }
    }

    /// Remembers that a fault struck.
    fn note(&mut self, fault: Fault) {
        count(&self.hub.counters.faults);
        if self.state.fired.len() == MAX_FIRED {
            self.state.fired.pop_front();
        }
        let (model_ns, updates) = (self.state.model.now_ns(), self.state.armed.updates());
        self.state.fired.push_back(FiredFault { fault, model_ns, updates });
    }

    fn inject(&mut self, fault: Fault) -> bool {
        let instruments = self.state.model.listings().len();
        let is_listed = fault.instrument().is_none_or(|instrument| instrument < instruments);
        let accepted = is_listed && self.take_in(fault);
        if !accepted {
            count(&self.hub.counters.faults_refused);
        }
        accepted
    }

    /// Carries out a fault of the present moment, or lets it wait for its moment.
    fn take_in(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::KeepAlive { instrument } => self.keep_alive(instrument),
            Fault::ServiceRestart { instrument } => self.restart(instrument),
            Fault::Mute { instrument, channel } => {
                for client in &mut self.state.clients {
                    for subscription in &mut client.subscriptions {
                        let topic = subscription.topic;
                        subscription.muted |=
                            usize::from(topic.instrument) == instrument && topic.channel == channel;
                    }
                }
            }
            Fault::HalfOpen => self.order_all(Order::Freeze),
            Fault::Disconnect => self.order_all(Order::Cut),
            Fault::PlannedClose => {
                self.notify(Notice::PlannedClose);
                self.close_all(1001);
            }
            Fault::ReconnectRequest => self.notify(Notice::Reconnect),
            Fault::Oversized { bytes } => {
                let text = oversized(bytes.min(MAX_OVERSIZED_BYTES));
                for at in 0..self.state.clients.len() {
                    self.enqueue(at, Outgoing::Text(text.clone()));
                }
            }
            Fault::Garbage(garbage) => {
                let message = match garbage {
                    Garbage::NotJson => {
                        Outgoing::Text(Utf8Bytes::from_static("}{ not json \u{7f}"))
                    }
                    Garbage::OtherJson => {
                        Outgoing::Text(Utf8Bytes::from_static("[null,{\"\":[[[]]]},-0.0e-7]"))
                    }
                    Garbage::Binary => Outgoing::Binary(Bytes::from_static(b"\xff\x00\xfe{\x80")),
                };
                for at in 0..self.state.clients.len() {
                    self.enqueue(at, message.clone());
                }
            }
            Fault::StaleSnapshot { instrument, answers } => {
                let model = &self.state.model;
                let frozen = Frozen {
                    fault,
                    book: model.book(instrument).clone(),
                    ids: model.ids(instrument),
                    venue_ns: model.updated_ns(instrument),
                    answers,
                };
                self.state.armed.freeze(instrument, frozen);
                return true;
            }
            _ => return self.state.armed.arm(fault),
        }
        self.note(fault);
        true
    }

    fn restart(&mut self, instrument: usize) {
        match self.hub.facts.restart {
            Restart::Snapshot => {
                self.state.model.restart_count(instrument);
                for at in 0..self.state.clients.len() {
                    for place in 0..self.state.clients[at].subscriptions.len() {
                        let subscription = &self.state.clients[at].subscriptions[place];
                        let is_meant = usize::from(subscription.topic.instrument) == instrument;
                        if is_meant && !subscription.muted {
                            self.first_frame(at, place, true);
                        }
                    }
                }
            }
            Restart::SmallerLink => self.state.model.restart_link(instrument),
            Restart::Disconnect => {
                self.notify(Notice::ServiceUpgrade);
                self.close_all(1012);
            }
        }
    }

    fn order_all(&mut self, order: Order) {
        for client in &self.state.clients {
            // A session that was cut stays so.
            client.orders.send_if_modified(|present| {
                let changes = *present != Order::Cut && *present != order;
                if changes {
                    *present = order;
                }
                changes
            });
        }
    }

    fn close_all(&mut self, code: u16) {
        for at in 0..self.state.clients.len() {
            self.enqueue(at, Outgoing::Close(code));
        }
    }

    fn notify(&mut self, notice: Notice) {
        for at in 0..self.state.clients.len() {
            let state = &mut *self.state;
            state.out.clear();
            self.hub.dialect.write_notice(&mut state.clients[at].session, notice, &mut state.out);
            self.enqueue_rendered(at);
        }
    }

    fn keep_alive(&mut self, instrument: usize) {
        for at in 0..self.state.clients.len() {
            for place in 0..self.state.clients[at].subscriptions.len() {
                let subscription = &self.state.clients[at].subscriptions[place];
                let topic = subscription.topic;
                let is_book = matches!(topic.channel, Channel::Book | Channel::Top);
                if usize::from(topic.instrument) != instrument || !is_book || subscription.muted {
                    continue;
                }
                let State { model, clients, out, .. } = &mut *self.state;
                out.clear();
                let frame = book_frame(model, topic);
                self.hub.dialect.write_keep_alive(&mut clients[at].session, &frame, out);
                self.enqueue_rendered(at);
            }
        }
    }

    fn heartbeat(&mut self) {
        for at in 0..self.state.clients.len() {
            let client = &mut self.state.clients[at];
            let was_busy = std::mem::take(&mut client.was_busy);
            let is_due = match self.hub.facts.heartbeat {
                Heartbeat::None | Heartbeat::Topics(_) => false,
                Heartbeat::WhenQuiet(_) => !was_busy,
                Heartbeat::OnRequest => client.heartbeat.is_some(),
            };
            if is_due {
                self.one_heartbeat(at, None);
            }
            for place in 0..self.state.clients[at].subscriptions.len() {
                let subscription = &self.state.clients[at].subscriptions[place];
                if subscription.topic.channel == Channel::Heartbeat && !subscription.muted {
                    self.one_heartbeat(at, Some(subscription.topic));
                }
            }
        }
    }

    fn one_heartbeat(&mut self, at: usize, topic: Option<Topic>) {
        let State { model, clients, out, .. } = &mut *self.state;
        let instrument = topic.map_or(0, |topic| usize::from(topic.instrument));
        let frame = HeartbeatFrame {
            topic,
            listing: topic.map(|_| &model.listings()[instrument]),
            ids: model.ids(instrument),
            last_trade_id: model.last_trade_id(instrument),
            venue_ns: model.now_ns(),
        };
        out.clear();
        self.hub.dialect.write_heartbeat(&mut clients[at].session, &frame, out);
        self.enqueue_rendered(at);
    }

    /// Sends an update to everyone who subscribed to something it touches.
    fn publish(&mut self, update: &Update) {
        let wants_book = |client: &Client| {
            client.subscriptions.iter().any(|s| {
                usize::from(s.topic.instrument) == update.instrument
                    && s.topic.channel == Channel::Book
                    && !s.muted
            })
        };
        let is_received = self.state.clients.iter().any(wants_book);
        let fault = is_received.then(|| self.state.armed.take_book(update.instrument)).flatten();
        if let Some(fault) = fault {
            self.note(fault);
        }
        for at in 0..self.state.clients.len() {
            for place in 0..self.state.clients[at].subscriptions.len() {
                let topic = self.state.clients[at].subscriptions[place].topic;
                if usize::from(topic.instrument) == update.instrument {
                    self.publish_to(at, place, topic, update, fault);
                }
            }
        }
    }

    fn publish_to(
        &mut self,
        at: usize,
        place: usize,
        topic: Topic,
        update: &Update,
        fault: Option<Fault>,
    ) {
        let State { model, clients, out, .. } = &mut *self.state;
        let Client { session, subscriptions, .. } = &mut clients[at];
        let subscription = &mut subscriptions[place];
        let dialect = &self.hub.dialect;
        let listing = &model.listings()[update.instrument];
        let book = model.book(update.instrument);
        let (ids, venue_ns) = (update.ids, update.venue_ns);
        let changes = match &mut subscription.view {
            Some(view) => view.advance(book, self.hub.facts.leaving_level),
            None => &update.changes[..],
        };
        if subscription.muted {
            return;
        }
        out.clear();
        match topic.channel {
            Channel::Book => {
                let checksum = match fault {
                    Some(Fault::WrongChecksum { .. }) => Checksum::Wrong,
                    Some(Fault::ZeroChecksum { .. }) => Checksum::Zero,
                    _ => Checksum::True,
                };
                let is_restart = false;
                let frame = BookFrame {
                    listing,
                    topic,
                    book,
                    changes,
                    ids,
                    venue_ns,
                    checksum,
                    is_restart,
                };
                dialect.write_update(session, &frame, out);
                if !out.is_empty() {
                    self.enqueue_book(at, topic.instrument, fault);
                }
                return;
            }
            Channel::Top if update.top_changed => {
                let (top, is_first) = (book.top(), false);
                let frame = TopFrame { listing, topic, top, ids, venue_ns, is_first };
                dialect.write_top(session, &frame, out);
            }
            Channel::Trade => {
                let Some(trade) = update.trade else { return };
                let frame = TradeFrame { listing, topic, trade, ids, venue_ns };
                dialect.write_trade(session, &frame, out);
            }
            _ => return,
        }
        self.enqueue_rendered(at);
    }

    /// Sends the rendered book frame as the fault says, and the delayed ones it releases.
    fn enqueue_book(&mut self, at: usize, instrument: u16, fault: Option<Fault>) {
        let text = text_of(&self.state.out);
        match fault {
            Some(Fault::DropUpdates { .. }) => return count(&self.hub.counters.frames_dropped),
            Some(Fault::DelayUpdate { updates, .. })
                if updates > 0 && self.state.clients[at].held.len() < MAX_HELD =>
            {
                self.state.clients[at].held.push(Held { instrument, frames: updates, text });
                return;
            }
            Some(Fault::DuplicateUpdate { .. }) => {
                self.enqueue(at, Outgoing::Text(text.clone()));
                self.enqueue(at, Outgoing::Text(text));
            }
            Some(Fault::Garble { how, .. }) => {
                let damaged = match how {
                    Garble::Truncated => truncated(&text).to_owned(),
                    Garble::WrongTypes => with_wrong_types(&text),
                };
                self.enqueue(at, Outgoing::Text(damaged.into()));
            }
            Some(Fault::SlowLoris { pause, .. }) => {
                self.enqueue(at, Outgoing::Dribble(text, pause));
            }
            _ => self.enqueue(at, Outgoing::Text(text)),
        }
        let held = &mut self.state.clients[at].held;
        held.iter_mut().filter(|h| h.instrument == instrument).for_each(|h| h.frames -= 1);
        while let Some(ready) = self.state.clients[at].held.iter().position(|h| h.frames == 0) {
            let held = self.state.clients[at].held.remove(ready);
            self.enqueue(at, Outgoing::Text(held.text));
        }
    }

    fn carry_out(&mut self, at: usize, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Reply(text) => self.enqueue(at, Outgoing::Text(text.as_str().into())),
                Effect::Subscribe(topic) => self.subscribe(at, *topic),
                Effect::Unsubscribe(topic) => self.unsubscribe(at, *topic),
                Effect::Heartbeat(every) => self.state.clients[at].heartbeat = Some(*every),
                Effect::Close(code) => self.enqueue(at, Outgoing::Close(*code)),
                Effect::BadRequest => count(&self.hub.counters.bad_requests),
            }
        }
    }

    fn subscribe(&mut self, at: usize, topic: Topic) {
        let instrument = usize::from(topic.instrument);
        let held = &self.state.clients[at].subscriptions;
        let known = held.iter().position(|s| s.topic == topic);
        let is_listed = instrument < self.state.model.listings().len();
        if !is_listed || known.is_none() && held.len() >= MAX_TOPICS {
            return count(&self.hub.counters.bad_requests);
        }
        count(&self.hub.counters.subscriptions);
        let mute = self.state.armed.take_mute(instrument, topic.channel);
        if let Some(fault) = mute {
            self.note(fault);
        }
        let subscription = Subscription { topic, muted: mute.is_some(), view: None };
        let client = &mut self.state.clients[at];
        let place = known.unwrap_or(client.subscriptions.len());
        match client.subscriptions.get_mut(place) {
            Some(present) => *present = subscription,
            None => client.subscriptions.push(subscription),
        }
        // What was delayed before belongs to the old stream.
        client.held.retain(|h| topic.channel != Channel::Book || h.instrument != topic.instrument);
        if mute.is_none() {
            self.first_frame(at, place, false);
        }
    }

    fn unsubscribe(&mut self, at: usize, topic: Topic) {
        let client = &mut self.state.clients[at];
        let before = client.subscriptions.len();
        client.subscriptions.retain(|s| s.topic != topic);
        let ended = before - client.subscriptions.len();
        client.held.retain(|h| topic.channel != Channel::Book || h.instrument != topic.instrument);
        add(&self.hub.counters.unsubscriptions, ended as u64);
    }

    /// The snapshot or first top of a subscription.
    fn first_frame(&mut self, at: usize, place: usize, is_restart: bool) {
        let State { model, clients, out, .. } = &mut *self.state;
        let Client { session, subscriptions, .. } = &mut clients[at];
        let subscription = &mut subscriptions[place];
        let topic = subscription.topic;
        let frame = BookFrame { is_restart, ..book_frame(model, topic) };
        out.clear();
        match topic.channel {
            Channel::Book => {
                let is_limited = topic.depth > 0;
                subscription.view = is_limited.then(|| DepthView::new(topic.depth, frame.book));
                if self.hub.facts.snapshot == SnapshotSource::Stream {
                    self.hub.dialect.write_snapshot(session, &frame, out);
                }
            }
            Channel::Top => {
                let frame = TopFrame {
                    listing: frame.listing,
                    topic,
                    top: frame.book.top(),
                    ids: frame.ids,
                    venue_ns: frame.venue_ns,
                    is_first: true,
                };
                self.hub.dialect.write_top(session, &frame, out);
            }
            Channel::Trade | Channel::Heartbeat => {}
        }
        self.enqueue_rendered(at);
    }

    /// Sends what was rendered, if anything was.
    fn enqueue_rendered(&mut self, at: usize) {
        if !self.state.out.is_empty() {
            let text = text_of(&self.state.out);
            self.enqueue(at, Outgoing::Text(text));
        }
    }

    fn enqueue(&mut self, at: usize, message: Outgoing) {
        let client = &mut self.state.clients[at];
        if *client.orders.borrow() != Order::Run {
            return count(&self.hub.counters.frames_dropped);
        }
        let bytes = match &message {
            Outgoing::Text(text) | Outgoing::Dribble(text, _) => text.len(),
            Outgoing::Binary(bytes) => bytes.len(),
            Outgoing::Close(_) => 0,
        };
        if client.queue.try_send(message).is_err() {
            // Full: too slow. Closed: the session is about to detach itself.
            if client.queue.capacity() == 0 && !client.queue.is_closed() {
                count(&self.hub.counters.slow_clients);
            }
            count(&self.hub.counters.frames_dropped);
            client.orders.send_replace(Order::Cut);
            return;
        }
        client.was_busy = true;
        count(&self.hub.counters.frames_queued);
        add(&self.hub.counters.bytes_queued, bytes as u64);
    }
}

/// The present state of a book, as a frame without changes.
fn book_frame(model: &Model, topic: Topic) -> BookFrame<'_> {
    let instrument = usize::from(topic.instrument);
    BookFrame {
        listing: &model.listings()[instrument],
        topic,
        book: model.book(instrument),
        changes: &[],
        ids: model.ids(instrument),
        venue_ns: model.updated_ns(instrument),
        checksum: Checksum::True,
        is_restart: false,
    }
}

fn oversized(bytes: usize) -> Utf8Bytes {
    const HEAD: &str = "{\"padding\":\"";
    const TAIL: &str = "\"}";
    let padding = bytes.saturating_sub(HEAD.len() + TAIL.len());
    format!("{HEAD}{}{TAIL}", "x".repeat(padding)).into()
}

/// Dialects write UTF-8; a defect of one shows as replacement characters at the client.
fn text_of(bytes: &[u8]) -> Utf8Bytes {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned().into(),
    }
}
