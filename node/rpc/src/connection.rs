//! One connection: what of it waits in memory, what it has begun, and its end.
//!
//! The library that speaks HTTP and WebSocket reads requests as fast as they come and keeps each until its response
//! has left, so whoever asks and does not read would fill the memory. Here the bytes that go in and out are counted
//! under it: a connection that owes too much is not read from until it has taken its responses, and when all
//! connections together owe too much, the one that owes most is cut.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Semaphore, watch},
    task::AbortHandle,
    time::Instant,
};

use crate::chain_head::Follow;

/// Calls of one connection that are being answered at one time, a batch being one. Further ones are not read. All
/// connections together fit among the requests that may wait for a worker, so that one cannot keep the others out.
const CALLS_MAX: usize = 32;
/// Bytes of requests and responses of one connection that may wait before no more is read from it.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Queries of one connection that are worked on or stand in the queue of all at one time.
const QUERY_TURNS_MAX: usize = 2;
/// Submissions likewise. A gateway sends the readings of many meters, and each is quickly taken in.
const SUBMISSION_TURNS_MAX: usize = 4;
/// How long a connection keeps its place for sure, whatever it does with it.
const STALLED_MIN: Duration = Duration::from_secs(1);

/// Locks what no code can leave half written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all connections have waiting.
pub(crate) struct Ledger {
    /// Bytes that wait. Signed: of two changes of one connection the later may be added first.
    waiting: AtomicI64,
    waiting_max: i64,
    /// Greatest length of a request: no more than that can be half read.
    request_max: usize,
    connections: Mutex<BTreeMap<u32, Weak<Connection>>>,
}

impl Ledger {
    /// Begins with no connection. `waiting_max` are the bytes that all together may have waiting.
    pub(crate) fn new(waiting_max: usize, request_max: usize) -> Arc<Self> {
        Arc::new(Self {
            waiting: AtomicI64::new(0),
            waiting_max: signed(waiting_max),
            request_max,
            connections: Mutex::default(),
        })
    }

    /// Adds a connection.
    pub(crate) fn connect(self: &Arc<Self>, id: u32) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            id,
            ledger: self.clone(),
            load: Mutex::new(Load {
                last_request: Instant::now(),
                ..Load::default()
            }),
            queries: Arc::new(Semaphore::new(QUERY_TURNS_MAX)),
            submissions: Arc::new(Semaphore::new(SUBMISSION_TURNS_MAX)),
            is_websocket: AtomicBool::new(false),
            ended: watch::channel(false).0,
            follows: Mutex::default(),
            broadcasts: Mutex::default(),
            last_broadcast: AtomicU64::new(0),
        });
        lock(&self.connections).insert(id, Arc::downgrade(&connection));
        connection
    }

    /// Returns the bytes that wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> i64 {
        self.waiting.load(Ordering::Relaxed)
    }

    fn change(&self, before: usize, after: usize) {
        let added = signed(after).saturating_sub(signed(before));
        let total = self
            .waiting
            .fetch_add(added, Ordering::Relaxed)
            .saturating_add(added);
        if added > 0 && total > self.waiting_max {
            self.cut_heaviest();
        }
    }

    /// Cuts the connection that has kept a place longest without a whole request; returns whether there is one.
    /// WebSockets, and those that wait for an answer, keep theirs.
    pub(crate) fn cut_stalled(&self) -> bool {
        Instant::now()
            .checked_sub(STALLED_MIN)
            .is_some_and(|latest| self.cut_oldest(latest))
    }

    fn cut_oldest(&self, latest: Instant) -> bool {
        let connections: Vec<_> = lock(&self.connections)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        let stalled = connections
            .iter()
            .filter_map(|connection| Some((connection.stalled_since()?, connection)))
            .filter(|(since, _)| *since <= latest)
            .min_by_key(|(since, _)| *since);
        stalled.is_some_and(|(_, connection)| connection.cut())
    }

    /// Cuts the connection that has most waiting.
    fn cut_heaviest(&self) {
        let connections: Vec<_> = lock(&self.connections)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        let heaviest = connections
            .iter()
            .map(|connection| (connection.weight(), connection))
            .max_by_key(|(weight, _)| *weight);
        if let Some((weight, connection)) = heaviest
            && connection.cut()
        {
            tracing::warn!(
                connection = connection.id,
                bytes = weight,
                "a JSON-RPC connection was cut: it asks and does not read, and too much waits in memory"
            );
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What waits of one connection.
struct Load {
    /// Calls being answered.
    calls: usize,
    /// Bytes of their requests.
    asked: usize,
    /// Bytes of requests that were answered; they are kept until all responses have left.
    answered: usize,
    /// Bytes of responses and notifications that have not left.
    unwritten: usize,
    /// Bytes of a request that has not been read to its end, at most.
    half_read: usize,
    /// Since when it is being read.
    half_read_since: Option<Instant>,
    /// Whether there was a whole request.
    has_asked: bool,
    /// When a request last came to its end, or was answered.
    last_request: Instant,
    is_cut: bool,
    /// Whether the reader waits for room, and not for bytes.
    is_paused: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            calls: 0,
            asked: 0,
            answered: 0,
            unwritten: 0,
            half_read: 0,
            half_read_since: None,
            has_asked: false,
            last_request: Instant::now(),
            is_cut: false,
            is_paused: false,
            reader: None,
            writer: None,
        }
    }
}

impl Load {
    /// Returns what waits. What a cut connection still holds is on its way out.
    fn bytes(&self) -> usize {
        if self.is_cut {
            return 0;
        }
        [self.asked, self.answered, self.unwritten, self.half_read]
            .into_iter()
            .fold(0, usize::saturating_add)
    }

    /// Returns whether more may be read.
    fn is_open(&self) -> bool {
        let waiting = self.bytes().saturating_sub(self.half_read);
        self.calls < CALLS_MAX && waiting <= WAITING_BYTES_MAX
    }

    /// Returns since when a request is being waited for that has begun, or is the first.
    fn reading_since(&self) -> Option<Instant> {
        if self.has_asked {
            self.half_read_since
        } else {
            Some(self.last_request)
        }
    }

    /// Notes that a request has come to its end.
    fn end_request(&mut self) {
        self.half_read = 0;
        self.half_read_since = None;
        self.has_asked = true;
        self.last_request = Instant::now();
    }
}

/// One connection.
pub(crate) struct Connection {
    id: u32,
    ledger: Arc<Ledger>,
    load: Mutex<Load>,
    /// Its turns to query the chain.
    pub(crate) queries: Arc<Semaphore>,
    /// Its turns to submit transactions.
    pub(crate) submissions: Arc<Semaphore>,
    is_websocket: AtomicBool,
    ended: watch::Sender<bool>,
    /// Its subscriptions to the head of the chain, by their ids.
    pub(crate) follows: Mutex<HashMap<String, Arc<Follow>>>,
    /// The transactions it has the node broadcast.
    pub(crate) broadcasts: Mutex<HashMap<String, AbortHandle>>,
    /// Number of the next one.
    pub(crate) last_broadcast: AtomicU64,
}

impl Connection {
    fn weight(&self) -> usize {
        lock(&self.load).bytes()
    }

    /// Changes the load, keeps the sum of all up to date, and lets who waits go on.
    fn change<T>(&self, task: impl FnOnce(&mut Load) -> T) -> T {
        let (before, after, output, waker) = {
            let mut load = lock(&self.load);
            let before = load.bytes();
            let output = task(&mut load);
            let goes_on = load.is_paused && load.is_open();
            let waker = if goes_on {
                load.is_paused = false;
                load.reader.take()
            } else {
                None
            };
            (before, load.bytes(), output, waker)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        self.ledger.change(before, after);
        output
    }

    /// Notes that it is a WebSocket.
    pub(crate) fn set_websocket(&self) {
        self.is_websocket.store(true, Ordering::Relaxed);
    }

    /// Returns whether it is a WebSocket, over which notifications can be sent.
    pub(crate) fn is_websocket(&self) -> bool {
        self.is_websocket.load(Ordering::Relaxed)
    }

    /// Begins a call whose request has so many bytes.
    pub(crate) fn begin(self: &Arc<Self>, bytes: usize) -> Call {
        self.change(|load| {
            load.calls = load.calls.saturating_add(1);
            load.asked = load.asked.saturating_add(bytes);
            load.end_request();
        });
        Call {
            connection: self.clone(),
            bytes,
            response: None,
        }
    }

    /// Notes that a notification of so many bytes is on its way.
    pub(crate) fn told(&self, bytes: usize) {
        self.change(|load| load.unwritten = load.unwritten.saturating_add(bytes));
    }

    /// Takes back what [`Connection::told`] noted: it was not sent after all.
    pub(crate) fn not_told(&self, bytes: usize) {
        self.wrote(bytes);
    }

    fn wrote(&self, bytes: usize) {
        self.change(|load| {
            load.unwritten = load.unwritten.saturating_sub(bytes);
            if load.unwritten == 0 {
                load.answered = 0;
            }
        });
    }

    fn read(&self, bytes: usize) {
        let max = self.ledger.request_max;
        self.change(|load| {
            load.half_read = load.half_read.saturating_add(bytes).min(max);
            load.half_read_since.get_or_insert_with(Instant::now);
        });
    }

    /// Notes that a request over HTTP was answered, by a method or otherwise.
    pub(crate) fn answered(&self) {
        self.change(Load::end_request);
    }

    /// Returns whether more was sent for the request that is being read than any may have.
    pub(crate) fn has_sent_too_much(&self) -> bool {
        lock(&self.load).half_read >= self.ledger.request_max
    }

    /// Returns since when it keeps a place without a whole request; `None` while it has good reason to.
    fn stalled_since(&self) -> Option<Instant> {
        let load = lock(&self.load);
        let is_busy = load.is_cut || load.calls > 0 || self.is_websocket();
        (!is_busy).then(|| load.reading_since().unwrap_or(load.last_request))
    }

    /// Ends the connection, whatever it waits for; returns whether that is new.
    pub(crate) fn cut(&self) -> bool {
        let (was_cut, wakers) = self.change(|load| {
            let was_cut = std::mem::replace(&mut load.is_cut, true);
            (was_cut, [load.reader.take(), load.writer.take()])
        });
        wakers.into_iter().flatten().for_each(Waker::wake);
        !was_cut
    }

    /// Returns once a request took longer than `request` to come whole, or nothing was asked for `idle`; never for a
    /// WebSocket, which pings keep.
    pub(crate) async fn idle_for(&self, request: Duration, idle: Duration) {
        loop {
            let due = {
                let load = lock(&self.load);
                let is_busy = load.calls > 0 || self.is_websocket();
                let due = match load.reading_since() {
                    Some(since) => since + request,
                    None => load.last_request + idle,
                };
                (!is_busy).then_some(due)
            };
            let now = Instant::now();
            // A request may begin meanwhile, whose end is due before what was due until then.
            let soon = now + request;
            match due {
                Some(due) if due <= now => return,
                Some(due) => tokio::time::sleep_until(due.min(soon)).await,
                None => tokio::time::sleep_until(soon).await,
            }
        }
    }

    /// Returns when the connection has ended.
    pub(crate) fn end(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.ended.subscribe();
        async move {
            // The sender is gone only when the connection is.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ledger.change(self.weight(), 0);
        lock(&self.ledger.connections).remove(&self.id);
    }
}

/// A call that is being answered. When it is dropped it has been answered, or given up.
pub(crate) struct Call {
    connection: Arc<Connection>,
    bytes: usize,
    response: Option<usize>,
}

impl Call {
    /// Ends the call with a response of so many bytes, `None` when none is sent.
    pub(crate) fn answer(mut self, bytes: Option<usize>) {
        self.response = bytes;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let (bytes, response) = (self.bytes, self.response);
        self.connection.change(|load| {
            load.calls = load.calls.saturating_sub(1);
            load.last_request = Instant::now();
            load.asked = load.asked.saturating_sub(bytes);
            if let Some(response) = response {
                load.answered = load.answered.saturating_add(bytes);
                load.unwritten = load.unwritten.saturating_add(response);
            }
        });
    }
}

/// A stream whose bytes are counted.
pub(crate) struct Counted<Stream> {
    stream: Stream,
    connection: Arc<Connection>,
    /// The first bytes that were read.
    first: Vec<u8>,
    /// Whether something was read that others may not have taken up yet.
    has_read: bool,
}

/// Bytes that are read at a time: some dozens of the shortest requests.
const READ_BYTES_MAX: usize = 2 * 1024;

/// How a connection begins that speaks HTTP/2 without having asked whether the server does.
const HTTP2: &[u8] = b"PRI ";

impl<Stream> Counted<Stream> {
    /// Counts the bytes of a connection's stream.
    pub(crate) fn new(stream: Stream, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            connection,
            first: Vec::with_capacity(HTTP2.len()),
            has_read: false,
        }
    }

    fn refuse_cut(is_cut: bool) -> io::Result<()> {
        if is_cut {
            let reason = "the connection was cut";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
        }
        Ok(())
    }

    /// Notes who writes, so that a cut wakes it.
    fn enter_write(&self, context: &Context<'_>) -> io::Result<()> {
        let mut load = lock(&self.connection.load);
        load.writer = Some(context.waker().clone());
        Self::refuse_cut(load.is_cut)
    }

    fn leave_write(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => self.connection.wrote(*bytes),
            // Nobody reads any more. Whoever is not read from would not notice otherwise.
            Poll::Ready(Err(_)) => {
                self.connection.cut();
            }
            Poll::Pending => {}
        }
    }
}

impl<Stream> Drop for Counted<Stream> {
    fn drop(&mut self) {
        self.connection.ended.send_replace(true);
    }
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Counted<Stream> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        {
            let mut load = lock(&this.connection.load);
            Self::refuse_cut(load.is_cut)?;
            load.reader = Some(context.waker().clone());
            load.is_paused = !load.is_open();
            if load.is_paused {
                return Poll::Pending;
            }
        }
        if std::mem::take(&mut this.has_read) {
            // What was read is taken up by other tasks: they go first, so that their calls are counted.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut bytes = [0; READ_BYTES_MAX];
        let wanted = bytes.len().min(buffer.remaining());
        let mut part = ReadBuf::new(bytes.get_mut(..wanted).unwrap_or_default());
        let read = Pin::new(&mut this.stream).poll_read(context, &mut part);
        if matches!(read, Poll::Ready(Ok(()))) {
            let bytes = part.filled();
            let missing = HTTP2.len().saturating_sub(this.first.len());
            this.first.extend(bytes.iter().take(missing));
            if this.first == HTTP2 {
                // Its streams would not be bounded; neither browsers nor libraries speak it without TLS.
                let reason = "HTTP/2 is not spoken here";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::Unsupported, reason)));
            }
            this.has_read = true;
            this.connection.read(bytes.len());
            buffer.put_slice(bytes);
        }
        read
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Counted<Stream> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.enter_write(context)?;
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.leave_write(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.enter_write(context)?;
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.leave_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.enter_write(context)?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const REQUEST_MAX: usize = 1_000;

    #[tokio::test]
    async fn who_does_not_read_is_not_read_from_until_the_responses_have_left() {
        let ledger = Ledger::new(usize::MAX, REQUEST_MAX);
        let connection = ledger.connect(1);
        let (mut client, server) = duplex(64);
        let mut server = Counted::new(server, connection.clone());
        client.write_all(b"ask").await.expect("there is room");
        connection.begin(10).answer(Some(WAITING_BYTES_MAX));
        let mut bytes = [0; 3];
        {
            let mut read = std::pin::pin!(server.read_exact(&mut bytes));
            assert!(futures::poll!(&mut read).is_pending());
        }
        connection.wrote(WAITING_BYTES_MAX);
        server.read_exact(&mut bytes).await.expect("it is open");
        assert_eq!(&bytes, b"ask");
        drop(server);
        drop(connection);
        assert_eq!(ledger.waiting(), 0);
    }

    #[test]
    fn changes_from_many_threads_never_cut_a_connection_that_owes_little() {
        let ledger = Ledger::new(10_000, REQUEST_MAX);
        let connection = ledger.connect(1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        connection.told(10);
                        connection.wrote(10);
                    }
                });
            }
        });
        assert!(!lock(&connection.load).is_cut);
        assert_eq!(ledger.waiting(), signed(connection.weight()));
    }

    #[tokio::test]
    async fn a_connection_that_can_no_longer_be_written_to_is_not_waited_for() {
        let ledger = Ledger::new(usize::MAX, REQUEST_MAX);
        let connection = ledger.connect(1);
        let (client, server) = duplex(8);
        let (mut reader, mut writer) = tokio::io::split(Counted::new(server, connection.clone()));
        connection.begin(1).answer(Some(WAITING_BYTES_MAX));
        let mut bytes = [0; 3];
        let mut read = std::pin::pin!(reader.read_exact(&mut bytes));
        assert!(futures::poll!(&mut read).is_pending());
        drop(client);
        assert!(writer.write_all(b"an answer").await.is_err());
        assert!(read.await.is_err());
        assert_eq!(ledger.waiting(), 0);
    }

    #[tokio::test]
    async fn little_is_read_at_a_time_and_others_go_first_before_more_is() {
        let connection = Ledger::new(usize::MAX, REQUEST_MAX).connect(1);
        let (mut client, server) = duplex(4 * READ_BYTES_MAX);
        let mut server = Counted::new(server, connection);
        client
            .write_all(&[1; 3 * READ_BYTES_MAX])
            .await
            .expect("there is room");
        let mut bytes = [0; 3 * READ_BYTES_MAX];
        assert_eq!(server.read(&mut bytes).await.expect("open"), READ_BYTES_MAX);
        let mut more = std::pin::pin!(server.read(&mut bytes));
        assert!(futures::poll!(&mut more).is_pending());
        assert_eq!(more.await.expect("open"), READ_BYTES_MAX);
    }

    #[tokio::test]
    async fn http2_is_refused_even_in_pieces() {
        let connection = Ledger::new(usize::MAX, REQUEST_MAX).connect(1);
        let (mut client, server) = duplex(1);
        let mut server = Counted::new(server, connection);
        let writing = tokio::spawn(async move { client.write_all(b"PRI * HTTP/2.0\r\n").await });
        let read = server.read_to_end(&mut Vec::new()).await;
        assert_eq!(
            read.expect_err("refused").kind(),
            io::ErrorKind::Unsupported
        );
        drop(server);
        assert!(writing.await.expect("no panic").is_err());
    }

    #[tokio::test]
    async fn calls_at_one_time_are_bounded_and_each_end_makes_room() {
        let connection = Ledger::new(usize::MAX, REQUEST_MAX).connect(1);
        let (mut client, server) = duplex(64);
        let mut server = Counted::new(server, connection.clone());
        client.write_all(b"ask").await.expect("there is room");
        let mut calls: Vec<_> = (0..CALLS_MAX).map(|_| connection.begin(0)).collect();
        let mut bytes = [0; 3];
        let mut read = std::pin::pin!(server.read_exact(&mut bytes));
        assert!(futures::poll!(&mut read).is_pending());
        calls.pop();
        read.await.expect("one call has ended");
    }

    #[tokio::test]
    async fn when_too_much_waits_the_connection_that_owes_most_is_cut() {
        let ledger = Ledger::new(100, REQUEST_MAX);
        let [small, large] = [ledger.connect(1), ledger.connect(2)];
        let (_client, stream) = duplex(64);
        let mut small_stream = Counted::new(stream, small.clone());
        let (_other_client, stream) = duplex(64);
        let mut large_stream = Counted::new(stream, large.clone());
        large.begin(10).answer(Some(80));
        small.begin(10).answer(Some(1));
        assert!(large_stream.write_all(b"x").await.is_err());
        small_stream.write_all(b"x").await.expect("it is not cut");
        drop((large_stream, large));
        assert_eq!(ledger.waiting(), 0);
    }

    #[tokio::test]
    async fn a_request_that_is_never_finished_counts_up_to_its_greatest_length() {
        let ledger = Ledger::new(usize::MAX, REQUEST_MAX);
        let connection = ledger.connect(1);
        connection.read(600);
        connection.read(600);
        assert_eq!(ledger.waiting(), signed(REQUEST_MAX));
        connection.begin(7).answer(None);
        assert_eq!(ledger.waiting(), 0);
    }

    #[tokio::test]
    async fn only_a_connection_without_calls_is_idle() {
        let connection = Ledger::new(usize::MAX, REQUEST_MAX).connect(1);
        let call = connection.begin(1);
        let idle = || connection.idle_for(Duration::ZERO, Duration::ZERO);
        let mut ends = std::pin::pin!(idle());
        assert!(futures::poll!(&mut ends).is_pending());
        drop(call);
        ends.await;
        connection.set_websocket();
        let mut ends = std::pin::pin!(idle());
        assert!(futures::poll!(&mut ends).is_pending());
    }

    #[tokio::test]
    async fn a_request_must_come_whole_in_time_and_between_two_there_is_more() {
        let connection = Ledger::new(usize::MAX, REQUEST_MAX).connect(1);
        let hour = Duration::from_secs(3_600);
        let is_over = async || {
            let mut over = std::pin::pin!(connection.idle_for(Duration::ZERO, hour));
            futures::poll!(&mut over).is_ready()
        };
        assert!(is_over().await, "nothing was ever asked");
        connection.answered();
        assert!(!is_over().await, "it may ask again");
        connection.read(1);
        assert!(is_over().await, "a request is never finished");
        connection.begin(1).answer(None);
        assert!(!is_over().await, "it may ask again");
    }

    #[tokio::test]
    async fn the_place_that_was_kept_longest_for_nothing_is_taken_first() {
        let ledger = Ledger::new(usize::MAX, REQUEST_MAX);
        let [asking, websocket, old, young] = [1, 2, 3, 4].map(|id| ledger.connect(id));
        let _call = asking.begin(1);
        websocket.set_websocket();
        assert!(!ledger.cut_stalled(), "all have just come");
        assert!(ledger.cut_oldest(Instant::now()));
        let is_cut = |connection: &Connection| lock(&connection.load).is_cut;
        assert!(is_cut(&old));
        assert!(!is_cut(&young));
        assert!(ledger.cut_oldest(Instant::now()));
        assert!(is_cut(&young));
        assert!(!ledger.cut_oldest(Instant::now()), "nobody else may be cut");
        assert!(!is_cut(&asking) && !is_cut(&websocket));
    }
}
