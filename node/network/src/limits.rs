//! Every bound of this crate.

use core::time::Duration;

// ---------------------------------------------------------------- peers

/// Peers that are let in at once: a community's validators and full nodes.
pub const PEERS_MAX: usize = 256;

/// Established connections: twice [`PEERS_MAX`], since two peers may dial each other at once, and
/// [`STRANGERS_MAX`].
pub const CONNECTIONS_MAX: u32 = 544;

/// Connections to one peer.
pub const CONNECTIONS_PER_PEER_MAX: u32 = 2;

/// Connections to others that are being negotiated.
pub const CONNECTIONS_PENDING_MAX: u32 = 64;

/// Connections of others that have not yet shown who they are. Beyond it one of the host with most of them makes room, of one
/// where no static peer is.
pub const DOORSTEP_MAX: usize = 256;

/// Of those, from one IPv4 address or IPv6 network of 64 bits. Beyond it the one that has waited longest makes room. As many
/// as a network on one machine has validators.
pub const DOORSTEP_PER_HOST_MAX: usize = 64;

/// How long a connection may take to show who it is: three round trips.
pub const DOORSTEP_TIME: Duration = Duration::from_secs(3);

/// Connections of others that are being negotiated, those included that make room just now.
pub const CONNECTIONS_PENDING_IN_MAX: u32 = 512;

/// How often is said that connections had to make room.
pub const CROWD_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Peers that are connected but have not been let in. Beyond it the one that waits longest has to go; peers that
/// the configuration names do not count.
pub const STRANGERS_MAX: usize = 32;

/// How long a peer may take from connecting to being let in on both sides.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Peers that claim one validator's account with different node keys: its key may just have moved.
pub const PEERS_PER_ACCOUNT_MAX: usize = 2;

/// Peers that scores, bans and numbers are remembered of. The least interesting are forgotten first.
pub const PEERS_REMEMBERED_MAX: usize = 1024;

/// Peers the configuration may name, static peers and full nodes together.
pub const PEERS_CONFIGURED_MAX: usize = 256;

/// Addresses of one static peer, and addresses one name may resolve to.
pub const ADDRESSES_PER_PEER_MAX: usize = 8;

/// Addresses to listen on.
pub const LISTEN_ADDRESSES_MAX: usize = 16;

/// How long a name may take to be resolved.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// First wait before a static peer is dialled again.
pub const REDIAL_FIRST: Duration = Duration::from_millis(500);

/// Longest wait before a static peer is dialled again.
pub const REDIAL_LONGEST: Duration = Duration::from_secs(30);

/// How often a peer is pinged.
pub const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long an answer to a ping may take.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Pings that may fail in a row before a peer counts as gone: half a minute after a line was cut.
pub const PING_FAILURES_MAX: u32 = 2;

// ---------------------------------------------------------------- gossip

/// Bytes of one vote, proof of lock or round certificate: 256 signatures stay below.
pub const VOTE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one proposal. Compact ones stay far below; the consensus crate's largest message with a whole block
/// fits too.
pub const PROPOSAL_BYTES_MAX: usize = 18 * 1024 * 1024;

/// Bytes of one bid or proof of equivocation.
pub const URGENT_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one transaction: what the pool takes.
pub const TRANSACTION_BYTES_MAX: usize = 512 * 1024;

/// Bytes of one batch of transactions.
pub const BATCH_BYTES_MAX: usize = TRANSACTION_BYTES_MAX + 1024;

/// Bytes after which a batch is sent without waiting for more.
pub const BATCH_BYTES_FULL: usize = 64 * 1024;

/// Transactions of one batch.
pub const BATCH_TRANSACTIONS_MAX: usize = 512;

/// How long a transaction waits for others to share its batch.
pub const BATCH_WAIT: Duration = Duration::from_millis(50);

/// How long the caller may take for a verdict; then the message is ignored. Below [`HISTORY_HEARTBEATS`].
pub const VERDICT_TIMEOUT: Duration = Duration::from_secs(8);

/// Heartbeats of one second for which gossip keeps messages, those that await their verdict among them.
pub const HISTORY_HEARTBEATS: usize = 10;

/// Messages that await a verdict.
pub const VERDICTS_PENDING_MAX: usize = 16_384;

/// Bytes of gossip's own overhead for one message: origin, number, signature, topic.
pub const GOSSIP_OVERHEAD_BYTES: usize = 1024;

/// Neighbours a message is passed on to. Below it everybody knows everybody.
pub const MESH_PEERS: usize = 6;
/// Fewer neighbours than this and more are sought.
pub const MESH_PEERS_LOW: usize = 4;
/// More neighbours than this and some are let go.
pub const MESH_PEERS_HIGH: usize = 12;

// ---------------------------------------------------------------- queues

/// Votes that wait to be sent. Beyond it publishing fails: votes are never dropped silently.
pub const OUTBOX_VOTES_MAX: usize = 4096;
/// Proposals that wait to be sent.
pub const OUTBOX_PROPOSALS_MAX: usize = 8;
/// Bids and proofs that wait to be sent.
pub const OUTBOX_URGENT_MAX: usize = 1024;
/// Transactions that wait to be sent. The oldest make room: the pool still has them.
pub const OUTBOX_TRANSACTIONS_MAX: usize = 65_536;
/// Bytes of transactions that wait to be sent.
pub const OUTBOX_TRANSACTIONS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of transactions sent at most in one [`OUTBOX_INTERVAL`]: 25 MB/s, so that what one node feeds in does not
/// fill the queues of all its peers.
pub const OUTBOX_TRANSACTIONS_BYTES_PER_INTERVAL: usize = 512 * 1024;
/// How often the outbox sends transactions.
pub const OUTBOX_INTERVAL: Duration = Duration::from_millis(20);

/// Gossip events that the caller has not taken: messages of each topic, in the order of [`crate::Topic::ALL`].
pub const INBOX_MESSAGES_MAX: [usize; 4] = [8192, 32, 2048, 2048];
/// Gossip events that the caller has not taken: bytes of each topic.
pub const INBOX_BYTES_MAX: [usize; 4] = [
    8 * 1024 * 1024,
    3 * PROPOSAL_BYTES_MAX,
    4 * 1024 * 1024,
    32 * 1024 * 1024,
];
/// Requests of peers that the caller has not taken.
pub const INBOX_REQUESTS_MAX: usize = 256;
/// Comings and goings that the caller has not taken, those still to come of present peers counted in. Beyond it
/// nobody is let in.
pub const INBOX_PEER_EVENTS_MAX: usize = 2048;
/// Statuses that the caller has not taken; one a peer, the newest counts.
pub const INBOX_STATUSES_MAX: usize = PEERS_MAX;

/// Commands of the caller that the network has not taken.
pub const COMMANDS_MAX: usize = 16_384;

/// Messages in gossip's queue to one peer, in the order of [`crate::Topic::ALL`]. A peer that lets it overflow is
/// slow, which counts against it.
pub const PEER_QUEUE_MESSAGES_MAX: [usize; 4] = [4096, 4, 1024, 512];

// ---------------------------------------------------------------- rates of one peer

/// Gossip messages a second of one peer, in the order of [`crate::Topic::ALL`]. Duplicates do not count. Of votes,
/// a peer passes on those of all validators; of proposals, one that makes up for missed steps brings one for each of them.
pub const GOSSIP_RATE: [u32; 4] = [2048, 64, 256, 256];
/// Seconds of [`GOSSIP_RATE`] that may come at once.
pub const GOSSIP_BURST_SECONDS: u32 = 4;
/// Bytes of proposals a second of one peer: four of the largest, or many small ones.
pub const PROPOSAL_BYTES_RATE: u32 = 72 * 1024 * 1024;

/// Requests a second of one peer, for each kind of request.
pub const REQUEST_RATE: u32 = 20;
/// Requests of one peer that may come at once, for each kind of request.
pub const REQUEST_BURST: u32 = 80;
/// Statuses a second that are sent to one peer: half of what it bears. Whoever fetches old blocks decides far more often;
/// the newest status follows when its time has come.
pub const STATUS_RATE: u32 = REQUEST_RATE / 2;
/// Statuses that may be sent to one peer at once.
pub const STATUS_BURST: u32 = REQUEST_BURST / 4;
/// Hellos of one peer that may come at once; one a second after that.
pub const HELLO_BURST: u32 = 4;

// ---------------------------------------------------------------- requests

/// Bytes of a hello and its answer.
pub const HELLO_BYTES_MAX: usize = 1024;
/// Bytes of a status.
pub const STATUS_BYTES_MAX: usize = 64;
/// Bytes of a request for blocks.
pub const BLOCKS_REQUEST_BYTES_MAX: usize = 64;
/// Bytes of a request for transactions: a position takes four bytes, a hash 32.
pub const TRANSACTIONS_REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an answer with blocks or transactions: one block of the largest size, or many small ones.
pub const ANSWER_BYTES_MAX: usize = 18 * 1024 * 1024;

/// Blocks in one answer.
pub const BLOCKS_PER_ANSWER_MAX: u32 = 256;
/// Positions or hashes in one request for transactions.
pub const TRANSACTIONS_PER_REQUEST_MAX: usize = 131_072;
/// Hashes in one request for transactions: 32 bytes each.
pub const HASHES_PER_REQUEST_MAX: usize = 16_384;

/// Requests of one peer that are being answered, for each kind of request.
pub const REQUESTS_SERVED_PER_PEER_MAX: usize = 4;
/// Requests that are being answered, of all peers and kinds.
pub const REQUESTS_SERVED_MAX: usize = 256;
/// Bytes of answers on their way to peers. One above it is replaced by "busy".
pub const ANSWERS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Requests to one peer that have not been answered.
pub const REQUESTS_ASKED_PER_PEER_MAX: usize = 8;

/// How long a request for blocks or transactions may take, transfer included: 18 MiB at 5 Mbit/s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a hello or a status may take.
pub const SHORT_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

// ---------------------------------------------------------------- compact blocks

/// Bytes of the header in a compact block.
pub const COMPACT_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Extrinsics of a compact block.
pub const COMPACT_EXTRINSICS_MAX: usize = 131_072;
/// Bytes of all extrinsics of a block.
pub const COMPACT_BODY_BYTES_MAX: usize = 17 * 1024 * 1024;

// ---------------------------------------------------------------- scores

/// Score at which a peer is banned.
pub const BAN_SCORE: u32 = 100;
/// Highest score: how long misbehaviour is remembered at most.
pub const SCORE_MAX: u32 = 400;
/// In this time a score halves.
pub const SCORE_HALF_LIFE: Duration = Duration::from_secs(60);
/// First ban of a stranger or an ordinary peer; each further one is four times as long.
pub const BAN_FIRST: Duration = Duration::from_secs(60);
/// Longest ban.
pub const BAN_LONGEST: Duration = Duration::from_secs(24 * 3600);
/// First ban of a validator or a configured peer.
pub const BAN_TRUSTED_FIRST: Duration = Duration::from_secs(10);
/// Longest ban of a validator or a configured peer: agreement needs it.
pub const BAN_TRUSTED_LONGEST: Duration = Duration::from_secs(300);
/// After this long without a ban the next one is short again.
pub const BAN_FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
/// How long a peer stays out that was not let in, unless the set changes.
pub const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How long a configured peer stays out that was not let in: its chain data may be behind ours.
pub const REFUSED_TRUSTED_FOR: Duration = Duration::from_secs(5);
