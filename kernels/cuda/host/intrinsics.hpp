// CUDA's names, as kernels use them, on top of the emulator.
//
// Only what NVRTC has without headers, and of that what has one meaning: no __activemask, whose answer depends on
// the moment, and no clocks. Arithmetic that wraps or saturates on a GPU does so here too, where C++ leaves it
// undefined. Functions with single-precision approximations on a GPU (__expf and the like) are the C library's.

#pragma once

#include <cfloat>
#include <cmath>
#include <limits>
#include <type_traits>

#include "emulate.hpp"

#define __device__
#define __host__
#define __global__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) alignas(bytes)
#define __launch_bounds__(...)

#define DEVICE [[maybe_unused]] static inline
#define SHARED(name) u8* const name = emulated::running.shared
#define KERNEL(name, Argument, ...)                                                                          \
    static void name(const Argument a);                                                                    \
    static const emulated::Kernel name##_entry{#name, sizeof(Argument), emulated::call_kernel<Argument, name>}; \
    static void name([[maybe_unused]] const Argument a)

#define threadIdx (emulated::running.fiber->index)
#define blockIdx (emulated::running.block)
#define blockDim (emulated::running.threads)
#define gridDim (emulated::running.grid)
#define warpSize 32

// Vectors.

#define EMULATED_VECTOR_2(type, of, bytes) \
    struct alignas(bytes) type {           \
        of x, y;                           \
    };                                     \
    DEVICE type make_##type(of x, of y) { return {x, y}; }
#define EMULATED_VECTOR_4(type, of, bytes) \
    struct alignas(bytes) type {           \
        of x, y, z, w;                     \
    };                                     \
    DEVICE type make_##type(of x, of y, of z, of w) { return {x, y, z, w}; }
EMULATED_VECTOR_2(float2, float, 8)
EMULATED_VECTOR_4(float4, float, 16)
EMULATED_VECTOR_2(int2, i32, 8)
EMULATED_VECTOR_4(int4, i32, 16)
EMULATED_VECTOR_2(uint2, u32, 8)
EMULATED_VECTOR_4(uint4, u32, 16)
EMULATED_VECTOR_2(ushort2, u16, 4)
EMULATED_VECTOR_4(ushort4, u16, 8)
EMULATED_VECTOR_4(uchar4, u8, 4)
EMULATED_VECTOR_2(ulonglong2, u64, 16)

// Numbers and their bits.

template <class To, class From>
DEVICE To emulated_bits(From from) {
    static_assert(sizeof(To) <= sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
DEVICE u32 __float_as_uint(float x) { return emulated_bits<u32>(x); }
DEVICE i32 __float_as_int(float x) { return emulated_bits<i32>(x); }
DEVICE float __uint_as_float(u32 x) { return emulated_bits<float>(x); }
DEVICE float __int_as_float(i32 x) { return emulated_bits<float>(x); }
DEVICE i64 __double_as_longlong(double x) { return emulated_bits<i64>(x); }
DEVICE double __longlong_as_double(i64 x) { return emulated_bits<double>(x); }

DEVICE i32 __popc(u32 x) { return __builtin_popcount(x); }
DEVICE i32 __popcll(u64 x) { return __builtin_popcountll(x); }
DEVICE i32 __ffs(i32 x) { return __builtin_ffs(x); }
DEVICE i32 __ffsll(i64 x) { return __builtin_ffsll(x); }
DEVICE i32 __clz(i32 x) { return x == 0 ? 32 : __builtin_clz(u32(x)); }
DEVICE i32 __clzll(i64 x) { return x == 0 ? 64 : __builtin_clzll(u64(x)); }
DEVICE u64 __brevll(u64 x) {
    x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
    x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
    x = (x >> 4 & 0x0f0f0f0f0f0f0f0f) | (x & 0x0f0f0f0f0f0f0f0f) << 4;
    return __builtin_bswap64(x);
}
DEVICE u32 __brev(u32 x) { return u32(__brevll(x) >> 32); }
DEVICE u32 __byte_perm(u32 x, u32 y, u32 selector) {
    const u64 bytes = u64(y) << 32 | x;
    u32 result = 0;
    for (u32 k = 0; k < 4; k++) {
        const u32 choice = selector >> 4 * k & 15;
        u32 byte = u32(bytes >> 8 * (choice & 7)) & 255;
        // The fourth bit asks for the sign, eight times.
        if (choice & 8) byte = byte & 128 ? 255 : 0;
        result |= byte << 8 * k;
    }
    return result;
}
DEVICE u32 __funnelshift_l(u32 low, u32 high, u32 by) {
    return u32((u64(high) << 32 | low) << (by & 31) >> 32);
}
DEVICE u32 __funnelshift_r(u32 low, u32 high, u32 by) { return u32((u64(high) << 32 | low) >> (by & 31)); }

// Integers.

DEVICE u32 __umulhi(u32 x, u32 y) { return u32(u64(x) * y >> 32); }
DEVICE i32 __mulhi(i32 x, i32 y) { return i32(i64(x) * y >> 32); }
DEVICE u64 __umul64hi(u64 x, u64 y) { return u64((unsigned __int128)x * y >> 64); }
DEVICE i64 __mul64hi(i64 x, i64 y) { return i64((__int128)x * y >> 64); }
DEVICE i32 __dp4a(i32 x, i32 y, i32 sum) {
    u32 total = u32(sum);
    for (u32 k = 0; k < 32; k += 8) total += u32(i32((signed char)(x >> k)) * i32((signed char)(y >> k)));
    return i32(total);
}
DEVICE u32 __dp4a(u32 x, u32 y, u32 sum) {
    for (u32 k = 0; k < 32; k += 8) sum += (x >> k & 255) * (y >> k & 255);
    return sum;
}

#define EMULATED_LEAST_AND_GREATEST(type)                         \
    DEVICE type min(type x, type y) { return y < x ? y : x; } \
    DEVICE type max(type x, type y) { return x < y ? y : x; }
EMULATED_LEAST_AND_GREATEST(i32)
EMULATED_LEAST_AND_GREATEST(u32)
EMULATED_LEAST_AND_GREATEST(i64)
EMULATED_LEAST_AND_GREATEST(u64)
DEVICE float min(float x, float y) { return fminf(x, y); }
DEVICE float max(float x, float y) { return fmaxf(x, y); }
DEVICE double min(double x, double y) { return fmin(x, y); }
DEVICE double max(double x, double y) { return fmax(x, y); }

// Single precision.

DEVICE float __fadd_rn(float x, float y) { return x + y; }
DEVICE float __fsub_rn(float x, float y) { return x - y; }
DEVICE float __fmul_rn(float x, float y) { return x * y; }
DEVICE float __fdiv_rn(float x, float y) { return x / y; }
DEVICE float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
DEVICE float __fsqrt_rn(float x) { return sqrtf(x); }
DEVICE float __frcp_rn(float x) { return 1.0f / x; }
DEVICE float __fdividef(float x, float y) { return x / y; }
DEVICE float __saturatef(float x) { return x > 0.0f ? fminf(x, 1.0f) : 0.0f; }
DEVICE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
DEVICE float __frsqrt_rn(float x) { return float(1.0 / sqrt(double(x))); }
// Macros, because glibc declares these names itself.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)

// Conversions, which saturate and make zero of NaN.
template <class To>
DEVICE To emulated_saturate(double x) {
    if (!(x == x)) return 0;
    if (x <= double(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (x >= double(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return To(x);
}
DEVICE i32 __float2int_rn(float x) { return emulated_saturate<i32>(nearbyintf(x)); }
DEVICE i32 __float2int_rz(float x) { return emulated_saturate<i32>(truncf(x)); }
DEVICE i32 __float2int_rd(float x) { return emulated_saturate<i32>(floorf(x)); }
DEVICE i32 __float2int_ru(float x) { return emulated_saturate<i32>(ceilf(x)); }
DEVICE u32 __float2uint_rn(float x) { return emulated_saturate<u32>(nearbyintf(x)); }
DEVICE u32 __float2uint_rz(float x) { return emulated_saturate<u32>(truncf(x)); }
DEVICE u32 __float2uint_rd(float x) { return emulated_saturate<u32>(floorf(x)); }
DEVICE u32 __float2uint_ru(float x) { return emulated_saturate<u32>(ceilf(x)); }
DEVICE float __int2float_rn(i32 x) { return float(x); }
DEVICE float __uint2float_rn(u32 x) { return float(x); }

// Memory.

template <class T>
DEVICE T __ldg(const T* from) {
    return *from;
}
template <class T>
DEVICE T __ldcg(const T* from) {
    return *from;
}
template <class T>
DEVICE T __ldcs(const T* from) {
    return *from;
}
template <class T>
DEVICE void __stcg(T* to, std::type_identity_t<T> value) {
    *to = value;
}
template <class T>
DEVICE void __stcs(T* to, std::type_identity_t<T> value) {
    *to = value;
}
DEVICE void __threadfence() { emulated::running.launch->perhaps_give_way(); }
DEVICE void __threadfence_block() { emulated::running.launch->perhaps_give_way(); }
DEVICE void __threadfence_system() { emulated::running.launch->perhaps_give_way(); }
DEVICE void __nanosleep(u32) {}
#define __trap() emulated::running.launch->fail("__trap()")

// Atomics: of the types that CUDA has them for. Threads of a block never run at the same time.

template <class T, class... Among>
concept EmulatedOneOf = (std::is_same_v<T, Among> || ...);

template <class T, class Change>
DEVICE T emulated_atomic(T* at, Change change) {
    emulated::running.launch->perhaps_give_way();
    const T before = *at;
    *at = change(before);
    return before;
}
template <EmulatedOneOf<i32, u32, u64, float, double> T>
DEVICE T atomicAdd(T* at, std::type_identity_t<T> value) {
    return emulated_atomic(at, [=](T x) {
        if constexpr (std::is_same_v<T, i32>) return i32(u32(x) + u32(value));
        else return T(x + value);
    });
}
template <EmulatedOneOf<i32, u32> T>
DEVICE T atomicSub(T* at, std::type_identity_t<T> value) {
    return emulated_atomic(at, [=](T x) { return T(u32(x) - u32(value)); });
}
template <EmulatedOneOf<i32, u32, i64, u64> T>
DEVICE T atomicMin(T* at, std::type_identity_t<T> value) {
    return emulated_atomic(at, [=](T x) { return std::min(x, value); });
}
template <EmulatedOneOf<i32, u32, i64, u64> T>
DEVICE T atomicMax(T* at, std::type_identity_t<T> value) {
    return emulated_atomic(at, [=](T x) { return std::max(x, value); });
}
template <EmulatedOneOf<i32, u32, u64> T>
DEVICE T atomicAnd(T* at, std::type_identity_t<T> value) {
    return emulated_atomic(at, [=](T x) { return x & value; });
}
template <EmulatedOneOf<i32, u32, u64> T>
DEVICE T atomicOr(T* at, std::type_identity_t<T> value) {
    return emulated_atomic(at, [=](T x) { return x | value; });
}
template <EmulatedOneOf<i32, u32, u64> T>
DEVICE T atomicXor(T* at, std::type_identity_t<T> value) {
    return emulated_atomic(at, [=](T x) { return x ^ value; });
}
template <EmulatedOneOf<i32, u32, u64, float> T>
DEVICE T atomicExch(T* at, std::type_identity_t<T> value) {
    return emulated_atomic(at, [=](T) { return value; });
}
template <EmulatedOneOf<i32, u32, u64> T>
DEVICE T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    return emulated_atomic(at, [=](T x) { return x == expected ? value : x; });
}

// Rendezvous of a block.

DEVICE void __syncthreads() { emulated::running.launch->meet_block(emulated::Meeting::Sync, "__syncthreads", 0); }
DEVICE i32 __syncthreads_count(i32 predicate) {
    const u64 value = predicate != 0;
    return i32(emulated::running.launch->meet_block(emulated::Meeting::Sum, "__syncthreads_count", value));
}
DEVICE i32 __syncthreads_and(i32 predicate) {
    const u64 value = predicate != 0;
    return i32(emulated::running.launch->meet_block(emulated::Meeting::And, "__syncthreads_and", value));
}
DEVICE i32 __syncthreads_or(i32 predicate) {
    const u64 value = predicate != 0;
    return i32(emulated::running.launch->meet_block(emulated::Meeting::Or, "__syncthreads_or", value));
}

// Rendezvous of lanes.

DEVICE void __syncwarp(u32 mask = 0xffffffff) {
    emulated::running.launch->meet_warp(emulated::Meeting::Sync, "__syncwarp", mask, 0);
}
DEVICE u32 __ballot_sync(u32 mask, i32 predicate) {
    const u64 value = predicate != 0;
    return u32(emulated::running.launch->meet_warp(emulated::Meeting::Ballot, "__ballot_sync", mask, value));
}
DEVICE i32 __any_sync(u32 mask, i32 predicate) {
    const u64 value = predicate != 0;
    return i32(emulated::running.launch->meet_warp(emulated::Meeting::Or, "__any_sync", mask, value));
}
DEVICE i32 __all_sync(u32 mask, i32 predicate) {
    const u64 value = predicate != 0;
    return i32(emulated::running.launch->meet_warp(emulated::Meeting::And, "__all_sync", mask, value));
}
template <EmulatedOneOf<i32, u32, i64, u64> T>
DEVICE u32 __match_any_sync(u32 mask, T value) {
    return u32(emulated::running.launch->meet_warp(emulated::Meeting::Match, "__match_any_sync", mask, u64(value)));
}

#define EMULATED_REDUCE(name, type, meeting)                                                                      \
    DEVICE type name(u32 mask, type value) {                                                                      \
        return type(emulated::running.launch->meet_warp(emulated::Meeting::meeting, #name, mask, u32(value))); \
    }
EMULATED_REDUCE(__reduce_add_sync, u32, Sum)
EMULATED_REDUCE(__reduce_add_sync, i32, Sum)
EMULATED_REDUCE(__reduce_min_sync, u32, LeastUnsigned)
EMULATED_REDUCE(__reduce_min_sync, i32, LeastSigned)
EMULATED_REDUCE(__reduce_max_sync, u32, GreatestUnsigned)
EMULATED_REDUCE(__reduce_max_sync, i32, GreatestSigned)
EMULATED_REDUCE(__reduce_and_sync, u32, And)
EMULATED_REDUCE(__reduce_or_sync, u32, Or)
EMULATED_REDUCE(__reduce_xor_sync, u32, Xor)

template <EmulatedOneOf<i32, u32, i64, u64, float, double> T>
DEVICE T emulated_shuffle(const char* call, u32 mask, T value, u32 source) {
    u64 bits = 0;
    memcpy(&bits, &value, sizeof value);
    return emulated_bits<T>(emulated::running.launch->meet_warp(emulated::Meeting::Shuffle, call, mask, bits, source));
}
// The calling lane, and the last of its group of `width` lanes.
struct EmulatedLane {
    u32 lane, last;
    EmulatedLane(const char* call, i32 width) : lane(threadIdx.x % 32), last(lane | u32(width - 1)) {
        if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
            emulated::running.launch->fail("%s with width %d, expected a power of two up to 32", call, width);
        }
    }
};
template <class T>
DEVICE T __shfl_sync(u32 mask, T value, i32 source, i32 width = 32) {
    const EmulatedLane at("__shfl_sync", width);
    const u32 within = u32(width) - 1;
    return emulated_shuffle("__shfl_sync", mask, value, (at.lane & ~within) | (u32(source) & within));
}
template <class T>
DEVICE T __shfl_up_sync(u32 mask, T value, u32 by, i32 width = 32) {
    const EmulatedLane at("__shfl_up_sync", width);
    const u32 within = at.lane & (u32(width) - 1);
    return emulated_shuffle("__shfl_up_sync", mask, value, by <= within ? at.lane - by : at.lane);
}
template <class T>
DEVICE T __shfl_down_sync(u32 mask, T value, u32 by, i32 width = 32) {
    const EmulatedLane at("__shfl_down_sync", width);
    return emulated_shuffle("__shfl_down_sync", mask, value, by <= at.last - at.lane ? at.lane + by : at.lane);
}
template <class T>
DEVICE T __shfl_xor_sync(u32 mask, T value, i32 with, i32 width = 32) {
    const EmulatedLane at("__shfl_xor_sync", width);
    const u32 source = at.lane ^ u32(with);
    return emulated_shuffle("__shfl_xor_sync", mask, value, source <= at.last ? source : at.lane);
}
