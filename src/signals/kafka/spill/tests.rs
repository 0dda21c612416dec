//! What a spill promises, under every fault it is to survive.

use std::{collections::VecDeque, os::unix::fs::PermissionsExt, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::files::{
    child_process::{child_path, limit_file_size, spawn_child},
    fail_writes_beyond_the_size_limit,
};

const CONFIG: SpillConfig = SpillConfig { max_bytes: 1 << 20, segment_bytes: 128 << 10 };

fn opened(dir: &Path) -> (Spill, SpillRecovery) {
    Spill::open(dir, CONFIG).unwrap()
}

/// A record that says which one it is, of 8 to 1 007 bytes.
fn record(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + (number * 37 % 1_000) as usize, number as u8);
    bytes
}

fn append(spill: &mut Spill, numbers: std::ops::Range<u64>) {
    for number in numbers {
        spill.append(&[&record(number)]).unwrap();
    }
}

/// Takes everything; each record must be one of [`record`]'s.
fn drained(spill: &mut Spill) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(bytes) = spill.front() {
        let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(bytes, record(number));
        numbers.push(number);
        assert!(spill.pop());
    }
    assert!(spill.is_empty() && spill.bytes() == 0 && !spill.pop());
    numbers
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn faults(spill: &mut Spill) -> Vec<String> {
    std::iter::from_fn(|| spill.next_fault()).map(|fault| fault.to_string()).collect()
}

#[test]
fn records_come_out_in_order_over_segments_and_taken_segments_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, recovery) = opened(dir.path());
    assert_eq!(recovery, SpillRecovery::default());
    append(&mut spill, 0..1_000);
    spill.append(&[]).unwrap();
    assert_eq!((spill.len(), segments(dir.path()).len()), (1_001, 4));
    for path in segments(dir.path()) {
        let metadata = path.metadata().unwrap();
        assert!(metadata.len() <= CONFIG.segment_bytes);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    for number in 0..1_000 {
        assert_eq!(spill.front().unwrap(), record(number));
        assert_eq!(spill.front().unwrap(), record(number), "looking takes nothing");
        assert!(spill.pop());
    }
    assert_eq!(spill.front().unwrap(), b"", "an empty record is one, too");
    assert!(spill.pop() && spill.front().is_none());
    assert!(segments(dir.path()).is_empty());
    let counters = spill.counters();
    let expected = SpillCounters { appended: 1_001, taken: 1_001, ..SpillCounters::default() };
    assert_eq!(counters, expected);
}

#[test]
fn a_full_spill_and_a_long_record_are_refused_and_the_disk_keeps_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    let on_disk =
        || -> u64 { segments(dir.path()).iter().map(|p| p.metadata().unwrap().len()).sum() };
    let mut refused = 0;
    for number in 0..5_000 {
        match spill.append(&[&record(number)]) {
            Err(SpillError::Full { .. }) => refused += 1,
            taken => taken.unwrap(),
        }
        // At the bound most of the time: what is taken makes room for what comes.
        if number % 4 == 0 {
            spill.pop();
        }
        assert!(spill.bytes() <= CONFIG.max_bytes);
        assert!(on_disk() <= CONFIG.max_bytes + CONFIG.segment_bytes + 16 * HEADER_BYTES);
    }
    assert!(refused > 1_000);
    let long = spill.append(&[&vec![1; MAX_RECORD_BYTES], &[2]]);
    assert!(matches!(long, Err(SpillError::RecordTooLong { len: 65_537, max: 65_536 })));
    let counters = spill.counters();
    assert_eq!((counters.refused_full, counters.refused_long), (refused, 1));
    let len = spill.len();
    assert_eq!(drained(&mut spill).len() as u64, len);
}

#[test]
fn settings_out_of_range_and_a_second_owner_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made/here");
    for (max_bytes, segment_bytes, key) in [
        (1 << 20, 1_000, "segment_bytes"),
        (1 << 40, 2 << 30, "segment_bytes"),
        (0, 1 << 20, "max_bytes"),
        (129 << 20, 1 << 20, "max_bytes"),
    ] {
        let error = Spill::open(&dir, SpillConfig { max_bytes, segment_bytes }).unwrap_err();
        assert!(matches!(error, SpillError::Config { key: k, .. } if k == key), "{error}");
    }
    let (spill, _) = opened(&dir);
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(Spill::open(&dir, CONFIG), Err(SpillError::Locked { .. })));
    drop(spill);
    opened(&dir);
}

#[test]
fn after_a_crash_settled_records_of_a_segment_come_again_and_after_closing_they_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    append(&mut spill, 0..100);
    (0..30).for_each(|_| assert!(spill.pop()));
    drop(spill);
    let (mut spill, recovery) = opened(dir.path());
    assert_eq!(recovery.records, 100, "as after a crash: at least once");
    (0..40).for_each(|_| assert!(spill.pop()));
    let bytes = spill.bytes();
    spill.close();
    let (mut spill, recovery) = opened(dir.path());
    assert_eq!((recovery.records, recovery.bytes), (60, bytes));
    assert_eq!(drained(&mut spill), (40..100).collect::<Vec<_>>());
}

#[test]
fn a_segment_stays_until_its_last_record_is_settled_and_comes_whole_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    append(&mut spill, 0..600);
    let files = segments(dir.path());
    let taken: Vec<_> = (0..600).map(|_| spill.take().unwrap()).collect();
    assert!(spill.is_empty() && spill.bytes() == 0 && spill.take().is_none());
    assert_eq!(segments(dir.path()), files, "nothing is settled");
    // In any order: of the first segment all but one, of the others all.
    for one in taken[1..].iter().rev() {
        spill.settle(*one);
    }
    assert_eq!(segments(dir.path()), files[..1]);
    drop(spill);
    let (mut spill, recovery) = opened(dir.path());
    assert!(recovery.records > 100 && recovery.segments == 1);
    assert_eq!(drained(&mut spill), (0..recovery.records).collect::<Vec<_>>());
    assert!(segments(dir.path()).is_empty());
}

#[test]
fn what_was_taken_and_not_settled_does_not_come_again_after_closing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    append(&mut spill, 0..300);
    let mut left = Vec::new();
    for number in 0..200 {
        let taken = spill.take().unwrap();
        if number % 50 == 0 {
            left.push(record(number));
        } else {
            spill.settle(taken);
        }
    }
    spill.put_back(left.iter().map(Vec::as_slice)).1.unwrap();
    spill.close();
    let (mut spill, _) = opened(dir.path());
    let expected: Vec<_> = (0..200).step_by(50).chain(200..300).collect();
    assert_eq!(drained(&mut spill), expected);
}

#[test]
fn a_spill_that_is_emptied_as_it_fills_makes_no_file_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    let mut under_way = VecDeque::new();
    for number in 0..2_000 {
        append(&mut spill, number..number + 1);
        assert_eq!(spill.front().unwrap(), record(number));
        under_way.push_back(spill.take().unwrap());
        if under_way.len() > 20 {
            spill.settle(under_way.pop_front().unwrap());
        }
        assert!((1..=2).contains(&segments(dir.path()).len()), "record {number}");
    }
    drop(spill);
    let (mut spill, _) = opened(dir.path());
    let found = drained(&mut spill);
    assert!(found[0] <= 1_980 && found == (found[0]..2_000).collect::<Vec<_>>());
}

#[test]
fn what_is_put_back_comes_first_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    append(&mut spill, 10..20);
    assert_eq!(spill.front().unwrap(), record(10));
    for start in [5, 0] {
        let records: Vec<_> = (start..start + 5).map(record).collect();
        let (kept, outcome) = spill.put_back(records.iter().map(Vec::as_slice));
        outcome.unwrap();
        assert_eq!(kept, 5);
        assert_eq!(spill.front().unwrap(), record(start));
    }
    let (kept, outcome) = spill.put_back([vec![0; MAX_RECORD_BYTES + 1].as_slice()]);
    assert!(kept == 0 && matches!(outcome, Err(SpillError::RecordTooLong { .. })));
    assert_eq!(segments(dir.path()).len(), 3);
    spill.close();
    let (mut spill, _) = opened(dir.path());
    append(&mut spill, 20..25);
    assert_eq!(drained(&mut spill), (0..25).collect::<Vec<_>>());
}

#[test]
fn a_spill_cut_at_any_byte_opens_with_its_whole_records_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    append(&mut spill, 0..4);
    drop(spill);
    let path = segments(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..=4)
        .map(|n| {
            HEADER_BYTES as usize + (0..n).map(|i| record(i).len() + HEAD_BYTES).sum::<usize>()
        })
        .collect();
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (mut spill, recovery) = opened(dir.path());
        let records = ends.iter().filter(|&&end| end <= cut).count().saturating_sub(1);
        assert_eq!(recovery.records, records as u64, "cut at {cut}");
        let torn = if cut < ends[0] { cut } else { cut - ends[records] };
        assert_eq!(recovery.torn_bytes, torn as u64, "cut at {cut}");
        append(&mut spill, 9..10);
        let expected: Vec<_> = (0..records as u64).chain([9]).collect();
        assert_eq!(drained(&mut spill), expected);
        assert_eq!(spill.counters().damaged_gaps, 0);
        assert!(faults(&mut spill).is_empty() && segments(dir.path()).is_empty());
    }
}

#[test]
fn a_flip_of_any_byte_costs_the_record_it_hits_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    append(&mut spill, 0..5);
    drop(spill);
    let path = segments(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        let (mut spill, recovery) = opened(dir.path());
        let found = drained(&mut spill);
        let told = faults(&mut spill);
        drop(spill);
        if at < 24 {
            assert_eq!((found.len(), recovery.left_alone), (0, 1), "byte {at}");
            assert!(told[0].contains(": left alone: "), "{told:?}");
            assert_eq!(std::fs::read(&path).unwrap(), flipped);
            std::fs::remove_file(&path).unwrap();
        } else if at < HEADER_BYTES as usize {
            assert_eq!(found, [0, 1, 2, 3, 4], "byte {at} is of the mark");
        } else {
            let mut end = HEADER_BYTES as usize;
            let hit = (0..5).find(|&n| {
                end += HEAD_BYTES + record(n).len();
                at < end
            });
            let spared: Vec<_> = (0..5).filter(|&n| Some(n) != hit).collect();
            assert_eq!(found, spared, "byte {at}");
            // Behind the last whole record damage and a torn write look the same.
            let is_torn = hit == Some(4);
            assert_eq!((told.len(), recovery.torn_bytes > 0), (usize::from(!is_torn), is_torn));
        }
    }
}

#[test]
fn damage_while_it_runs_is_told_with_its_place_and_lost_records_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    append(&mut spill, 0..400);
    let paths = segments(dir.path());
    let mut bytes = std::fs::read(&paths[0]).unwrap();
    bytes[HEADER_BYTES as usize] ^= 1;
    std::fs::write(&paths[0], bytes).unwrap();
    std::fs::write(&paths[1], "emptied by somebody").unwrap();
    let found = drained(&mut spill);
    let counters = spill.counters();
    assert!(found[0] == 1 && found.len() < 399);
    assert_eq!(counters.records_lost, 400 - found.len() as u64);
    let told = faults(&mut spill);
    assert_eq!(
        told[0],
        format!("{}: 20 damaged bytes at offset 40 skipped", paths[0].display()),
        "{told:?}"
    );
    assert_eq!(counters.damaged_gaps, told.len() as u64);
}

#[test]
fn foreign_files_are_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let name = |number: u64| format!("segment-{:020}.spill", FIRST_SEQUENCE + number);
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    std::fs::write(dir.path().join(name(1)), "not a segment, but of its name").unwrap();
    std::fs::create_dir(dir.path().join(name(2))).unwrap();
    std::fs::write(dir.path().join(name(3)), format::header(FIRST_SEQUENCE + 4)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join(name(5))).unwrap();
    let (mut spill, recovery) = opened(dir.path());
    assert_eq!((recovery.left_alone, recovery.records), (5, 0));
    let told = faults(&mut spill);
    for what in ["notes.txt", &name(1), &name(2), &name(3), &name(5)] {
        assert!(told.iter().any(|line| line.contains(what)), "{what}: {told:?}");
    }
    append(&mut spill, 0..3);
    assert!(segments(dir.path()).iter().any(|path| path.ends_with(name(6))));
    assert_eq!(drained(&mut spill), [0, 1, 2]);
    assert_eq!(segments(dir.path()).len(), 5);
}

#[test]
fn a_full_disk_refuses_records_and_takes_them_when_it_has_room_again() {
    let Ok(full) = File::options().read(true).write(true).open("/dev/full") else {
        eprintln!("skipped: no /dev/full");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    append(&mut spill, 0..5);
    let file = std::mem::replace(&mut spill.segments[0].file, full);
    for _ in 0..3 {
        let error = spill.append(&[b"lost"]).unwrap_err().to_string();
        assert!(error.contains(".spill: cannot write: No space left"), "{error}");
    }
    spill.segments[0].file = file;
    append(&mut spill, 5..8);
    assert_eq!((spill.counters().write_errors, spill.len()), (3, 8));
    assert_eq!(drained(&mut spill), (0..8).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_cannot_be_read_is_named_left_alone_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spill, _) = opened(dir.path());
    append(&mut spill, 0..400);
    let lost = spill.segments[0].records;
    // A folder opens, and refuses to be read.
    spill.segments[0].file = File::open(dir.path()).unwrap();
    let path = spill.segments[0].path.clone();
    assert_eq!(drained(&mut spill), (lost..400).collect::<Vec<_>>());
    let counters = spill.counters();
    assert_eq!((counters.read_errors, counters.records_lost), (1, lost));
    assert!(faults(&mut spill)[0].starts_with(&format!("{}: cannot read: ", path.display())));
    assert_eq!(segments(dir.path()), [path]);
}

#[test]
fn a_deleted_folder_is_told_made_again_and_costs_this_process_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("spill");
    let (mut spill, _) = opened(&dir);
    append(&mut spill, 0..300);
    std::fs::remove_dir_all(&dir).unwrap();
    append(&mut spill, 300..310);
    assert_eq!(spill.counters().segments_deleted, 1);
    assert!(faults(&mut spill)[0].contains(": deleted by somebody else"));
    assert_eq!(segments(&dir).len(), 1, "what came after is on disk again");
    assert!(matches!(Spill::open(&dir, CONFIG), Err(SpillError::Locked { .. })));
    // A file in its place: nothing can be made, until it is gone.
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::write(&dir, "").unwrap();
    assert!(matches!(spill.append(&[b"lost"]), Err(SpillError::Io { action: "create", .. })));
    std::fs::remove_file(&dir).unwrap();
    append(&mut spill, 310..320);
    assert_eq!(drained(&mut spill), (0..320).collect::<Vec<_>>());
    assert!(segments(&dir).is_empty());
}

#[test]
fn a_read_only_folder_refuses_new_segments_and_taken_ones_do_not_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("spill");
    let (mut spill, _) = opened(&dir);
    append(&mut spill, 0..10);
    let allow = |mode| std::fs::set_permissions(&dir, PermissionsExt::from_mode(mode)).unwrap();
    std::os::unix::fs::chown(dir.parent().unwrap(), Some(65_534), None).ok();
    std::os::unix::fs::chown(&dir, Some(65_534), None).ok();
    allow(0o500);
    // SAFETY: changes whom the file system sees in this thread alone, until it is undone below.
    unsafe { libc::setfsuid(65_534) };
    if File::create(dir.join("probe")).is_ok() {
        eprintln!("skipped: this user may write anywhere");
        return;
    }
    assert_eq!(drained(&mut spill), (0..10).collect::<Vec<_>>());
    let told = faults(&mut spill);
    assert!(told[0].contains(": cannot remove: Permission denied"), "{told:?}");
    let refused = spill.append(&[b"lost"]).unwrap_err().to_string();
    assert!(refused.contains(": cannot create: Permission denied"), "{refused}");
    assert_eq!(spill.counters().write_errors, 2);
    // SAFETY: as above.
    unsafe { libc::setfsuid(libc::geteuid()) };
    allow(0o700);
    append(&mut spill, 20..22);
    drop(spill);
    let (mut spill, recovery) = opened(&dir);
    assert_eq!((recovery.records, recovery.left_alone), (2, 0));
    assert_eq!(drained(&mut spill), [20, 21]);
}

#[test]
fn a_file_at_its_size_limit_is_left_whole_and_followed_by_another() {
    let test = "a_file_at_its_size_limit_is_left_whole_and_followed_by_another";
    if let Some(dir) = child_path(test) {
        fail_writes_beyond_the_size_limit();
        limit_file_size(Some(5_000));
        let (mut spill, _) = opened(&dir);
        let mut taken = 0;
        let mut refused = 0;
        while taken < 50 {
            match spill.append(&[&record(taken)]) {
                Ok(()) => taken += 1,
                Err(SpillError::Io { action: "write", .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused > 3 && spill.counters().write_errors == refused);
        // Of what does not fit when it is put back, the first are kept.
        let records: Vec<_> = (100..150).map(record).collect();
        let (kept, outcome) = spill.put_back(records.iter().map(Vec::as_slice));
        assert!(matches!(outcome, Err(SpillError::Io { action: "write", .. })));
        assert!(kept > 3 && spill.len() == 50 + kept);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(spawn_child(module_path!(), test, dir.path()).wait().unwrap().success());
    let (mut spill, recovery) = opened(dir.path());
    assert_eq!(recovery.torn_bytes, 0);
    let put_back = 100..100 + recovery.records - 50;
    assert_eq!(drained(&mut spill), put_back.chain(0..50).collect::<Vec<_>>());
}

#[test]
fn a_killed_process_leaves_every_appended_record_whole_and_in_order() {
    let test = "a_killed_process_leaves_every_appended_record_whole_and_in_order";
    if let Some(dir) = child_path(test) {
        let (mut spill, _) = opened(&dir.join("spill"));
        let mut under_way = VecDeque::new();
        for number in 0_u64.. {
            append(&mut spill, number..number + 1);
            // Told after it was taken: what is told must be there.
            std::fs::write(dir.join("told"), number.to_le_bytes()).unwrap();
            // Of each segment the last records are settled long after they were taken.
            if number >= 100 {
                under_way.push_back(spill.take().unwrap());
            }
            if number >= 200 {
                spill.settle(under_way.pop_front().unwrap());
            }
        }
    }
    for attempt in 1..=4 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = spawn_child(module_path!(), test, dir.path());
        let told = || std::fs::read(dir.path().join("told")).ok()?.try_into().ok();
        // Killed after varied numbers rather than times: a busy machine changes nothing.
        while told().map_or(0, u64::from_le_bytes) < 400 * attempt {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (mut spill, _) = opened(&dir.path().join("spill"));
        let found = drained(&mut spill);
        // The kill can hit between emptying `told` and filling it again.
        let told = told().map_or(400 * attempt, u64::from_le_bytes);
        let (first, last) = (found[0], found[found.len() - 1]);
        assert!(last >= told && first + 199 <= last, "{first} to {last}, told {told}");
        assert_eq!(found, (first..=last).collect::<Vec<_>>());
        assert_eq!(spill.counters().damaged_gaps, 0);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Pop(usize),
    PutBack(Vec<usize>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = || prop_oneof![3 => 0_usize..2_000, 1 => 20_000..MAX_RECORD_BYTES + 2];
    let step = prop_oneof![
        6 => len().prop_map(Step::Append),
        4 => (1_usize..6).prop_map(Step::Pop),
        1 => prop::collection::vec(0_usize..3_000, 0..4).prop_map(Step::PutBack),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_interleaving_does_what_a_queue_in_memory_does(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let config = SpillConfig { max_bytes: 400 << 10, ..CONFIG };
        let mut spill = Spill::open(dir.path(), config).unwrap().0;
        let mut model = VecDeque::<Vec<u8>>::new();
        let mut made = 0_u8;
        let mut fresh = |len: usize| {
            made = made.wrapping_add(1);
            vec![made; len]
        };
        for step in steps {
            let bytes: usize = model.iter().map(|record| record.len() + HEAD_BYTES).sum();
            prop_assert_eq!(spill.bytes(), bytes as u64);
            match step {
                Step::Append(len) => {
                    let record = fresh(len);
                    let (a, b) = record.split_at(len / 3);
                    let fits = len <= MAX_RECORD_BYTES && bytes + len + HEAD_BYTES <= 400 << 10;
                    prop_assert_eq!(spill.append(&[a, b]).is_ok(), fits);
                    model.extend(fits.then_some(record));
                }
                Step::Pop(count) => for _ in 0..count {
                    prop_assert_eq!(spill.front(), model.front().map(Vec::as_slice));
                    prop_assert_eq!(spill.pop(), model.pop_front().is_some());
                },
                Step::PutBack(lens) => {
                    let records: Vec<_> = lens.into_iter().map(&mut fresh).collect();
                    let (kept, outcome) = spill.put_back(records.iter().map(Vec::as_slice));
                    outcome.unwrap();
                    prop_assert_eq!(kept, records.len() as u64);
                    records.into_iter().rev().for_each(|record| model.push_front(record));
                }
                Step::Reopen => {
                    spill.close();
                    spill = Spill::open(dir.path(), config).unwrap().0;
                }
            }
            prop_assert_eq!(spill.len(), model.len() as u64);
        }
        while let Some(record) = model.pop_front() {
            prop_assert_eq!(spill.front(), Some(&record[..]));
            spill.pop();
        }
        prop_assert!(spill.is_empty());
        prop_assert!(segments(dir.path()).is_empty());
        prop_assert!(faults(&mut spill).is_empty());
    }

    #[test]
    fn nothing_unsettled_is_lost_by_crashes(
        steps in prop::collection::vec((0_usize..4, 1_usize..150), 1..60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut spill, _) = opened(dir.path());
        let mut next = 0_u64;
        let mut untaken = VecDeque::new();
        let mut unsettled = Vec::<(u64, Taken)>::new();
        for (step, count) in steps {
            match step {
                0 => {
                    for _ in 0..count {
                        if spill.append(&[&record(next)]).is_ok() {
                            untaken.push_back(next);
                            next += 1;
                        }
                    }
                }
                1 => for _ in 0..count {
                    let Some(front) = spill.front() else { break };
                    let number = u64::from_le_bytes(front[..8].try_into().unwrap());
                    prop_assert_eq!(untaken.pop_front(), Some(number));
                    unsettled.push((number, spill.take().unwrap()));
                },
                2 => for _ in 0..count.min(unsettled.len()) {
                    let at = count * 7_919 % unsettled.len();
                    spill.settle(unsettled.swap_remove(at).1);
                },
                _ => {
                    drop(spill);
                    spill = opened(dir.path()).0;
                    let mut again = Vec::new();
                    while let Some(front) = spill.front() {
                        again.push(u64::from_le_bytes(front[..8].try_into().unwrap()));
                        // Taken, and given back by the next opening.
                        let _ = spill.take();
                    }
                    drop(spill);
                    spill = opened(dir.path()).0;
                    prop_assert!(again.is_sorted());
                    for number in unsettled.drain(..).map(|(n, _)| n).chain(untaken) {
                        prop_assert!(again.binary_search(&number).is_ok(), "{number} is lost");
                    }
                    // Not all from the first on: a segment may be settled and gone before an older one.
                    untaken = again.into();
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_in_place_of_a_segment_yield_only_what_was_appended(
        from in 0_usize..2_000,
        garbage in prop::collection::vec(any::<u8>(), 0..600),
        keeps_rest in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut spill, _) = opened(dir.path());
        append(&mut spill, 0..10);
        drop(spill);
        let path = segments(dir.path()).remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        let from = from.min(bytes.len());
        let to = if keeps_rest { (from + garbage.len()).min(bytes.len()) } else { bytes.len() };
        bytes.splice(from..to, garbage);
        std::fs::write(&path, bytes).unwrap();
        let (mut spill, _) = opened(dir.path());
        append(&mut spill, 10..12);
        let found = drained(&mut spill);
        prop_assert!(found.is_sorted() && found.ends_with(&[10, 11]));
    }
}
