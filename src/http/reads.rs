//! Reads are events: whoever opens personal parts is written down first.
//!
//! In scope: what counts as a read, and recording it in the ledger of reads. Out of scope: who may see
//! personal parts ([`super::auth`]); what such an event looks like ([`crate::ledger::read_event`]).
//!
//! Invariants: an answer with an open personal part is sent only after the event that says so is durable;
//! where it cannot be recorded the read is refused; an answer without one leaves nothing. A handler that
//! opens parts makes a [`Reading`] of its request, counts what it shows in an [`Opened`], and awaits
//! [`Reading::record`] before it answers.

use crate::clock::random_fill;
use crate::event::facet::Facet;
use crate::ledger::{
    AppendError, Ledger, Opened, PRODUCER_SERVER, Question, READS_LEDGER, Reader, read_event,
};

use super::Server;
use super::append::of_append;
use super::auth;
use super::keys::KeyRecord;
use super::params::Params;
use super::problem::{self, Problem};

/// Parameters of a search that are neither facets nor texts, as they are recorded.
const TIMES: [&str; 3] = ["from", "to", "clock"];

/// Bytes of randomness in the id of a recorded read.
const ID_BYTES: usize = 16;

/// A request that may open personal parts.
#[derive(Debug)]
pub(crate) struct Reading {
    reader: Reader,
    asked: Question,
}

impl Reading {
    /// `operation` on `ledger` by the holder of `key`.
    pub(crate) fn new(
        key: &KeyRecord,
        ledger: &Ledger,
        operation: &'static str,
        params: &Params,
    ) -> Self {
        let facet = |facet: Facet| Some((facet, params.get(facet.name()?)?.to_owned()));
        let time = |name: &'static str| Some((name, params.get(name)?.to_owned()));
        Self {
            reader: Reader {
                id: key.id.clone(),
                number: key.number,
                label: key.label.clone(),
                role: key.role.name(),
            },
            asked: Question {
                operation,
                ledger: ledger.name().to_owned(),
                facets: Facet::all().filter_map(facet).collect(),
                times: TIMES.into_iter().filter_map(time).collect(),
                text: params.get("q").map(str::to_owned),
                reason: auth::stated(params.get("reason")).map(str::to_owned),
            },
        }
    }

    /// Records what is about to be shown, durably; nothing where no personal part is open in it.
    ///
    /// # Errors
    /// Why it could not be recorded. Then nothing personal may be sent.
    pub(crate) async fn record(&self, server: &Server, opened: &Opened) -> Result<(), Problem> {
        if opened.unmasked == 0 {
            return Ok(());
        }
        let refused = || Problem::new(problem::INTERNAL, REFUSED);
        let ledger = server.ledgers.get(READS_LEDGER).ok_or_else(refused)?;
        let mut id = [0_u8; ID_BYTES];
        random_fill(&mut id).map_err(|_| refused())?;
        let event = read_event(hex::encode(id), &self.reader, &self.asked, opened);
        let recorded = ledger.append(vec![Ok(event)], PRODUCER_SERVER, true, false).await;
        match recorded.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(not_recorded(&error)),
            None => Err(refused()),
        }
    }
}

/// What became of a read that could not be recorded.
const REFUSED: &str =
    "personal parts are opened only to reads that are recorded, and this one could not be";

fn not_recorded(error: &AppendError) -> Problem {
    let problem = of_append(error);
    if problem.kind().status < 500 {
        // The event is the server's own, so that whatever is wrong with it is the server's fault.
        eprintln!("counterfoil: a read was not recorded: {}", problem.detail());
        return Problem::new(problem::INTERNAL, REFUSED);
    }
    Problem::new(problem.kind(), format!("{REFUSED}: {}", problem.detail()))
}
