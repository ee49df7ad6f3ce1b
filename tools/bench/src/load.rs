//! The load generator for HTTP.
//!
//! In scope: a closed loop (each connection sends, waits for the whole answer, sends again) and a bounded
//! open loop (requests become due at a constant rate whatever the server does). Out of scope: what the
//! answers mean, but for their status. Invariants: every answer is read to its end and its status looked
//! at; a run with a wrong status fails; in the open loop latency counts from the moment a request was due,
//! so that a server that stalls cannot hide the requests it held up; at most one request per connection
//! is under way, and requests that were due and could not be started are counted.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

use crate::Fallible;
use crate::events::{self, Series};
use crate::process::{self, Usage};
use crate::stats::micros;

/// Threads of the generator: it shares the machine with the server, and one thread could not fill a bare
/// HTTP server.
const THREADS: usize = 2;

/// Answers kept by each thread, with what was sent, so that they can be verified afterwards.
const SAMPLES_PER_THREAD: usize = 4;

/// Every so manieth answer of a thread is kept until there are enough.
const SAMPLE_EVERY: u64 = 97;

/// The path of the `n`th question.
pub(crate) type Ask = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// What is asked instead of appending events to `uri`.
    ask: Option<Ask>,
}

impl Target {
    /// A target at `http://address`.
    pub(crate) fn new(url: &str, path: &str, headers: &[(&'static str, String)]) -> Fallible<Self> {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_str(host)?);
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value)?);
        }
        Ok(Self { address: host.parse()?, uri: path.parse()?, headers: map, ask: None })
    }
}

impl Target {
    /// A target that is sent questions.
    pub(crate) fn asking(url: &str, ask: Ask, headers: &[(&'static str, String)]) -> Fallible<Self> {
        Ok(Self { ask: Some(ask), ..Self::new(url, "/", headers)? })
    }
}

impl fmt::Debug for Target {
    /// Without the headers, one of which is a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.address)
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

/// How much load, for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    /// Events in a request.
    pub(crate) batch: usize,
    /// Sent before anything counts.
    pub(crate) warm: Duration,
    pub(crate) measure: Duration,
    /// Requests a second of an open loop; none is a closed loop.
    pub(crate) rate: Option<f64>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Events acknowledged from first to last, also before and after what is measured.
    pub(crate) events_all: u64,
    /// Events acknowledged while it was measured.
    pub(crate) events: u64,
    /// Of each request, in microseconds, sorted.
    pub(crate) latencies_us: Vec<u32>,
    /// Requests that were due by the end of an open loop and were not started.
    pub(crate) not_started: u64,
    /// Bytes of the answers' bodies.
    pub(crate) answer_bytes: u64,
    pub(crate) seconds: f64,
    /// What was sent and what was answered.
    pub(crate) samples: Vec<(Bytes, Bytes)>,
    /// Of the server, while it was measured.
    pub(crate) server: Usage,
    /// Processor seconds of this process meanwhile.
    pub(crate) client_cpu_s: f64,
    /// Processor seconds of the machine that neither accounts for.
    pub(crate) foreign_cpu_s: f64,
}

/// The moments of a run, the same for all of its threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) begins: Instant,
    pub(crate) ends: Instant,
}

/// Lets the threads begin together, once all of them have their connections.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    arrived: AtomicUsize,
    window: OnceLock<Window>,
    looked: OnceLock<()>,
}

impl Gate {
    /// Says that this thread is ready and waits until the others are.
    pub(crate) fn pass(&self) -> Window {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        loop {
            if let Some(window) = self.window.get() {
                return *window;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Gate {
    /// Waits until the server has been looked at for the last time. A server with a process for each
    /// connection must still have them then.
    pub(crate) fn hold(&self) {
        while self.looked.get().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs `threads` threads of load and looks at the server while they are at it. `work` gets the number of
/// its thread and a gate to pass when it has its connections, and returns what it alone saw.
pub(crate) fn observed<W>(plan: &Plan, threads: usize, server_pid: u32, work: W) -> Fallible<Outcome>
where
    W: Fn(usize, &Gate) -> Fallible<Outcome> + Sync,
{
    let gate = Gate::default();
    let wait_until =
        |moment: Instant| std::thread::sleep(moment.saturating_duration_since(Instant::now()));
    std::thread::scope(|scope| {
        let (work, gate) = (&work, &gate);
        let running: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n, gate))).collect();
        while gate.arrived.load(Ordering::SeqCst) < threads
            && !running.iter().any(std::thread::ScopedJoinHandle::is_finished)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        let begins = Instant::now() + plan.warm;
        let window = Window { begins, ends: begins + plan.measure };
        let _ = gate.window.set(window);
        wait_until(window.begins);
        let (server, client, all) =
            (process::usage(server_pid), process::own_cpu_s(), process::machine_cpu_s());
        wait_until(window.ends);
        let (server_after, client_after) = (process::usage(server_pid), process::own_cpu_s());
        let all_after = process::machine_cpu_s();
        let _ = gate.looked.set(());
        let (server_s, client_s) = (server_after.cpu_s - server.cpu_s, client_after - client);
        let mut sum = Outcome {
            seconds: plan.measure.as_secs_f64(),
            client_cpu_s: client_s,
            foreign_cpu_s: (all_after - all - server_s - client_s).max(0.0),
            server: Usage { cpu_s: server_s, peak_bytes: server_after.peak_bytes },
            ..Outcome::default()
        };
        for thread in running {
            let one = thread.join().map_err(|_| "a thread of the generator panicked")??;
            sum.add(one);
        }
        sum.latencies_us.sort_unstable();
        Ok(sum)
    })
}

impl Outcome {
    fn add(&mut self, one: Self) {
        self.events_all += one.events_all;
        self.events += one.events;
        self.not_started += one.not_started;
        self.answer_bytes += one.answer_bytes;
        self.latencies_us.extend(one.latencies_us);
        self.samples.extend(one.samples);
    }

    /// Counts a request that was answered at `now`.
    pub(crate) fn count(&mut self, window: Window, events: u64, from: Instant, now: Instant) {
        self.events_all += events;
        if now >= window.begins && now < window.ends {
            self.events += events;
            self.latencies_us.push(micros(now.saturating_duration_since(from)));
        }
    }

    pub(crate) fn events_per_s(&self) -> f64 {
        crate::stats::ratio(self.events, 1) / self.seconds
    }
}

/// Drives an HTTP server.
pub(crate) fn run(plan: &Plan, target: &Target, server_pid: u32) -> Fallible<Outcome> {
    let threads = THREADS.min(plan.connections);
    observed(plan, threads, server_pid, |number, gate| {
        let connections = plan.connections / threads + usize::from(number < plan.connections % threads);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let mut senders = Vec::with_capacity(connections);
            for _ in 0..connections {
                senders.push(connect(target).await?);
            }
            let window = gate.pass();
            let share = crate::stats::ratio(threads as u64, 1);
            let shared = Shared {
                plan: *plan,
                target: target.clone(),
                window,
                seen: RefCell::default(),
                answers: Cell::new(0),
                taken: Cell::new(0),
                interval: plan.rate.map(|rate| Duration::from_secs_f64(share / rate)),
                first_due: window.begins.checked_sub(plan.warm).unwrap_or(window.begins),
            };
            thread(Rc::new(shared), senders).await
        })
    })
}

/// What the connections of one thread share.
struct Shared {
    plan: Plan,
    target: Target,
    window: Window,
    seen: RefCell<Outcome>,
    answers: Cell<u64>,
    /// Arrivals of the open loop that were taken.
    taken: Cell<u32>,
    /// Time between two arrivals at this thread; none in a closed loop.
    interval: Option<Duration>,
    first_due: Instant,
}

async fn thread(shared: Rc<Shared>, senders: Vec<SendRequest<Full<Bytes>>>) -> Fallible<Outcome> {
    let mut all = JoinSet::new();
    for sender in senders {
        all.spawn_local(drive(sender, events::pool().series(), Rc::clone(&shared)));
    }
    while let Some(end) = all.join_next().await {
        end??;
    }
    let mut seen = shared.seen.take();
    if let Some(interval) = shared.interval {
        let span = shared.window.ends.saturating_duration_since(shared.first_due);
        let due = u64::try_from(span.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u64::MAX);
        seen.not_started = due.saturating_sub(u64::from(shared.taken.get()));
    }
    Ok(seen)
}

/// A connection, driven by a task of the local set.
pub(crate) async fn connect(target: &Target) -> Fallible<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // An error of the connection comes back from the request that it hits.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

impl Shared {
    /// Waits until the next request is due, and says when that was; none where the run is over.
    async fn next_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let due = match self.interval {
            None => now,
            Some(interval) => {
                let due = self.first_due + interval * self.taken.get();
                if due >= self.window.ends || now >= self.window.ends {
                    return None;
                }
                self.taken.set(self.taken.get() + 1);
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        (now < self.window.ends).then_some(due)
    }
}

/// One connection from its first request to its last.
async fn drive(
    mut sender: SendRequest<Full<Bytes>>,
    mut series: Series,
    shared: Rc<Shared>,
) -> Fallible<()> {
    let batch = shared.plan.batch;
    while let Some(due) = shared.next_due().await {
        let body = match &shared.target.ask {
            Some(_) => Bytes::new(),
            None => Bytes::from(series.body(batch)),
        };
        let number = shared.answers.get();
        shared.answers.set(number + 1);
        let sample = number.is_multiple_of(SAMPLE_EVERY)
            && shared.seen.borrow().samples.len() < SAMPLES_PER_THREAD;
        let request = shared.request(series.next_number(), body.clone())?;
        let mut answer = sender.send_request(request).await?;
        let status = answer.status();
        let (mut length, mut kept) = (0, Vec::new());
        while let Some(frame) = answer.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            length += data.len();
            if sample || !status.is_success() {
                kept.extend_from_slice(&data);
            }
        }
        if status != StatusCode::CREATED && status != StatusCode::OK {
            let said = String::from_utf8_lossy(&kept).into_owned();
            return Err(format!("{} answered {status}: {said}", shared.target.uri).into());
        }
        let mut seen = shared.seen.borrow_mut();
        seen.count(shared.window, batch as u64, due, Instant::now());
        seen.answer_bytes += length as u64;
        if sample {
            seen.samples.push((body, Bytes::from(kept)));
        }
    }
    Ok(())
}

impl Shared {
    fn request(&self, number: u64, body: Bytes) -> Fallible<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(body));
        if let Some(ask) = &self.target.ask {
            *request.uri_mut() = ask(number).parse()?;
        } else {
            *request.method_mut() = Method::POST;
            *request.uri_mut() = self.target.uri.clone();
        }
        *request.headers_mut() = self.target.headers.clone();
        Ok(request)
    }
}
