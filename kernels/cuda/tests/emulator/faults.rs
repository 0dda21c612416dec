//! Faults that a test schedules.

use purkinje_cuda::{
    driver::{Driver, DriverError, Operation},
    emulator::{Emulator, Order},
    faults::{Call, Faults, Faulty, lost},
    sources::PROBE,
};

use crate::host::emulator;

fn faulty(faults: &Faults) -> Faulty<Emulator> {
    Faulty::new(emulator(Order::Ascending), faults.clone())
}

#[test]
fn calls_are_counted_by_kind_and_go_through() {
    let faults = Faults::new();
    let mut driver = faulty(&faults);
    driver.load(&PROBE).unwrap();
    let memory = driver.allocate(8).unwrap();
    let pinned = driver.pin(8).unwrap();
    driver.write(memory, &[7; 8]).unwrap();
    let graph = driver.graph(&[Operation::CopyOut { from: memory, to: pinned, bytes: 8 }]).unwrap();
    for _ in 0..3 {
        driver.launch(graph).unwrap();
        driver.wait().unwrap();
    }
    assert_eq!(driver.pinned(pinned), [7; 8]);
    driver.read(memory, &mut [0; 8]).unwrap();
    driver.free_bytes().unwrap();
    assert_eq!(driver.device().name, "emulator");
    let counts: Vec<(Call, u64)> = faults.counts().into_iter().collect();
    let expected = [
        (Call::FreeBytes, 1),
        (Call::Load, 1),
        (Call::Allocate, 1),
        (Call::Pin, 1),
        (Call::Pinned, 1),
        (Call::Write, 1),
        (Call::Read, 1),
        (Call::Graph, 1),
        (Call::Launch, 3),
        (Call::Wait, 3),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn a_fault_comes_at_its_call_and_the_call_does_not_reach_the_driver() {
    let faults = Faults::new();
    let mut driver = faulty(&faults);
    let out_of_memory = DriverError::OutOfMemory { asked: 16, free: 3 };
    faults.fail_at(Call::Allocate, 2, out_of_memory.clone());
    driver.allocate(16).unwrap();
    let free = driver.free_bytes().unwrap();
    assert_eq!(driver.allocate(16), Err(out_of_memory));
    assert_eq!(driver.free_bytes(), Ok(free));
    driver.allocate(16).unwrap();
    assert_eq!(faults.count(Call::Allocate), 3);

    let refused = DriverError::Kernel { module: "probe".to_owned(), what: "no image".to_owned() };
    faults.fail_from(Call::Load, 1, refused.clone());
    assert_eq!(driver.load(&PROBE), Err(refused.clone()));
    assert_eq!(driver.load(&PROBE), Err(refused));
    faults.clear();
    driver.load(&PROBE).unwrap();
}

#[test]
fn a_driver_that_is_lost_stays_so_and_the_one_after_it_is_not() {
    let faults = Faults::new();
    faults.fail_at(Call::Launch, 2, lost());
    let mut driver = faulty(&faults);
    let graph = driver.graph(&[]).unwrap();
    driver.launch(graph).unwrap();
    driver.wait().unwrap();
    assert_eq!(driver.launch(graph), Err(lost()));
    assert_eq!(driver.wait(), Err(lost()));
    assert_eq!(driver.allocate(4), Err(lost()));
    faults.clear();
    assert_eq!(driver.launch(graph), Err(lost()));

    let mut next = faulty(&faults);
    let graph = next.graph(&[]).unwrap();
    next.launch(graph).unwrap();
    next.wait().unwrap();
    assert_eq!(faults.count(Call::Launch), 4);
    assert_eq!(faults.count(Call::Graph), 2);
}
