//! Launches a kernel on arrays and reads them back.

use std::sync::Arc;

use purkinje_cuda::{
    driver::{Address, Driver, DriverError, Launch, Operation},
    emulator::{Emulator, Object, Order, Settings, Variant},
    sources::{Kernel, MODULES, Module},
};

/// A kernel that is not compiled for a device, so without a budget.
pub(crate) const fn named(name: &'static str) -> Kernel {
    let [argument_bytes, threads_max, registers_max, local_bytes_max] = [0; 4];
    Kernel { name, argument_bytes, threads_max, registers_max, local_bytes_max }
}

pub(crate) static INTRINSICS: Module = Module {
    name: "intrinsics",
    text: include_str!("intrinsics.cu"),
    kernels: &[
        named("intrinsics_of_a_lane"),
        named("intrinsics_of_a_warp"),
        named("intrinsics_of_a_block"),
    ],
};

pub(crate) static MISTAKES: Module = Module {
    name: "mistakes",
    text: include_str!("mistakes.cu"),
    kernels: &[
        named("mistake_none"),
        named("mistake_no_barrier"),
        named("mistake_no_second_barrier"),
        named("mistake_no_barrier_of_warp"),
        named("mistake_read_then_write"),
        named("mistake_order_of_blocks"),
        named("mistake_half_a_shuffle"),
        named("mistake_shuffle_and_vote"),
        named("mistake_caller_not_in_mask"),
        named("mistake_width"),
        named("mistake_ended_before_barrier"),
        named("mistake_two_barriers"),
        named("mistake_warp_and_block"),
        named("mistake_trap"),
        named("mistake_past_the_buffer"),
        named("mistake_past_shared_memory"),
        named("mistake_signed_overflow"),
        named("mistake_conversion"),
        named("mistake_alignment"),
    ],
};

/// The modules of the crate and the tests' own.
pub(crate) fn object() -> Arc<Object> {
    let modules: Vec<&'static Module> =
        MODULES.into_iter().chain([&INTRINSICS, &MISTAKES]).collect();
    Object::of(&modules, Variant::of_environment()).unwrap()
}

pub(crate) fn emulator(order: Order) -> Emulator {
    with_object(object(), order)
}

pub(crate) fn with_object(object: Arc<Object>, order: Order) -> Emulator {
    let mut emulator = Emulator::with_object(object, &Settings { order, ..Settings::default() });
    for module in MODULES.into_iter().chain([&INTRINSICS, &MISTAKES]) {
        emulator.load(module).unwrap();
    }
    emulator
}

/// Orders that results must not depend on.
pub(crate) fn orders() -> Vec<Order> {
    let seeds = 1..=6;
    let mut orders = vec![Order::Ascending];
    orders.extend(seeds.clone().map(|seed| Order::Random { seed }));
    orders.extend(seeds.map(|seed| Order::Adversarial { seed }));
    orders
}

pub(crate) fn upload<T: Copy, const N: usize>(
    driver: &mut impl Driver,
    values: &[T],
    bytes: fn(T) -> [u8; N],
) -> Address {
    let address = driver.allocate(N * values.len()).unwrap();
    let content: Vec<u8> = values.iter().flat_map(|value| bytes(*value)).collect();
    driver.write(address, &content).unwrap();
    address
}

pub(crate) fn download(driver: &mut impl Driver, from: Address, count: usize) -> Vec<u32> {
    let mut bytes = vec![0; 4 * count];
    driver.read(from, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect()
}

/// Addresses, then numbers: the arguments of all kernels here.
pub(crate) fn argument(addresses: &[Address], numbers: &[u32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = addresses.iter().flat_map(|address| address.0.to_le_bytes()).collect();
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

pub(crate) fn run(driver: &mut impl Driver, launch: Launch) -> Result<(), DriverError> {
    let graph = driver.graph(&[Operation::Launch(launch)])?;
    driver.launch(graph)?;
    driver.wait()
}
