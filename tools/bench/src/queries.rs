//! The query bench: the same questions to Counterfoil and to `PostgreSQL` about the same history.
//!
//! In scope: four questions, each at one connection and at 64; Counterfoil over HTTP with its role checks,
//! opened events and `as_of`, `PostgreSQL` over prepared statements with an index for each question. Out of
//! scope: loading. Invariants: everything is in memory on both sides, as it is right after loading; a
//! sample of Counterfoil's answers must say the size of the log they speak of; one that stops early, because
//! the work of a request is bounded, is no whole answer, and the table says so.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde_json::Value;
use tokio::task::{JoinSet, LocalSet};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::Fallible;
use crate::events::{actor, purpose, said, spread, subject};
use crate::history::History;
use crate::http;
use crate::load::{self, Ask, Gate, Outcome, Plan, Target, Window};
use crate::peers::counterfoil::{MAIN, Server};
use crate::peers::postgres::{Body, Cluster};
use crate::stats::{figure, percentile_ms};
use crate::table::Table;

/// Events of an answer at most.
const LIMIT: u64 = 50;

const INDEXES: &str = "create index on audit (subject, at desc, id desc);
    create index on audit (actor, at desc, id desc); create index on audit (purpose, at desc, id desc)";

const COLUMNS: &str = "id, ts, at, source, type, actor, subject, purpose, event_id, body::text";

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Subject,
    Actor,
    Purpose,
    Position,
}

const QUESTIONS: [Question; 4] =
    [Question::Subject, Question::Actor, Question::Purpose, Question::Position];

impl Question {
    fn name(self) -> &'static str {
        match self {
            Self::Subject => "by subject, newest 50",
            Self::Actor => "by actor within a span of about 50 events",
            Self::Purpose => "by purpose before a time, newest 50",
            Self::Position => "one event by its position",
        }
    }

    /// Whom and when the `n`th asks about: a person or thing that occurs, and a span.
    fn about(self, n: u64, history: &History) -> (u64, u64, u64) {
        let random = spread(n ^ 0xa5_4b_3c);
        // Somebody of a random event in the later half, so that the answer is not empty.
        let event = history.events / 2 + random % (history.events / 2).max(1);
        let said = said(event, history.people);
        let at = history.time_ms(event);
        match self {
            Self::Subject => (said.subject, 0, at),
            Self::Actor => {
                let span = history.span_ms(LIMIT, history.people.actors);
                (said.actor, at.saturating_sub(span), at + 1)
            }
            Self::Purpose => (said.action, 0, at + 1),
            Self::Position => (event, 0, at),
        }
    }

    fn path(self, n: u64, history: &History) -> String {
        let (who, from, to) = self.about(n, history);
        match self {
            Self::Subject => format!("{MAIN}/events?subject={}&order=desc&limit={LIMIT}", subject(who)),
            Self::Actor => format!(
                "{MAIN}/events?actor={}&from={}&to={}&order=desc&limit={LIMIT}",
                actor(who),
                rfc3339(from),
                rfc3339(to)
            ),
            Self::Purpose => format!(
                "{MAIN}/events?purpose={}&to={}&order=desc&limit={LIMIT}",
                purpose(who),
                rfc3339(to)
            ),
            Self::Position => format!("{MAIN}/events/{who}"), // see `positions`
        }
    }

    fn sql(self) -> String {
        let what = match self {
            Self::Subject => "subject = $1 order by at desc, id desc",
            Self::Actor => "actor = $1 and at >= $2 and at < $3 order by at desc, id desc",
            Self::Purpose => "purpose = $1 and at < $2 order by at desc, id desc",
            Self::Position => "id = $1",
        };
        format!("select {COLUMNS} from audit where {what} limit {LIMIT}")
    }

    /// Asks `PostgreSQL`; the rows that came.
    async fn ask(
        self,
        n: u64,
        history: &History,
        client: &Client,
        statement: &Statement,
    ) -> Fallible<usize> {
        let (who, from, to) = self.about(n, history);
        let (text, id) = match self {
            Self::Subject => (subject(who), 0),
            Self::Actor => (actor(who), 0),
            Self::Purpose => (purpose(who).to_owned(), 0),
            Self::Position => (String::new(), i64::try_from(who)? + 1),
        };
        let (from, to) = (moment(from), moment(to));
        let values: Vec<&(dyn ToSql + Sync)> = match self {
            Self::Subject => vec![&text],
            Self::Actor => vec![&text, &from, &to],
            Self::Purpose => vec![&text, &to],
            Self::Position => vec![&id],
        };
        Ok(client.query(statement, &values).await?.len())
    }
}

fn moment(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn rfc3339(ms: u64) -> String {
    let time =
        Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// One question, asked of one system by so many connections.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    connections: usize,
    system: &'static str,
    per_s: f64,
    p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// What is to be said of the answers.
    note: String,
}

/// Asks everything; `dir` is empty.
pub(crate) fn run(
    counterfoil: &Path,
    history: History,
    measure: Duration,
    dir: &Path,
) -> Fallible<Vec<Asked>> {
    let server = Server::start(counterfoil, dir)?;
    let took = history.fill_counterfoil(&server)?;
    say!("queries: Counterfoil filled in {took:.1} s");
    let cluster = Cluster::start(dir)?;
    cluster.execute(&Body::Jsonb.table(false))?;
    let took = history.fill_postgres(&cluster)?;
    cluster.execute(INDEXES)?;
    cluster.execute("vacuum analyze audit")?;
    cluster.execute("checkpoint")?;
    say!("queries: PostgreSQL filled in {took:.1} s");
    let mut all = Vec::new();
    for question in QUESTIONS {
        for connections in [1, 64] {
            let warm = measure / 4;
            let plan = Plan { connections, batch: 1, warm, measure, rate: None };
            let (ours, note) = ask_counterfoil(question, &plan, &history, &server)?;
            let theirs = ask_postgres(question, &plan, &history, &cluster)?;
            for (system, outcome, note) in
                [("Counterfoil", ours, note), ("PostgreSQL", theirs, String::new())]
            {
                let asked = Asked {
                    question,
                    connections,
                    system,
                    per_s: outcome.events_per_s(),
                    p50_ms: percentile_ms(&outcome.latencies_us, 500),
                    p99_ms: percentile_ms(&outcome.latencies_us, 990),
                    note,
                };
                say!("{}, {connections}: {system} {}/s", question.name(), figure(Some(asked.per_s)));
                all.push(asked);
            }
        }
    }
    server.end()?;
    cluster.end()?;
    Ok(all)
}

fn ask_counterfoil(
    question: Question,
    plan: &Plan,
    history: &History,
    server: &Server,
) -> Fallible<(Outcome, String)> {
    let key = format!("Bearer {}", server.admin_key()?);
    let history = *history;
    let ask: Ask = match question {
        Question::Position => {
            let positions = positions(server, &history)?;
            Arc::new(move |n| {
                let at = usize::try_from(spread(n)).unwrap_or(usize::MAX) % positions.len().max(1);
                format!("{MAIN}/events/{}", positions.get(at).copied().unwrap_or(0))
            })
        }
        _ => Arc::new(move |n| question.path(n, &history)),
    };
    let target = Target::asking(&server.url, ask, &[("authorization", key)])?;
    let outcome = load::run(plan, &target, server.process.pid())?;
    let mut unfinished = 0;
    for (_, answer) in outcome.samples.iter().filter(|_| question != Question::Position) {
        let answer: Value = serde_json::from_slice(answer)?;
        let events = answer.get("events").and_then(Value::as_array).map_or(0, Vec::len) as u64;
        let size = answer.pointer("/as_of/size").and_then(Value::as_u64).unwrap_or(0);
        let more = answer.get("next_cursor").is_some_and(|cursor| !cursor.is_null());
        if size < history.events || (events == 0 && !more) {
            return Err(format!("{}: {events} events as of {size}", question.name()).into());
        }
        unfinished += usize::from(events < LIMIT && more);
    }
    let note = match unfinished {
        0 => String::new(),
        some => {
            format!("{some} of {} sampled answers gave up early, with a cursor", outcome.samples.len())
        }
    };
    Ok((outcome, note))
}

/// Positions of events all over the log. Not every position is an event's: registrations of persons lie
/// between them.
fn positions(server: &Server, history: &History) -> Fallible<Vec<u64>> {
    let key = server.admin_key()?;
    let mut found = Vec::new();
    for n in 0..400 {
        let answer = http::get(&server.url, &Question::Subject.path(n, history), Some(&key))?;
        let answer: Value = serde_json::from_slice(&answer.body)?;
        let events = answer.get("events").and_then(Value::as_array).ok_or("no events were found")?;
        found.extend(events.iter().filter_map(|event| event.get("index").and_then(Value::as_u64)));
    }
    if found.is_empty() { Err("no answer names a position".into()) } else { Ok(found) }
}

fn ask_postgres(
    question: Question,
    plan: &Plan,
    history: &History,
    cluster: &Cluster,
) -> Fallible<Outcome> {
    let threads = 2.min(plan.connections);
    load::observed(plan, threads, cluster.process.pid(), |number, gate| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let series = 1_000_000 * number as u64;
        let work = thread(question, plan.connections / threads, series, *history, cluster, gate);
        LocalSet::new().block_on(&runtime, work)
    })
}

async fn thread(
    question: Question,
    connections: usize,
    series: u64,
    history: History,
    cluster: &Cluster,
    gate: &Gate,
) -> Fallible<Outcome> {
    let mut ready = Vec::with_capacity(connections);
    for n in 0..connections {
        let client = cluster.connect().await?;
        let statement = client.prepare(&question.sql()).await?;
        ready.push((Rc::new(client), statement, series + 10_000 * n as u64));
    }
    let window = gate.pass();
    let seen = Rc::new(RefCell::new(Outcome::default()));
    let mut all = JoinSet::new();
    for (client, statement, first) in &ready {
        let (client, statement, first) = (Rc::clone(client), statement.clone(), *first);
        let seen = Rc::clone(&seen);
        all.spawn_local(async move {
            drive(question, first, history, &client, &statement, window, &seen).await
        });
    }
    while let Some(end) = all.join_next().await {
        end??;
    }
    gate.hold();
    Ok(seen.take())
}

async fn drive(
    question: Question,
    first: u64,
    history: History,
    client: &Client,
    statement: &Statement,
    window: Window,
    seen: &RefCell<Outcome>,
) -> Fallible<()> {
    for n in first.. {
        let from = Instant::now();
        if from >= window.ends {
            break;
        }
        if question.ask(n, &history, client, statement).await? == 0 {
            return Err(format!("{}: PostgreSQL found nothing", question.name()).into());
        }
        seen.borrow_mut().count(window, 1, from, Instant::now());
    }
    Ok(())
}

/// Its table.
pub(crate) fn table(all: &[Asked]) -> Table {
    let mut table =
        Table::new(&["question", "connections", "system", "answers/s", "p50 ms", "p99 ms", ""]);
    for asked in all {
        table.row([
            asked.question.name().to_owned(),
            asked.connections.to_string(),
            asked.system.to_owned(),
            figure(Some(asked.per_s)),
            figure(asked.p50_ms),
            figure(asked.p99_ms),
            asked.note.clone(),
        ]);
    }
    table
}

/// The 99th percentile of Counterfoil by subject, the worse of the two loads.
pub(crate) fn subject_p99_ms(all: &[Asked]) -> Option<f64> {
    let ours =
        all.iter().filter(|asked| asked.system == "Counterfoil" && asked.question == Question::Subject);
    ours.filter_map(|asked| asked.p99_ms).reduce(f64::max)
}
