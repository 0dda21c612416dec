// Causal convolutions along time, one pooling, a head: over the newest row of a stream or over a fresh window.

#define CONV_LAYERS_MAX 32

#define POOLING_LAST 0
#define POOLING_MEAN 1
#define POOLING_MAX 2

struct ConvLayer {
    // From the columns that the kernel covers, oldest first, to the one that goes out.
    DenseLayer covered;
    // Of a column that comes in.
    u32 channels;
    u32 dilation;
    // Steps before the present one of which the kernel knows.
    u32 reach;
    // First word of its ring of `reach` columns in a stream.
    u32 ring;
};

struct CnnSizes {
    u32 layers;
    u32 kernel;
    u32 pooling;
    // Columns that are pooled.
    u32 steps;
    // First word of the ring of the last layer's columns in a stream; none where the last is pooled.
    u32 recent;
    // Numbers of the longest run of columns that a kernel covers.
    u32 widest_covered;
    // Channels of the widest column.
    u32 widest;
    u32 unused;
    ConvLayer layer[CONV_LAYERS_MAX];
    DenseLayer head;
};

struct CnnArgument {
    Batch batch;
    CnnSizes sizes;
};

// What has been pooled, and a column more.
DEVICE float pooled(u32 pooling, float sum, float next) {
    if (pooling == POOLING_MEAN) return sum + next;
    // So that NaN stays one, whichever of both it is.
    return sum >= next || sum != sum ? sum : next;
}

// A layer's new column, from the stream's ring and the column that comes in, which takes the oldest one's place.
// Ends with a barrier.
DEVICE void convolve_newest(const ConvLayer& layer, u32 kernel, const float* weights, u64 seen, float* ring,
                            const float* column, float* covered, float* to) {
    u32 oldest = layer.reach == 0 ? 0 : (u32)(seen % layer.reach);
    for (u32 k = threadIdx.x; k < kernel * layer.channels; k += blockDim.x) {
        u32 tap = k / layer.channels, channel = k % layer.channels;
        u32 slot = oldest + tap * layer.dilation;
        slot = slot >= layer.reach ? slot - layer.reach : slot;
        covered[k] = tap + 1 == kernel ? column[channel] : ring[slot * layer.channels + channel];
    }
    __syncthreads();
    if (layer.reach > 0) {
        for (u32 channel = threadIdx.x; channel < layer.channels; channel += blockDim.x) {
            ring[oldest * layer.channels + channel] = column[channel];
        }
    }
    dense(layer.covered, weights, covered, to);
    __syncthreads();
}

// Puts the newest column into the ring of recent ones and pools these, oldest first, each thread its channels.
DEVICE void pool_stream(const CnnSizes& sizes, u64 seen, float* recent, float* column, u32 channels) {
    u32 slot = (u32)(seen % sizes.steps);
    bool is_full = seen >= sizes.steps;
    u32 count = is_full ? sizes.steps : slot + 1;
    u32 oldest = is_full && slot + 1 < sizes.steps ? slot + 1 : 0;
    for (u32 channel = threadIdx.x; channel < channels; channel += blockDim.x) {
        recent[slot * channels + channel] = column[channel];
        float sum = recent[oldest * channels + channel];
        for (u32 age = 1; age < count; age++) {
            u32 at = oldest + age >= sizes.steps ? oldest + age - sizes.steps : oldest + age;
            sum = pooled(sizes.pooling, sum, recent[at * channels + channel]);
        }
        column[channel] = sizes.pooling == POOLING_MEAN ? sum / (float)count : sum;
    }
}

// Shared memory: the columns that a kernel covers, and two columns.
KERNEL(cnn_step, CnnArgument, PREDICTOR_THREADS) {
    SHARED(shared);
    float* covered = (float*)shared;
    float* column = covered + a.sizes.widest_covered;
    float* next = column + a.sizes.widest;
    const float* weights = (const float*)a.batch.weights;
    u32 flags = flags_of(a.batch, blockIdx.x);
    if (flags & FLAG_RESET) forget(a.batch);
    if (!(flags & FLAG_ACTIVE)) return;
    load_row(a.batch, blockIdx.x, column);
    __syncthreads();
    u32* stream = stream_of(a.batch, blockIdx.x);
    u64 seen = steps_seen(stream);
    for (u32 n = 0; n < a.sizes.layers; n++) {
        const ConvLayer& layer = a.sizes.layer[n];
        float* ring = (float*)(stream + layer.ring);
        convolve_newest(layer, a.sizes.kernel, weights, seen, ring, column, covered, next);
        float* read = column;
        column = next;
        next = read;
    }
    if (a.sizes.pooling != POOLING_LAST) {
        pool_stream(a.sizes, seen, (float*)(stream + a.sizes.recent), column, a.sizes.head.inputs);
        __syncthreads();
    }
    dense(a.sizes.head, weights, column, answer_of(a.batch, a.sizes.head.outputs));
    if (threadIdx.x == 0) set_steps_seen(stream, seen + 1);
}

// A layer over a whole window, before which there are zeros.
DEVICE void convolve_window(const ConvLayer& layer, u32 kernel, const float* weights, u32 steps, const float* from,
                            float* to) {
    u32 outputs = layer.covered.outputs, channels = layer.channels;
    u32 items = (steps + TILE - 1) / TILE * outputs;
    for (u32 item = threadIdx.x; item < items; item += blockDim.x) {
        u32 row = item % outputs, first = item / outputs * TILE;
        const float* weight = weights + layer.covered.weights + row;
        float sums[TILE];
#pragma unroll
        for (u32 k = 0; k < TILE; k++) sums[k] = weights[layer.covered.bias + row];
        for (u32 tap = 0; tap < kernel; tap++) {
            u32 ago = (kernel - 1 - tap) * layer.dilation;
            for (u32 channel = 0; channel < channels; channel++) {
#pragma unroll
                for (u32 k = 0; k < TILE; k++) {
                    u32 step = first + k;
                    float x = step >= ago && step < steps ? from[(step - ago) * channels + channel] : 0.0f;
                    sums[k] = fmaf(*weight, x, sums[k]);
                }
                weight += layer.covered.stride;
            }
        }
#pragma unroll
        for (u32 k = 0; k < TILE; k++) {
            if (first + k < steps) to[(first + k) * outputs + row] = activated(layer.covered.activation, sums[k]);
        }
    }
}

// Shared memory: two windows of the widest columns.
KERNEL(cnn_window, CnnArgument, PREDICTOR_THREADS) {
    SHARED(shared);
    u32 steps = a.batch.steps;
    float* from = (float*)shared;
    float* to = from + steps * a.sizes.widest;
    const float* weights = (const float*)a.batch.weights;
    for (u32 step = 0; step < steps; step++) {
        load_row(a.batch, (u64)blockIdx.x * steps + step, from + step * a.batch.inputs);
    }
    __syncthreads();
    for (u32 n = 0; n < a.sizes.layers; n++) {
        convolve_window(a.sizes.layer[n], a.sizes.kernel, weights, steps, from, to);
        __syncthreads();
        float* read = from;
        from = to;
        to = read;
    }
    u32 channels = a.sizes.head.inputs;
    for (u32 channel = threadIdx.x; channel < channels; channel += blockDim.x) {
        float sum = from[a.sizes.pooling == POOLING_LAST ? (steps - 1) * channels + channel : channel];
        for (u32 step = 1; step < steps && a.sizes.pooling != POOLING_LAST; step++) {
            sum = pooled(a.sizes.pooling, sum, from[step * channels + channel]);
        }
        to[channel] = a.sizes.pooling == POOLING_MEAN ? sum / (float)steps : sum;
    }
    __syncthreads();
    dense(a.sizes.head, weights, to, answer_of(a.batch, a.sizes.head.outputs));
}
