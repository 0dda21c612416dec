// Small kernels that prove the way to a device and back.

struct SaxpyArgument {
    u64 x;
    u64 y;
    u32 n;
    float factor;
};

// y += factor x, rounded twice as on the CPU.
KERNEL(probe_saxpy, SaxpyArgument) {
    const float* x = (const float*)a.x;
    float* y = (float*)a.y;
    for (u32 k = blockIdx.x * blockDim.x + threadIdx.x; k < a.n; k += gridDim.x * blockDim.x) {
        y[k] = y[k] + a.factor * x[k];
    }
}

struct StatisticsArgument {
    u64 x;
    // By block: sum, greatest, and how many are above zero, as u32 bits.
    u64 out;
    u32 n;
    u32 unused;
};

// Of each block's share of x: its sum in a fixed order, its greatest, and how many are above zero. One value a
// thread; shared memory holds three values a warp.
KERNEL(probe_block_statistics, StatisticsArgument) {
    SHARED(shared);
    float* sums = (float*)shared;
    float* greatest = sums + blockDim.x / WARP;
    u32* counts = (u32*)(greatest + blockDim.x / WARP);
    const float* x = (const float*)a.x;
    u32 k = blockIdx.x * blockDim.x + threadIdx.x;
    float value = k < a.n ? x[k] : 0.0f;
    float sum = value, most = value;
    for (u32 apart = WARP / 2; apart > 0; apart /= 2) {
        sum += __shfl_xor_sync(ALL_LANES, sum, apart);
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, apart));
    }
    u32 above = __popc(__ballot_sync(ALL_LANES, value > 0.0f));
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (lane == 0) {
        sums[warp] = sum;
        greatest[warp] = most;
        counts[warp] = above;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        float total = 0.0f, top = greatest[0];
        u32 count = 0;
        for (u32 w = 0; w < blockDim.x / WARP; w++) {
            total += sums[w];
            top = fmaxf(top, greatest[w]);
            count += counts[w];
        }
        u32* out = (u32*)a.out + 3 * blockIdx.x;
        out[0] = bits_of(total);
        out[1] = bits_of(top);
        out[2] = count;
    }
}
