// Kernels that are wrong, each in one way, and what the emulator is to find.

struct MistakeArgument {
    u64 out;
    u32 n;
    u32 unused;
};

// Right: each thread takes what its opposite wrote, through an array of its own.
KERNEL(mistake_none, MistakeArgument) {
    SHARED(shared);
    u32* values = (u32*)shared;
    values[threadIdx.x] = threadIdx.x + 1;
    __syncthreads();
    u32 own[128];
    for (u32 k = 0; k < 128; k++) own[k] = values[(k + a.n) % blockDim.x];
    ((u32*)a.out)[threadIdx.x] = own[blockDim.x - 1 - threadIdx.x];
}

// The same without the barrier between writing and reading.
KERNEL(mistake_no_barrier, MistakeArgument) {
    SHARED(shared);
    u32* values = (u32*)shared;
    values[threadIdx.x] = threadIdx.x + 1;
    ((u32*)a.out)[threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];
}

// In two rounds, without the barrier between reading one and writing the next.
KERNEL(mistake_no_second_barrier, MistakeArgument) {
    SHARED(shared);
    u32* values = (u32*)shared;
    u32 total = 0;
    for (u32 round = 0; round < 2; round++) {
        values[threadIdx.x] = threadIdx.x + 100 * round;
        __syncthreads();
        total += values[(threadIdx.x + 1) % blockDim.x];
    }
    ((u32*)a.out)[threadIdx.x] = total;
}

// Lanes that take it that a warp goes in step.
KERNEL(mistake_no_barrier_of_warp, MistakeArgument) {
    SHARED(shared);
    u32* values = (u32*)shared;
    values[threadIdx.x] = 1;
    __syncwarp();
    for (u32 apart = WARP / 2; apart > 0; apart /= 2) {
        if (threadIdx.x % WARP < apart) values[threadIdx.x] += values[threadIdx.x + apart];
    }
    __syncthreads();
    if (threadIdx.x == 0) ((u32*)a.out)[0] = values[0];
}

// An addition in two atomic steps.
KERNEL(mistake_read_then_write, MistakeArgument) {
    u32* out = (u32*)a.out;
    const u32 before = atomicAdd(out, 0);
    atomicExch(out, before + 1);
}

// The block that comes last decides.
KERNEL(mistake_order_of_blocks, MistakeArgument) {
    if (threadIdx.x == 0) ((u32*)a.out)[0] = blockIdx.x;
}

KERNEL(mistake_half_a_shuffle, MistakeArgument) {
    if (threadIdx.x % WARP >= 16) return;
    ((u32*)a.out)[threadIdx.x] = __shfl_xor_sync(ALL_LANES, threadIdx.x, 1);
}

KERNEL(mistake_shuffle_and_vote, MistakeArgument) {
    u32 result;
    if (threadIdx.x % 2 == 0) {
        result = __shfl_sync(ALL_LANES, threadIdx.x, 0);
    } else {
        result = __ballot_sync(ALL_LANES, 1);
    }
    ((u32*)a.out)[threadIdx.x] = result;
}

KERNEL(mistake_caller_not_in_mask, MistakeArgument) {
    ((u32*)a.out)[threadIdx.x] = __any_sync(0x0000ffff, 1);
}

KERNEL(mistake_width, MistakeArgument) {
    ((u32*)a.out)[threadIdx.x] = __shfl_sync(ALL_LANES, threadIdx.x, 0, (i32)a.n);
}

KERNEL(mistake_ended_before_barrier, MistakeArgument) {
    if (threadIdx.x >= a.n) return;
    __syncthreads();
    ((u32*)a.out)[threadIdx.x] = 1;
}

KERNEL(mistake_two_barriers, MistakeArgument) {
    if (threadIdx.x < a.n) {
        __syncthreads();
    } else {
        __syncthreads_or(1);
    }
    ((u32*)a.out)[threadIdx.x] = 1;
}

KERNEL(mistake_warp_and_block, MistakeArgument) {
    if (threadIdx.x % WARP == 5) {
        __syncthreads();
        __syncwarp();
    } else {
        __syncwarp();
        __syncthreads();
    }
    ((u32*)a.out)[threadIdx.x] = 1;
}

// Arrays of each thread, whose frames are left when one thread ends the launch.
KERNEL(mistake_trap, MistakeArgument) {
    u32 first[8], second[8], third[8];
    for (u32 k = 0; k < 8; k++) first[k] = second[k ^ a.n % 8] = third[k ^ 1] = k + threadIdx.x;
    __syncthreads();
    if (threadIdx.x == a.n && blockIdx.x == 2) __trap();
    ((u32*)a.out)[threadIdx.x] = first[a.n % 8] + second[a.n % 7] + third[a.n % 5];
}

KERNEL(mistake_past_the_buffer, MistakeArgument) {
    if (threadIdx.x <= a.n) ((u32*)a.out)[threadIdx.x] = threadIdx.x;
}

KERNEL(mistake_past_shared_memory, MistakeArgument) {
    SHARED(shared);
    ((u32*)shared)[threadIdx.x] = threadIdx.x;
    __syncthreads();
    ((u32*)a.out)[threadIdx.x] = ((u32*)shared)[threadIdx.x];
}

KERNEL(mistake_signed_overflow, MistakeArgument) {
    ((i32*)a.out)[threadIdx.x] = (i32)a.n + (i32)threadIdx.x;
}

KERNEL(mistake_conversion, MistakeArgument) {
    ((u32*)a.out)[threadIdx.x] = (u32)float_of(a.n);
}

KERNEL(mistake_alignment, MistakeArgument) {
    ((u64*)(a.out + 4))[threadIdx.x] = 1;
}
