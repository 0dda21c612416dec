// What every kernel file begins with: fixed-width types and how a kernel is declared.
//
// The same text is compiled by NVRTC (no headers, no host code), and as C++ by the emulator, which has its own
// header included before and defines EMULATED. Rules that both live by:
//   - KERNEL(name, Argument, threads) { ... } declares a kernel with one argument, a structure `a` of fixed-width
//     members, each at a multiple of its size; Rust has its twin as #[repr(C)]. Without the most threads that it is
//     launched with, which may be left out, the assembler keeps registers for 1,024 and few loads on their way;
//   - shared memory is dynamic only: SHARED(name) is its first byte;
//   - no fused multiply-add unless fmaf says so, so that sums round as on the CPU.

#ifndef EMULATED
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;
#define KERNEL_ANY(name, Argument) extern "C" __global__ void name(const Argument a)
#define KERNEL_BOUND(name, Argument, threads) \
    extern "C" __global__ void __launch_bounds__(threads, 1) name(const Argument a)
#define KERNEL_OF(name, Argument, threads, chosen, ...) chosen
#define KERNEL(...) KERNEL_OF(__VA_ARGS__, KERNEL_BOUND, KERNEL_ANY, )(__VA_ARGS__)
#define SHARED(name) extern __shared__ __align__(16) u8 name[]
#define DEVICE static __device__ __forceinline__
#endif

// All lanes of a warp.
#define WARP 32
#define ALL_LANES 0xffffffffu

// A number's bits and back.
DEVICE u32 bits_of(float x) { return __float_as_uint(x); }
DEVICE float float_of(u32 bits) { return __uint_as_float(bits); }

// Of an instrument's flags, a byte each: it takes part; its stream is forgotten first.
#define FLAG_ACTIVE 1
#define FLAG_RESET 2
