//! Power is cut at chance points of chance runs; what was synced must come back, and nothing else.

use super::*;

/// What the writer knows: all frames it ever gave to the journal, and how many were acknowledged.
struct Writer {
    frames: Vec<Frame>,
    synced: usize,
    trimmed_below: u64,
}

impl Writer {
    fn next_index(&self) -> u64 {
        self.frames.last().map_or(0, Frame::next_index)
    }

    /// Appends, syncs, rolls and trims until the power goes or enough was done.
    fn run(&mut self, journal: &mut Journal, dice: &mut Dice) -> Result<(), JournalError> {
        for _ in 0..30 {
            match dice.roll(10) {
                0 => journal.roll()?,
                1 => {
                    let durable = self.frames[..self.synced].last().map_or(0, Frame::next_index);
                    let below = durable.saturating_sub(u64::try_from(dice.roll(8)).unwrap());
                    self.trimmed_below = self.trimmed_below.max(below);
                    journal.trim().trim_below(below)?;
                }
                2..6 => {
                    journal.sync()?;
                    self.synced = self.frames.len();
                }
                _ => {
                    let frame = dice.frame(self.next_index());
                    self.frames.push(frame.clone());
                    journal.append(&frame)?;
                }
            }
        }
        Ok(())
    }

    /// Compares what came back with what was written, and goes on from there.
    fn accept(&mut self, journal: &Journal, recovered: &Recovered, context: &str) {
        let next = journal.next_index().unwrap_or(0);
        let kept = self.frames.iter().take_while(|frame| frame.next_index() <= next).count();
        assert!(kept >= self.synced, "{context}: {kept} frames of {} acknowledged", self.synced);
        let begin = kept - recovered.frames.len();
        assert_eq!(
            recovered.frames,
            self.frames[begin..kept],
            "{context}: frames that were never written"
        );
        let first = recovered.frames.first().map_or(next, |frame| frame.first_index);
        assert!(first <= self.trimmed_below, "{context}: gone from {first} without having been trimmed");
        self.frames.truncate(kept);
        self.synced = kept;
    }
}

fn run_seed(seed: u64) -> (usize, usize) {
    let storage = Arc::new(FaultyStorage::new(seed));
    let mut dice = Dice::new(seed);
    let mut writer = Writer { frames: Vec::new(), synced: 0, trimmed_below: 0 };
    let (mut cuts, mut crashes) = (0, 0);
    for round in 0..6 {
        let context = format!("seed {seed}, round {round}");
        storage.cut_power_after(u64::try_from(dice.roll(40)).unwrap());
        // The power may also go while the journal is being recovered.
        if let Ok((mut journal, recovered)) = open(&storage) {
            writer.accept(&journal, &recovered, &context);
            journal.segment_bytes_max = 4_000;
            let _ = writer.run(&mut journal, &mut dice);
        }
        storage.crash();
        crashes += 1;
        let (journal, recovered) = open(&storage).unwrap_or_else(|error| panic!("{context}: {error}"));
        cuts += usize::from(recovered.cut.is_some());
        writer.accept(&journal, &recovered, &context);
        let (_, again) = open(&storage).unwrap();
        assert_eq!(again.frames, recovered.frames, "{context}: recovery is not repeatable");
        assert_eq!(again.cut, None, "{context}: what was cut came back");
    }
    (cuts, crashes)
}

#[test]
fn what_was_synced_comes_back_and_nothing_is_invented() {
    let (mut cuts, mut crashes) = (0, 0);
    for seed in 0..400 {
        let (c, n) = run_seed(seed);
        cuts += c;
        crashes += n;
    }
    assert!(cuts > crashes / 20, "{cuts} torn ends in {crashes} crashes exercise too little");
}

#[test]
fn a_trim_interrupted_anywhere_leaves_no_gap() {
    for seed in 0..60 {
        for changes in 0..12 {
            let storage = Arc::new(FaultyStorage::new(seed));
            let frames = fill(&storage, 30, 3_000);
            let (journal, _) = open(&storage).unwrap();
            storage.cut_power_after(changes);
            let _ = journal.trim().trim_below(u64::MAX);
            storage.crash();
            let (_, recovered) = open(&storage).unwrap();
            assert!(frames.ends_with(&recovered.frames), "seed {seed}, {changes} changes");
        }
    }
}

#[test]
fn what_recovery_gave_is_durable_though_its_writer_never_synced_it() {
    for seed in 0..50 {
        let storage = Arc::new(FaultyStorage::new(seed));
        let (mut journal, _) = open(&storage).unwrap();
        journal.append(&one(0)).unwrap();
        journal.sync().unwrap();
        journal.append(&one(1)).unwrap();
        // The process ends, the machine does not; then the machine does.
        drop(journal);
        let (_, recovered) = open(&storage).unwrap();
        assert_eq!(recovered.frames, [one(0), one(1)]);
        storage.crash();
        assert_eq!(open(&storage).unwrap().1, recovered, "seed {seed}");
    }
}

#[test]
fn a_segment_is_not_begun_before_the_one_before_it_is_durable() {
    for seed in 0..100 {
        let storage = Arc::new(FaultyStorage::new(seed));
        let (mut journal, _) = open(&storage).unwrap();
        journal.segment_bytes_max = 100;
        for index in 0..4 {
            journal.append(&one(index)).unwrap();
        }
        storage.crash();
        let (_, recovered) = open(&storage).unwrap();
        assert!(recovered.frames.len() >= 3, "seed {seed}: only the last frame may be torn");
    }
}

#[test]
fn a_rolled_segment_is_there_after_a_crash() {
    for seed in 0..50 {
        let storage = Arc::new(FaultyStorage::new(seed));
        let (mut journal, _) = open(&storage).unwrap();
        journal.append(&one(0)).unwrap();
        journal.roll().unwrap();
        storage.crash();
        let (journal, recovered) = open(&storage).unwrap();
        assert_eq!((recovered.frames, recovered.cut), (vec![one(0)], None), "seed {seed}");
        assert_eq!(journal.segment_count(), 2, "seed {seed}");
    }
}
