//! Long histories: the same numbered events in Counterfoil and in `PostgreSQL`.
//!
//! In scope: filling either with batches of 1,000 over four connections. Out of scope: what is measured
//! afterwards. Invariants: event `n` is the same in both; times rise with `n` over the thirty days before
//! the run; every answer's status is looked at.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use tokio::task::{JoinSet, LocalSet};

use crate::Fallible;
use crate::events::{self, People, Row};
use crate::load::{self, Target};
use crate::peers::counterfoil::{MAIN, Server};
use crate::peers::postgres::{Body, Cluster, Columns};

const CONNECTIONS: usize = 4;

/// Events of a request or statement.
const BATCH: u64 = 1_000;

/// The time that a history spans.
const SPAN_MS: u64 = 30 * 86_400_000;

/// A history of `events` events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History {
    pub(crate) events: u64,
    pub(crate) people: People,
    begins_ms: u64,
}

impl History {
    pub(crate) fn new(events: u64, subjects: u64) -> Self {
        let people = People { subjects, actors: events::PEOPLE.actors };
        Self { events, people, begins_ms: events::now_ms() - SPAN_MS - 3_600_000 }
    }

    /// The time of event `n`.
    pub(crate) fn time_ms(&self, n: u64) -> u64 {
        let share = u128::from(n) * u128::from(SPAN_MS) / u128::from(self.events.max(1));
        self.begins_ms + u64::try_from(share).unwrap_or(SPAN_MS)
    }

    /// Time in which about `events` of one in `every` happen.
    pub(crate) fn span_ms(&self, events: u64, every: u64) -> u64 {
        (SPAN_MS * events / self.events.max(1)).saturating_mul(every).min(SPAN_MS)
    }

    fn json(&self, n: u64) -> String {
        events::write(n, &format!("h{n:019}"), self.time_ms(n), self.people)
    }

    /// Bytes of an event, on the average of the first.
    pub(crate) fn event_bytes(&self) -> f64 {
        let sum: usize = (0..BATCH).map(|n| self.json(n).len()).sum();
        crate::stats::ratio(sum as u64, BATCH)
    }

    /// The batches that are left to be taken; each is the number of its first event.
    fn batches(&self) -> Rc<Batches> {
        Rc::new(Batches { next: Cell::new(0), events: self.events })
    }

    /// Appends it to a server; the seconds it took.
    pub(crate) fn fill_counterfoil(self, server: &Server) -> Fallible<f64> {
        let headers = [
            ("content-type", "application/cloudevents-batch+json".to_owned()),
            ("authorization", format!("Bearer {}", server.producer_key()?)),
        ];
        let target = Target::new(&server.url, &format!("{MAIN}/events"), &headers)?;
        let from = Instant::now();
        in_parallel(async |all| {
            let batches = self.batches();
            for _ in 0..CONNECTIONS {
                let (mut sender, target) = (load::connect(&target).await?, target.clone());
                let batches = Rc::clone(&batches);
                all.spawn_local(async move {
                    while let Some(range) = batches.take() {
                        let events: Vec<String> = range.map(|n| self.json(n)).collect();
                        let body = Bytes::from(format!("[{}]", events.join(",")));
                        let mut request = Request::new(Full::new(body));
                        *request.method_mut() = Method::POST;
                        *request.uri_mut() = target.uri.clone();
                        *request.headers_mut() = target.headers.clone();
                        let answer = sender.send_request(request).await?;
                        let status = answer.status();
                        let said = answer.into_body().collect().await?.to_bytes();
                        if status != 201 {
                            return Err(format!("{status}: {}", String::from_utf8_lossy(&said)).into());
                        }
                    }
                    Ok(())
                });
            }
            Ok(())
        })?;
        Ok(from.elapsed().as_secs_f64())
    }

    /// Inserts it into the table `audit` of a cluster; the seconds it took.
    pub(crate) fn fill_postgres(self, cluster: &Cluster) -> Fallible<f64> {
        let from = Instant::now();
        in_parallel(async |all| {
            let batches = self.batches();
            for _ in 0..CONNECTIONS {
                let client = cluster.connect().await?;
                let statement = client.prepare(&Body::Jsonb.insert(true)).await?;
                let batches = Rc::clone(&batches);
                all.spawn_local(async move {
                    while let Some(range) = batches.take() {
                        let mut columns = Columns::default();
                        for n in range {
                            let (id, time_ms) = (format!("h{n:019}"), self.time_ms(n));
                            columns.push(Row::new(n, id, time_ms, self.people, self.json(n)));
                        }
                        columns.insert(&client, &statement).await?;
                    }
                    Ok(())
                });
            }
            Ok(())
        })?;
        Ok(from.elapsed().as_secs_f64())
    }
}

#[derive(Debug)]
struct Batches {
    next: Cell<u64>,
    events: u64,
}

impl Batches {
    fn take(&self) -> Option<std::ops::Range<u64>> {
        let from = self.next.get();
        let to = (from + BATCH).min(self.events);
        self.next.set(to);
        (from < to).then_some(from..to)
    }
}

/// Runs the tasks that `start` spawns to their end, on this thread.
fn in_parallel(start: impl AsyncFnOnce(&mut JoinSet<Fallible<()>>) -> Fallible<()>) -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut all = JoinSet::new();
        start(&mut all).await?;
        while let Some(end) = all.join_next().await {
            end??;
        }
        Ok(())
    })
}
