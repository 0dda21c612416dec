// CUDA's functions of a lane, of a warp and of a block, one result after another.

struct IntrinsicsArgument {
    // Two numbers a thread.
    u64 in;
    // Results of a thread lie together.
    u64 out;
};

KERNEL(intrinsics_of_a_lane, IntrinsicsArgument) {
    const uint2 in = ((const uint2*)a.in)[threadIdx.x];
    const u32 x = in.x, y = in.y;
    const u64 both = (u64)y << 32 | x;
    const float f = float_of(x), g = float_of(y);
    u32* out = (u32*)a.out + 24 * threadIdx.x;
    u32 k = 0;
    out[k++] = __popc(x);
    out[k++] = __popcll(both);
    out[k++] = __ffs((i32)x);
    out[k++] = __ffsll((i64)both);
    out[k++] = __clz((i32)x);
    out[k++] = __clzll((i64)both);
    out[k++] = __brev(x);
    out[k++] = (u32)(__brevll(both) >> 7);
    out[k++] = __umulhi(x, y);
    out[k++] = (u32)__mulhi((i32)x, (i32)y);
    out[k++] = (u32)(__umul64hi(both, both) >> 5);
    out[k++] = __byte_perm(x, y, 0x3715);
    out[k++] = __byte_perm(x, y, 0xe08c);
    out[k++] = __funnelshift_l(x, y, y);
    out[k++] = __funnelshift_r(x, y, y);
    out[k++] = (u32)__dp4a((i32)x, (i32)y, (i32)x);
    out[k++] = __dp4a(x, y, x);
    out[k++] = min((i32)x, (i32)y);
    out[k++] = max(x, y);
    out[k++] = bits_of(fmaf(f, g, f));
    out[k++] = (u32)__float2int_rn(f);
    out[k++] = __float2uint_rz(f);
    out[k++] = (u32)__float2int_rd(f);
    out[k++] = bits_of(__saturatef(f));
}

KERNEL(intrinsics_of_a_warp, IntrinsicsArgument) {
    const u32 x = ((const uint2*)a.in)[threadIdx.x].x;
    const u32 lane = threadIdx.x % WARP;
    u32* out = (u32*)a.out + 22 * threadIdx.x;
    u32 k = 0;
    out[k++] = __shfl_sync(ALL_LANES, x, 35);
    out[k++] = __shfl_sync(ALL_LANES, x, lane * 7, 8);
    out[k++] = __shfl_up_sync(ALL_LANES, x, 3);
    out[k++] = __shfl_up_sync(ALL_LANES, x, 3, 16);
    out[k++] = __shfl_down_sync(ALL_LANES, x, 5);
    out[k++] = __shfl_down_sync(ALL_LANES, x, 1, 2);
    out[k++] = __shfl_xor_sync(ALL_LANES, x, 9);
    out[k++] = __shfl_xor_sync(ALL_LANES, x, 9, 8);
    const u64 wide = __shfl_xor_sync(ALL_LANES, (u64)x << 20, 1);
    out[k++] = (u32)(wide >> 24);
    out[k++] = bits_of(__shfl_down_sync(ALL_LANES, float_of(x), 2));
    out[k++] = __ballot_sync(ALL_LANES, x % 3 == 0);
    out[k++] = __any_sync(ALL_LANES, x % 31 == 0);
    out[k++] = __all_sync(ALL_LANES, x % 31 != 0);
    out[k++] = __match_any_sync(ALL_LANES, x % 4);
    out[k++] = __reduce_add_sync(ALL_LANES, x);
    out[k++] = (u32)__reduce_min_sync(ALL_LANES, (i32)x);
    out[k++] = (u32)__reduce_max_sync(ALL_LANES, (i32)x);
    out[k++] = __reduce_min_sync(ALL_LANES, x);
    out[k++] = __reduce_or_sync(ALL_LANES, x & 0x10101);
    // Two parts of a warp on their own ways.
    u32 part = 0;
    if (lane % 3 == 0) {
        for (u32 turn = 0; turn < 3; turn++) part += __reduce_xor_sync(0x49249249, x + turn);
    } else {
        part = __shfl_sync(~0x49249249u, x, 16);
        __syncwarp(~0x49249249u);
    }
    out[k++] = part;
    __syncwarp();
    out[k++] = __ballot_sync(ALL_LANES, part & 1);
    out[k++] = lane;
}

// Counts and extremes of a block's numbers: seven of the block, then three a thread.
KERNEL(intrinsics_of_a_block, IntrinsicsArgument) {
    const u32 x = ((const uint2*)a.in)[threadIdx.x].x;
    u32* total = (u32*)a.out;
    u32* out = total + 8 + 3 * threadIdx.x;
    if (threadIdx.x == 0) total[2] = ~0u;
    __syncthreads();
    atomicAdd(total + 0, x);
    atomicMax(total + 1, x);
    atomicMin(total + 2, x);
    atomicOr(total + 3, x & 0x0f0f);
    atomicXor(total + 4, x);
    atomicAdd((float*)(total + 5), 0.25f);
    // An addition by exchange.
    u32 seen = total[6];
    for (;;) {
        const u32 before = atomicCAS(total + 6, seen, seen + 3);
        if (before == seen) break;
        seen = before;
    }
    atomicAdd((i32*)(total + 7), (i32)x);
    out[0] = __syncthreads_count(x & 1);
    out[1] = __syncthreads_or(x % 1000 == 7);
    out[2] = __syncthreads_and(x > 3);
}
