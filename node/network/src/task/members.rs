//! Who is let in, who has to go.

use std::time::Duration;

use crate::p2p::{
    Multiaddr, PeerId,
    request_response::{self, ResponseChannel},
};
use codec::{DecodeAll, Encode};
use commonwatt_primitives::AccountId;

use super::Task;
use crate::{
    admission::Admit,
    behaviour::Wire,
    bucket::Bucket,
    event::Event,
    handle::PeerInfo,
    hello::{Claim, Hello, HelloAnswer, PROTOCOL_VERSION, hello_payload, readable_reason},
    limits::{
        GOSSIP_BURST_SECONDS, GOSSIP_RATE, HELLO_BURST, PEERS_PER_ACCOUNT_MAX, PING_FAILURES_MAX,
        PROPOSAL_BYTES_RATE, REFUSED_FOR, REFUSED_TRUSTED_FOR, REQUEST_BURST, REQUEST_RATE,
        STATUS_BURST, STATUS_RATE, STRANGERS_MAX,
    },
    numbers::PeerNumber,
    peer_book::{Refusal, Standing},
    traffic::count,
};

/// How often a hello is said again that did not arrive.
const HELLO_ATTEMPTS_MAX: u32 = 3;

/// Gossip's own score of a peer from which on messages with wrong signatures count against it: two within some
/// seconds.
const GOSSIP_SCORE_TOLERATED: f64 = -3.0;

/// How often gossip's own scores are looked at.
const GOSSIP_SCORES_EVERY: Duration = Duration::from_secs(1);

/// Somebody who is connected.
#[derive(Debug)]
pub(super) struct Peer {
    address: Multiaddr,
    since: Duration,
    member: Option<Member>,
    /// It has let this node in.
    is_welcoming: bool,
    /// It is told so and then has to go.
    is_refused: bool,
    hellos_said: u32,
    /// As whom this node has said hello last.
    said_account: Option<AccountId>,
    hellos: Bucket,
    pub(super) gossip: [Bucket; 4],
    /// Bytes of its proposals.
    pub(super) proposal_bytes: Bucket,
    pub(super) requests: [Bucket; 3],
    /// Requests of it that are being answered, by kind.
    pub(super) served: [usize; 3],
    /// Requests to it that are not answered.
    pub(super) asked: usize,
    /// A status to it is under way, and whether there is a newer one.
    pub(super) is_status_asked: bool,
    pub(super) is_status_stale: bool,
    /// Statuses to it.
    pub(super) statuses: Bucket,
    ping_failures: u32,
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) number: PeerNumber,
    account: Option<AccountId>,
    hello: Hello,
    pub(super) decided: Option<u32>,
}

impl Peer {
    fn new(address: Multiaddr, now: Duration) -> Self {
        Self {
            address,
            since: now,
            member: None,
            is_welcoming: false,
            is_refused: false,
            hellos_said: 0,
            said_account: None,
            hellos: Bucket::new(1, HELLO_BURST, now),
            gossip: GOSSIP_RATE
                .map(|rate| Bucket::new(rate, rate.saturating_mul(GOSSIP_BURST_SECONDS), now)),
            proposal_bytes: Bucket::new(
                PROPOSAL_BYTES_RATE,
                PROPOSAL_BYTES_RATE.saturating_mul(GOSSIP_BURST_SECONDS),
                now,
            ),
            requests: [(); 3].map(|()| Bucket::new(REQUEST_RATE, REQUEST_BURST, now)),
            served: [0; 3],
            asked: 0,
            is_status_asked: false,
            is_status_stale: false,
            statuses: Bucket::new(STATUS_RATE, STATUS_BURST, now),
            ping_failures: 0,
        }
    }

    /// Returns it as a member, if it is one.
    pub(super) fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    /// Returns it as a member, if it is one.
    pub(super) fn member_mut(&mut self) -> Option<&mut Member> {
        self.member.as_mut()
    }

    /// Returns whether both sides have let each other in.
    pub(super) fn is_ready(&self) -> bool {
        self.member.is_some() && self.is_welcoming
    }
}

/// Why somebody is not let in.
enum Rejection {
    /// For a reason that is told.
    Refused(String),
    /// It claimed to be somebody else.
    Forged,
}

impl Task {
    // ------------------------------------------------------------ coming and going

    pub(super) fn on_connected(&mut self, peer: PeerId, address: &Multiaddr) {
        let now = self.now();
        if self.book.blocked_until(&peer, now).is_some() {
            return self.disconnect(peer);
        }
        self.dialer.note_connected(&peer);
        if self.peers.contains_key(&peer) {
            return;
        }
        self.peers.insert(peer, Peer::new(address.clone(), now));
        self.make_room_for_strangers();
        self.say_hello(peer);
    }

    /// Sends away the stranger that waits longest when there are too many.
    fn make_room_for_strangers(&mut self) {
        let strangers = self
            .peers
            .iter()
            .filter(|(id, peer)| peer.member.is_none() && !self.configured.contains(id));
        if strangers.clone().count() > STRANGERS_MAX
            && let Some((oldest, _)) = strangers.min_by_key(|(_, peer)| peer.since)
        {
            let oldest = *oldest;
            self.disconnect(oldest);
        }
    }

    pub(super) fn on_gone(&mut self, peer: PeerId) {
        let now = self.now();
        let blocked_until = self.book.blocked_until(&peer, now);
        self.dialer.note_gone(&peer, now, blocked_until);
        if let Some(gone) = self.peers.remove(&peer)
            && let Some(member) = gone.member
        {
            tracing::info!(%peer, account = ?member.account, "a peer has left");
            self.publish_peers();
            self.inbox.push_gone(member.number);
        }
    }

    pub(super) fn disconnect(&mut self, peer: PeerId) {
        // An error says that it is gone already.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    /// Keeps a peer out that was not let in; it may try again later.
    fn shut_out(&mut self, peer: PeerId) {
        let now = self.now();
        let time = if self.configured.contains(&peer) {
            REFUSED_TRUSTED_FOR
        } else {
            REFUSED_FOR
        };
        self.book.shut_out(peer, now.saturating_add(time), now);
        self.block(peer);
    }

    /// Closes all connections of a peer and takes none until the book releases it.
    fn block(&mut self, peer: PeerId) {
        self.swarm.behaviour_mut().blocked.block_peer(peer);
        // The list is bounded like the book: whom the book has forgotten is free.
        let blocked = self.swarm.behaviour().blocked.blocked_peers();
        if blocked.len() > self.book.len() {
            let forgotten: Vec<PeerId> = blocked
                .iter()
                .filter(|peer| !self.book.is_remembered(peer))
                .copied()
                .collect();
            for peer in forgotten {
                self.swarm.behaviour_mut().blocked.unblock_peer(peer);
            }
        }
    }

    /// Returns whether a peer is a validator, or named by the operator.
    fn is_trusted(&self, peer: &PeerId) -> bool {
        let member = self.peers.get(peer).and_then(Peer::member);
        self.configured.contains(peer) || member.is_some_and(|member| member.account.is_some())
    }

    /// Counts something against a peer, and bans it when that is too much.
    pub(super) fn refuse(&mut self, peer: PeerId, refusal: Refusal) {
        let now = self.now();
        self.shared.counters.add_refusal(refusal);
        let is_trusted = self.is_trusted(&peer);
        tracing::debug!(%peer, ?refusal, "counted against a peer");
        if let Standing::Banned { until } = self.book.record(peer, refusal, now, is_trusted) {
            let seconds = until.saturating_sub(now).as_secs();
            tracing::warn!(%peer, ?refusal, seconds, "a peer is banned");
            count(&self.shared.counters.bans, 1);
            self.block(peer);
        }
    }

    /// Sends away those whose time to be let in is over.
    pub(super) fn send_away_the_silent(&mut self, now: Duration) {
        let is_late = |peer: &Peer| !peer.is_ready() && now >= peer.since + self.timeouts.hello;
        let late: Vec<(PeerId, bool)> = self
            .peers
            .iter()
            .filter(|(_, peer)| is_late(peer))
            .map(|(id, peer)| (*id, peer.member.is_none()))
            .collect();
        for (peer, is_stranger) in late {
            if is_stranger {
                tracing::debug!(%peer, "a peer did not say hello in time");
                self.shut_out(peer);
            } else {
                tracing::debug!(%peer, "a peer did not let this node in in time");
                self.disconnect(peer);
            }
        }
    }

    // ------------------------------------------------------------ hello

    /// Returns this node's hello to a peer.
    fn hello_to(&self, peer: &PeerId) -> Hello {
        let payload = hello_payload(&self.genesis, &self.own, peer);
        Hello {
            version: PROTOCOL_VERSION,
            genesis: self.genesis,
            claim: self.introduction.claim(&payload),
        }
    }

    fn say_hello(&mut self, id: PeerId) {
        let hello = self.hello_to(&id);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.hellos_said += 1;
        peer.said_account = claimed_account(&hello.claim);
        let bytes = Wire::Bytes(hello.encode());
        self.swarm.behaviour_mut().hello.send_request(&id, bytes);
    }

    /// Decides about a hello, without doing anything.
    fn verify_hello(&self, id: &PeerId, hello: &Hello) -> Result<Option<AccountId>, Rejection> {
        let refused = |reason: String| Err(Rejection::Refused(reason));
        if hello.version != PROTOCOL_VERSION {
            return refused(format!(
                "version {} of the protocol is not {PROTOCOL_VERSION}: update the older node",
                hello.version
            ));
        }
        if hello.genesis != self.genesis {
            return refused(format!(
                "another chain: genesis {:?} here, {:?} there",
                self.genesis, hello.genesis
            ));
        }
        let account = match &hello.claim {
            Claim::Full if self.full_nodes.contains(id) => None,
            claim => {
                let signed = hello_payload(&self.genesis, id, &self.own);
                match self.admission.admit(id, hello, &signed) {
                    Admit::Validator(account) => {
                        if claimed_account(claim) != Some(account.clone()) {
                            return refused("its account is not the one it claims".to_owned());
                        }
                        Some(account)
                    }
                    Admit::Full => None,
                    Admit::Refused(reason) => return refused(reason),
                    Admit::Forged => return Err(Rejection::Forged),
                }
            }
        };
        let others = || {
            let is_other = |(other, _): &(&PeerId, &Peer)| *other != id;
            self.peers
                .iter()
                .filter(is_other)
                .filter_map(|(_, peer)| peer.member())
        };
        if account.is_some()
            && others().filter(|other| other.account == account).count() >= PEERS_PER_ACCOUNT_MAX
        {
            return refused(format!(
                "{PEERS_PER_ACCOUNT_MAX} other nodes are here with this account: stop all but one"
            ));
        }
        if others().count() >= self.peers_max && !self.configured.contains(id) {
            return refused("no room for more peers".to_owned());
        }
        Ok(account)
    }

    /// Lets a peer in, or finds out why not.
    fn process_hello(&mut self, id: PeerId, hello: Hello) -> Result<(), Rejection> {
        let account = self.verify_hello(&id, &hello)?;
        let Some(peer) = self.peers.get_mut(&id) else {
            return Err(Rejection::Refused("it is gone".to_owned()));
        };
        if let Some(member) = &mut peer.member {
            member.account = account;
            member.hello = hello;
            return Ok(());
        }
        let peers = &self.peers;
        let number = self.numbers.assign(id, |peer| peers.contains_key(peer));
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.member = Some(Member {
                number,
                account: account.clone(),
                hello,
                decided: None,
            });
        }
        // Whoever is told of it finds it among the peers.
        self.publish_peers();
        let is_told = self.inbox.push_joined(Event::PeerJoined {
            peer: number,
            id,
            account: account.clone(),
        });
        if !is_told {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.member = None;
            }
            self.publish_peers();
            return Err(Rejection::Refused("too much to do here".to_owned()));
        }
        tracing::info!(peer = %id, ?account, "a peer was let in");
        self.swarm.behaviour_mut().gate.let_in(&id);
        self.open_if_ready(id);
        Ok(())
    }

    /// Opens the gate when both sides have let each other in.
    fn open_if_ready(&mut self, id: PeerId) {
        if self.peers.get(&id).is_some_and(Peer::is_ready) {
            self.swarm.behaviour_mut().gate.open(&id);
            self.dialer.note_reached(&id);
            let decided = self.decided();
            self.send_status_to(id, decided);
        }
    }

    /// Does what a rejection asks for; returns what the peer is told.
    fn reject(&mut self, peer: PeerId, rejection: Rejection) -> String {
        count(&self.shared.counters.hellos_refused, 1);
        match rejection {
            Rejection::Refused(reason) => {
                tracing::info!(%peer, %reason, "a peer was not let in");
                reason
            }
            Rejection::Forged => {
                self.refuse(peer, Refusal::ForgedHello);
                "the signature is not by the vote key of the account".to_owned()
            }
        }
    }

    pub(super) fn on_hello_event(&mut self, event: request_response::Event<Wire, Wire>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message, .. } => match message {
                Message::Request {
                    request, channel, ..
                } => self.on_hello(peer, request, channel),
                Message::Response { response, .. } => self.on_hello_answer(peer, response),
            },
            Event::OutboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a hello did not arrive");
                let said = self.peers.get(&peer).map(|peer| peer.hellos_said);
                match said {
                    // Of two connections that both sides opened at once, one may be closed.
                    Some(said) if said < HELLO_ATTEMPTS_MAX => self.say_hello(peer),
                    Some(_) => self.shut_out(peer),
                    None => {}
                }
            }
            Event::ResponseSent { peer, .. } | Event::InboundFailure { peer, .. } => {
                if self.peers.get(&peer).is_some_and(|peer| peer.is_refused) {
                    self.shut_out(peer);
                }
            }
        }
    }

    fn on_hello(&mut self, id: PeerId, request: Wire, channel: ResponseChannel<Wire>) {
        let now = self.now();
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if !peer.hellos.take(now) {
            return self.refuse(id, Refusal::Flood);
        }
        let Some(hello) = self.decode_hello::<Hello>(id, request) else {
            return;
        };
        let answer = match self.process_hello(id, hello) {
            Ok(()) => HelloAnswer::Welcome(self.hello_to(&id)),
            Err(rejection) => {
                let reason = self.reject(id, rejection);
                if let Some(peer) = self.peers.get_mut(&id) {
                    // It goes when it has been told.
                    peer.is_refused = true;
                }
                HelloAnswer::refused(&reason)
            }
        };
        let answer = Wire::Bytes(answer.encode());
        // An error says that it is gone.
        let _ = self
            .swarm
            .behaviour_mut()
            .hello
            .send_response(channel, answer);
    }

    fn on_hello_answer(&mut self, id: PeerId, answer: Wire) {
        match self.decode_hello::<HelloAnswer>(id, answer) {
            Some(HelloAnswer::Welcome(hello)) => {
                let was_ready = self.peers.get(&id).is_some_and(Peer::is_ready);
                match self.process_hello(id, hello) {
                    Ok(()) => {
                        if let Some(peer) = self.peers.get_mut(&id) {
                            peer.is_welcoming = true;
                            peer.hellos_said = 0;
                        }
                        if !was_ready {
                            self.open_if_ready(id);
                        }
                    }
                    Err(rejection) => {
                        self.reject(id, rejection);
                        // If it is just being told why, it goes when it has been told.
                        if self.peers.get(&id).is_some_and(|peer| !peer.is_refused) {
                            self.shut_out(id);
                        }
                    }
                }
            }
            Some(HelloAnswer::Refused(reason)) => {
                let reason = readable_reason(&reason);
                tracing::warn!(peer = %id, reason, "a peer does not let this node in");
                self.disconnect(id);
            }
            None => {}
        }
    }

    /// Decodes what was said; what is not a hello counts against the peer, which has to go.
    fn decode_hello<T: DecodeAll>(&mut self, peer: PeerId, wire: Wire) -> Option<T> {
        let refusal = match wire {
            Wire::Bytes(bytes) => match T::decode_all(&mut &bytes[..]) {
                Ok(said) => return Some(said),
                Err(_) => Refusal::Garbage,
            },
            Wire::TooLong(_) => Refusal::Oversized,
            Wire::CutOff => Refusal::Garbage,
        };
        self.refuse(peer, refusal);
        self.shut_out(peer);
        None
    }

    // ------------------------------------------------------------ afterwards

    /// Judges all members again, and lets those try again that were not let in.
    pub(super) fn recheck(&mut self) {
        for peer in self.book.forget_shut_outs() {
            self.swarm.behaviour_mut().blocked.unblock_peer(peer);
            self.dialer.hurry(&peer);
        }
        let members: Vec<(PeerId, Hello)> = self
            .peers
            .iter()
            .filter_map(|(id, peer)| Some((*id, peer.member.as_ref()?.hello.clone())))
            .collect();
        for (id, hello) in members {
            match self.process_hello(id, hello) {
                Ok(()) => {
                    let claim = self.hello_to(&id).claim;
                    let said = self.peers.get(&id).map(|peer| peer.said_account.clone());
                    if said != Some(claimed_account(&claim)) {
                        self.say_hello(id);
                    }
                }
                Err(rejection) => {
                    self.reject(id, rejection);
                    self.shut_out(id);
                }
            }
        }
        self.publish_peers();
    }

    /// Notes how a ping went.
    pub(super) fn on_ping(&mut self, id: PeerId, is_answered: bool) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if is_answered {
            peer.ping_failures = 0;
            return;
        }
        peer.ping_failures += 1;
        if peer.ping_failures >= PING_FAILURES_MAX {
            tracing::info!(peer = %id, "a peer answers no pings: its connection is closed");
            self.disconnect(id);
        }
    }

    /// Counts messages with wrong signatures, which gossip itself has thrown away.
    pub(super) fn read_gossip_scores(&mut self, now: Duration) {
        if now < self.scores_read + GOSSIP_SCORES_EVERY {
            return;
        }
        self.scores_read = now;
        let members = self.swarm.behaviour().gate.inner();
        let bad: Vec<PeerId> = self
            .peers
            .keys()
            .filter(|peer| members.gossip_score(peer) < GOSSIP_SCORE_TOLERATED)
            .copied()
            .collect();
        for peer in bad {
            self.refuse(peer, Refusal::Garbage);
        }
    }

    /// Shows the members to the handles.
    pub(super) fn publish_peers(&self) {
        let now = self.now();
        let info = |(id, peer): (&PeerId, &Peer)| {
            let member = peer.member.as_ref()?;
            Some(PeerInfo {
                number: member.number,
                id: *id,
                account: member.account.clone(),
                decided: member.decided,
                score: self.book.score(id, now),
                address: peer.address.clone(),
            })
        };
        let mut infos: Vec<PeerInfo> = self.peers.iter().filter_map(info).collect();
        infos.sort_by_key(|info| info.number);
        let count = u64::try_from(infos.len()).unwrap_or(u64::MAX);
        let peers = &self.shared.counters.peers;
        peers.store(count, std::sync::atomic::Ordering::Relaxed);
        *self.shared.peers.lock() = infos;
    }
}

fn claimed_account(claim: &Claim) -> Option<AccountId> {
    match claim {
        Claim::Full => None,
        Claim::Validator { account, .. } => Some(account.clone()),
    }
}
