// The shared object: all modules as one translation unit, and the C interface through which they are run.
//
// `modules.inc` is written by whoever builds this: for each module its file, in a namespace of its name.

#include <new>

#include "intrinsics.hpp"

#include "prelude.cuh"

#include "modules.inc"

// The index-th kernel's name and its argument's size; null past the last.
extern "C" __attribute__((visibility("default"))) const char* emulate_kernel(size_t index, size_t* argument_bytes) {
    const emulated::Kernel* kernel = emulated::Kernel::first;
    while (kernel != nullptr && index-- > 0) kernel = kernel->next;
    if (kernel == nullptr) return nullptr;
    *argument_bytes = kernel->argument_bytes;
    return kernel->name;
}

// Runs a kernel to its end. `order`: 0 ascending, 1 random, 2 adversarial; the latter two are drawn from `seed`. Not 0
// where it fails: then `error` holds why, cut to `error_bytes` with the zero at its end.
extern "C" __attribute__((visibility("default"))) int emulate(const char* name, const u32 grid[3], u32 threads,
                                                              u32 shared_bytes, const void* argument,
                                                              size_t argument_bytes, u32 order, u64 seed, char* error,
                                                              size_t error_bytes) {
    const emulated::Kernel* kernel = emulated::Kernel::first;
    while (kernel != nullptr && strcmp(kernel->name, name) != 0) kernel = kernel->next;
    if (kernel == nullptr) {
        snprintf(error, error_bytes, "no kernel %s", name);
        return 1;
    }
    if (argument_bytes != kernel->argument_bytes) {
        snprintf(error, error_bytes, "kernel %s: an argument of %zu bytes, expected %zu", name, argument_bytes,
                 kernel->argument_bytes);
        return 1;
    }
    const u64 blocks = u64(grid[0]) * grid[1] * (grid[2] == 0 ? 0 : 1);
    const bool few = blocks > 0 && blocks <= emulated::BLOCKS_MAX && blocks * grid[2] <= emulated::BLOCKS_MAX;
    if (threads < 1 || threads > emulated::THREADS_MAX || !few || order > 2) {
        snprintf(error, error_bytes,
                 "kernel %s: %u threads, a grid of %u x %u x %u blocks, order %u: expected 1 to %u threads, 1 to %llu "
                 "blocks, order 0 to 2",
                 name, threads, grid[0], grid[1], grid[2], order, emulated::THREADS_MAX, emulated::BLOCKS_MAX);
        return 1;
    }
    try {
        emulated::Launch launch(*kernel, argument, {grid[0], grid[1], grid[2]}, threads, emulated::Order(order), seed);
        if (launch.run(shared_bytes)) return 0;
        snprintf(error, error_bytes, "%s", launch.error.c_str());
    } catch (const std::bad_alloc&) {
        snprintf(error, error_bytes, "kernel %s: the host's memory is short", name);
    }
    return 1;
}
