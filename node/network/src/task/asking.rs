//! Requests, in and out.

use crate::p2p::{
    PeerId,
    request_response::{
        Event as RequestEvent, InboundFailure, InboundRequestId, Message, OutboundFailure,
        OutboundRequestId, ResponseChannel,
    },
};
use codec::{DecodeAll, Encode};
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::Task;
use crate::{
    behaviour::{Requests, Wire},
    error::RequestError,
    event::{IncomingRequest, Request, Responder},
    handle::Answerer,
    limits::{
        ANSWERS_BYTES_MAX, REQUEST_TIMEOUT, REQUESTS_ASKED_PER_PEER_MAX, REQUESTS_SERVED_MAX,
        REQUESTS_SERVED_PER_PEER_MAX,
    },
    numbers::PeerNumber,
    peer_book::Refusal,
    requests::{
        ANSWER_BUSY, Answer, BlocksRequest, FetchedTransaction, TransactionsRequest, decode_answer,
    },
    traffic::count,
};

/// Kinds of requests between members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Status,
    Blocks,
    Transactions,
}

impl Kind {
    const fn index(self) -> usize {
        match self {
            Self::Status => 0,
            Self::Blocks => 1,
            Self::Transactions => 2,
        }
    }
}

/// A request that this node has asked.
pub(super) struct Asked {
    peer: PeerId,
    what: Question,
}

enum Question {
    Status,
    Blocks(BlocksRequest, Answerer<Vec<u8>>),
    Transactions(TransactionsRequest, Answerer<FetchedTransaction>),
}

/// A request of a peer to which the caller has an answer, or none.
pub(super) struct Served {
    kind: Kind,
    peer: PeerId,
    id: InboundRequestId,
    channel: ResponseChannel<Wire>,
    answer: Option<Vec<u8>>,
}

impl Task {
    fn requests(&mut self, kind: Kind) -> &mut Requests {
        let members = self.swarm.behaviour_mut().gate.inner_mut();
        match kind {
            Kind::Status => &mut members.status,
            Kind::Blocks => &mut members.sync,
            Kind::Transactions => &mut members.fetch,
        }
    }

    pub(super) fn on_request_event(&mut self, kind: Kind, event: RequestEvent<Wire, Wire>) {
        match event {
            RequestEvent::Message { peer, message, .. } => match message {
                Message::Request {
                    request_id,
                    request,
                    channel,
                } => self.on_request(kind, peer, request_id, request, channel),
                Message::Response {
                    request_id,
                    response,
                } => self.on_answer(kind, request_id, response),
            },
            RequestEvent::OutboundFailure {
                request_id, error, ..
            } => self.on_no_answer(kind, request_id, &error),
            RequestEvent::InboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                tracing::debug!(%peer, ?kind, %error, "a request was not answered");
                self.finish_serving(kind, peer);
                if matches!(error, InboundFailure::Timeout)
                    && self.answers.contains_key(&(kind, request_id))
                {
                    self.refuse(peer, Refusal::Slow);
                }
                self.release_answer(kind, request_id);
            }
            RequestEvent::ResponseSent {
                peer, request_id, ..
            } => {
                self.finish_serving(kind, peer);
                self.release_answer(kind, request_id);
            }
        }
    }

    // ------------------------------------------------------------ asked by peers

    fn on_request(
        &mut self,
        kind: Kind,
        id: PeerId,
        request_id: InboundRequestId,
        request: Wire,
        channel: ResponseChannel<Wire>,
    ) {
        let now = self.now();
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(number) = peer.member().map(|member| member.number) else {
            return;
        };
        peer.served[kind.index()] += 1;
        if !peer.requests[kind.index()].take(now) {
            self.answer_busy(kind, channel);
            return self.refuse(id, Refusal::Flood);
        }
        let is_over = peer.served[kind.index()] > REQUESTS_SERVED_PER_PEER_MAX;
        let bytes = match request {
            Wire::Bytes(bytes) => bytes,
            Wire::TooLong(_) => return self.refuse(id, Refusal::Oversized),
            Wire::CutOff => return self.refuse(id, Refusal::Garbage),
        };
        if is_over || self.serving.len() >= REQUESTS_SERVED_MAX {
            return self.answer_busy(kind, channel);
        }
        let taken = match kind {
            Kind::Status => {
                let Ok(decided) = u32::decode_all(&mut &bytes[..]) else {
                    return self.refuse(id, Refusal::Garbage);
                };
                self.note_status(id, decided);
                let own = self.decided().encode();
                // An error says that it is gone.
                let _ = self.requests(kind).send_response(channel, Wire::Bytes(own));
                return;
            }
            Kind::Blocks => decode_blocks_request(&bytes),
            Kind::Transactions => decode_transactions_request(&bytes),
        };
        let Some((request, answer)) = taken else {
            return self.refuse(id, Refusal::Garbage);
        };
        let request = IncomingRequest {
            peer: number,
            request,
        };
        if !self.inbox.push_request(request) {
            return self.answer_busy(kind, channel);
        }
        count(&self.shared.counters.requests_taken, 1);
        let serve: BoxFuture<'static, Served> = Box::pin(async move {
            // Whoever does not answer in time has no answer.
            let answer = tokio::time::timeout(REQUEST_TIMEOUT, answer).await;
            Served {
                kind,
                peer: id,
                id: request_id,
                channel,
                answer: answer.ok().and_then(Result::ok),
            }
        });
        self.serving.push(serve);
    }

    fn answer_busy(&mut self, kind: Kind, channel: ResponseChannel<Wire>) {
        count(&self.shared.counters.requests_busy, 1);
        let busy = Wire::Bytes(ANSWER_BUSY.to_vec());
        // An error says that it is gone.
        let _ = self.requests(kind).send_response(channel, busy);
    }

    /// Sends the caller's answer; without one the peer sees the stream closed.
    pub(super) fn send_answer(&mut self, served: Served) {
        let Served {
            kind,
            peer,
            id,
            channel,
            answer,
        } = served;
        let Some(answer) = answer else {
            return;
        };
        let bytes = answer.len();
        if self.answers_bytes.saturating_add(bytes) > ANSWERS_BYTES_MAX {
            tracing::debug!(%peer, ?kind, bytes, "answers under way leave no room for another");
            return self.answer_busy(kind, channel);
        }
        let sent = self
            .requests(kind)
            .send_response(channel, Wire::Bytes(answer));
        if sent.is_ok() {
            self.answers_bytes += bytes;
            self.answers.insert((kind, id), bytes);
        }
    }

    fn release_answer(&mut self, kind: Kind, id: InboundRequestId) {
        if let Some(bytes) = self.answers.remove(&(kind, id)) {
            self.answers_bytes -= bytes;
        }
    }

    fn finish_serving(&mut self, kind: Kind, peer: PeerId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            let served = &mut peer.served[kind.index()];
            *served = served.saturating_sub(1);
        }
    }

    fn note_status(&mut self, id: PeerId, decided: u32) {
        let member = self.peers.get_mut(&id).and_then(|peer| peer.member_mut());
        if let Some(member) = member {
            member.decided = Some(decided);
            self.inbox.push_status(member.number, decided);
        }
    }

    // ------------------------------------------------------------ asking peers

    /// Sends a request to a member; the question comes back when there are too many, or nobody to ask.
    fn ask(
        &mut self,
        kind: Kind,
        number: PeerNumber,
        request: Vec<u8>,
        what: Question,
    ) -> Result<(), (RequestError, Question)> {
        let Some(id) = self.numbers.peer(number) else {
            return Err((RequestError::NotConnected, what));
        };
        // Should it not have let this node in yet, the gate holds the request until it has.
        let Some(peer) = self
            .peers
            .get_mut(&id)
            .filter(|peer| peer.member().is_some())
        else {
            return Err((RequestError::NotConnected, what));
        };
        if peer.asked >= REQUESTS_ASKED_PER_PEER_MAX {
            return Err((RequestError::TooManyAsked, what));
        }
        peer.asked += 1;
        let request_id = self.requests(kind).send_request(&id, Wire::Bytes(request));
        self.asked
            .insert((kind, request_id), Asked { peer: id, what });
        Ok(())
    }

    pub(super) fn ask_blocks(
        &mut self,
        peer: PeerNumber,
        request: BlocksRequest,
        answer: Answerer<Vec<u8>>,
    ) {
        let question = Question::Blocks(request, answer);
        if let Err((error, question)) = self.ask(Kind::Blocks, peer, request.encode(), question) {
            question.fail(error);
        }
    }

    pub(super) fn ask_transactions(
        &mut self,
        peer: PeerNumber,
        request: TransactionsRequest,
        answer: Answerer<FetchedTransaction>,
    ) {
        let bytes = request.encode();
        let question = Question::Transactions(request, answer);
        if let Err((error, question)) = self.ask(Kind::Transactions, peer, bytes, question) {
            question.fail(error);
        }
    }

    pub(super) fn send_status(&mut self, peer: PeerNumber, decided: u32) {
        if let Some(id) = self.numbers.peer(peer) {
            self.send_status_to(id, decided);
        }
    }

    /// Tells all members how far this node is.
    pub(super) fn announce_status(&mut self) {
        let decided = self.decided();
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.send_status_to(id, decided);
        }
    }

    /// Tells one peer. At most one status is under way to each, and no more in a second than it bears; when that is over, the
    /// newest follows.
    pub(super) fn send_status_to(&mut self, id: PeerId, decided: u32) {
        let now = self.now();
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.is_ready()) else {
            return;
        };
        let Some(number) = peer.member().map(|member| member.number) else {
            return;
        };
        if peer.is_status_asked || !peer.statuses.take(now) {
            peer.is_status_stale = true;
            return;
        }
        peer.is_status_asked = true;
        let asked = self.ask(Kind::Status, number, decided.encode(), Question::Status);
        if asked.is_err() {
            // So many requests are under way that a status does not matter.
            self.finish_status(id);
        }
    }

    fn finish_status(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.is_status_asked = false;
        }
        self.renew_status_of(id);
    }

    /// Tells all peers the newest status that had to wait.
    pub(super) fn renew_statuses(&mut self) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.renew_status_of(id);
        }
    }

    fn renew_status_of(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if !peer.is_status_asked && std::mem::take(&mut peer.is_status_stale) {
            let decided = self.decided();
            self.send_status_to(id, decided);
        }
    }

    fn take_asked(&mut self, kind: Kind, id: OutboundRequestId) -> Option<Asked> {
        let asked = self.asked.remove(&(kind, id))?;
        if let Some(peer) = self.peers.get_mut(&asked.peer) {
            peer.asked = peer.asked.saturating_sub(1);
        }
        Some(asked)
    }

    fn on_answer(&mut self, kind: Kind, id: OutboundRequestId, answer: Wire) {
        let Some(Asked { peer, what }) = self.take_asked(kind, id) else {
            return;
        };
        let bytes = match answer {
            Wire::Bytes(bytes) => Ok(bytes),
            Wire::TooLong(bytes) => Err((
                Err(Refusal::Oversized),
                RequestError::Malformed(format!("it announces {bytes} bytes")),
            )),
            // The peer closed the stream: it has no answer.
            Wire::CutOff => Err((
                Ok(()),
                RequestError::Failed("the peer has no answer".to_owned()),
            )),
        };
        let outcome = match (bytes, what) {
            (Err((outcome, error)), what) => {
                what.fail(error);
                outcome
            }
            (Ok(bytes), Question::Status) => match u32::decode_all(&mut &bytes[..]) {
                Ok(decided) => {
                    self.note_status(peer, decided);
                    Ok(())
                }
                Err(_) if bytes == ANSWER_BUSY => Ok(()),
                Err(_) => Err(Refusal::WrongAnswer),
            },
            (Ok(bytes), Question::Blocks(request, answer)) => {
                deliver(decode_blocks_answer(&request, &bytes), answer)
            }
            (Ok(bytes), Question::Transactions(request, answer)) => {
                deliver(decode_transactions_answer(&request, &bytes), answer)
            }
        };
        if kind == Kind::Status {
            self.finish_status(peer);
        }
        if let Err(refusal) = outcome {
            self.refuse(peer, refusal);
        }
    }

    fn on_no_answer(&mut self, kind: Kind, id: OutboundRequestId, failure: &OutboundFailure) {
        let Some(Asked { peer, what }) = self.take_asked(kind, id) else {
            return;
        };
        let error = match failure {
            OutboundFailure::Timeout => RequestError::Timeout,
            OutboundFailure::ConnectionClosed | OutboundFailure::DialFailure => {
                RequestError::NotConnected
            }
            OutboundFailure::UnsupportedProtocols | OutboundFailure::Io(_) => {
                RequestError::Failed(failure.to_string())
            }
        };
        let is_slow = error == RequestError::Timeout;
        what.fail(error);
        if kind == Kind::Status {
            self.finish_status(peer);
        }
        if is_slow {
            self.refuse(peer, Refusal::Slow);
        }
    }
}

impl Question {
    /// Tells whoever asked that there is no answer.
    fn fail(self, error: RequestError) {
        // Whoever does not wait any more needs no answer.
        match self {
            Self::Status => {}
            Self::Blocks(_, answer) => {
                let _ = answer.send(Err(error));
            }
            Self::Transactions(_, answer) => {
                let _ = answer.send(Err(error));
            }
        }
    }
}

/// Gives an answer to whoever asked; says what it counts against the peer.
fn deliver<T>(
    answer: Result<Answer<T>, String>,
    asker: oneshot::Sender<Result<Vec<T>, RequestError>>,
) -> Result<(), Refusal> {
    let (answer, outcome) = match answer {
        Ok(Answer::Items(items)) => (Ok(items), Ok(())),
        Ok(Answer::Busy) => (Err(RequestError::Busy), Ok(())),
        Err(cause) => (
            Err(RequestError::Malformed(cause)),
            Err(Refusal::WrongAnswer),
        ),
    };
    // Whoever does not wait any more needs no answer.
    let _ = asker.send(answer);
    outcome
}

fn decode_blocks_answer(request: &BlocksRequest, bytes: &[u8]) -> Result<Answer<Vec<u8>>, String> {
    let items_max = usize::try_from(request.count).unwrap_or(usize::MAX);
    let answer = decode_answer::<Vec<u8>>(bytes, items_max)?;
    if matches!(&answer, Answer::Items(items) if items.iter().any(Vec::is_empty)) {
        return Err("a block has no bytes".to_owned());
    }
    Ok(answer)
}

fn decode_transactions_answer(
    request: &TransactionsRequest,
    bytes: &[u8],
) -> Result<Answer<FetchedTransaction>, String> {
    let answer = decode_answer(bytes, request.count())?;
    if let Answer::Items(items) = &answer {
        request.verify_answer(items).map_err(str::to_owned)?;
    }
    Ok(answer)
}

type Taken = (Request, oneshot::Receiver<Vec<u8>>);

fn decode_blocks_request(bytes: &[u8]) -> Option<Taken> {
    let request = BlocksRequest::decode_all(&mut &*bytes).ok()?;
    request.verify().ok()?;
    let items_max = usize::try_from(request.count).ok()?;
    let (responder, answer) = Responder::new(items_max);
    Some((Request::Blocks(request, responder), answer))
}

fn decode_transactions_request(bytes: &[u8]) -> Option<Taken> {
    let request = TransactionsRequest::decode_all(&mut &*bytes).ok()?;
    request.verify().ok()?;
    let (responder, answer) = Responder::new(request.count());
    Some((Request::Transactions(request, responder), answer))
}
