// What the predictors' kernels share: who takes part, activations and products.
//
// One block answers one instrument, or one fresh window. Every number is computed by the operations of the CPU's
// predictors in their order, each rounded once and fused only where they fuse, so that both give the same bits:
// a thread sums its output's products from the first column to the last, and no sum is shared among threads but
// where the CPU adds lanes.

// Most threads of a block. With as many each may have 128 registers, and so wait for many weights at once.
#define PREDICTOR_THREADS 512

// What a launch computes. Addresses that are 0 stand for nothing.
struct Batch {
    // `[rows][row_stride]` numbers. A stream's row is that of its instrument; windows follow each other.
    u64 rows;
    // Where the inputs lie in a row, u32 each; 0: at its beginning.
    u64 places;
    // A byte by instrument; 0: fresh windows, all of which are answered.
    u64 flags;
    // `[blocks][outputs]`.
    u64 answers;
    // Those of the whole network.
    u64 weights;
    // `[instruments][stream_words]`.
    u64 streams;
    // By instrument, an autoencoder's error; 0: not asked for.
    u64 errors;
    // Where launches of one step leave what the next ones read.
    u64 between;
    u32 row_stride;
    u32 inputs;
    u32 stream_words;
    // Of a fresh window; 1 where a stream goes on.
    u32 steps;
};

// A dense layer. Weights lie column by column, `stride` from one to the next; both are counted in numbers from
// the first of the network's weights.
struct DenseLayer {
    u32 weights;
    u32 bias;
    u32 inputs;
    u32 outputs;
    u32 stride;
    u32 activation;
};

DEVICE u32 flags_of(const Batch& batch, u32 instrument) {
    return batch.flags == 0 ? FLAG_ACTIVE : ((const u8*)batch.flags)[instrument];
}

DEVICE u32* stream_of(const Batch& batch, u32 instrument) {
    return (u32*)batch.streams + (u64)instrument * batch.stream_words;
}

// Steps that a stream has had; its first two words.
DEVICE u64 steps_seen(const u32* stream) { return stream[0] | (u64)stream[1] << 32; }

DEVICE void set_steps_seen(u32* stream, u64 steps) {
    stream[0] = (u32)steps;
    stream[1] = (u32)(steps >> 32);
}

// This block's stream becomes zeros, as all begin.
DEVICE void forget(const Batch& batch) {
    u32* stream = stream_of(batch, blockIdx.x);
    for (u32 k = threadIdx.x; k < batch.stream_words; k += blockDim.x) stream[k] = 0;
}

// An input of a row.
DEVICE float input_of(const Batch& batch, u64 row, u32 column) {
    u32 place = batch.places == 0 ? column : ((const u32*)batch.places)[column];
    return ((const float*)batch.rows)[row * batch.row_stride + place];
}

// Takes a row's inputs.
DEVICE void load_row(const Batch& batch, u64 row, float* to) {
    for (u32 column = threadIdx.x; column < batch.inputs; column += blockDim.x) {
        to[column] = input_of(batch, row, column);
    }
}

// Weights that are on their way to a thread at once: they come from far.
#define FETCH_AT_ONCE 32

// `sum + w[0] x[0] + w[1] x[1] + ...`, each product rounded with its sum.
DEVICE float add_products(float sum, const float* weights, u32 stride, const float* x, u32 columns) {
    float fetched[FETCH_AT_ONCE];
    u32 column = 0;
    for (; column + FETCH_AT_ONCE <= columns; column += FETCH_AT_ONCE) {
#pragma unroll
        for (u32 k = 0; k < FETCH_AT_ONCE; k++) fetched[k] = weights[(column + k) * stride];
#pragma unroll
        for (u32 k = 0; k < FETCH_AT_ONCE; k++) sum = fmaf(fetched[k], x[column + k], sum);
    }
    if (column == columns) return sum;
    // Beyond the last column the last once more, which is not multiplied with.
#pragma unroll
    for (u32 k = 0; k < FETCH_AT_ONCE; k++) {
        fetched[k] = weights[(column + k < columns ? column + k : columns - 1) * stride];
    }
#pragma unroll
    for (u32 k = 0; k < FETCH_AT_ONCE; k++) {
        if (column + k < columns) sum = fmaf(fetched[k], x[column + k], sum);
    }
    return sum;
}

// e^x, x cut to +-87: two to a whole number, times a polynomial.
DEVICE float exp_of(float x) {
    float cut = x > 87.0f ? 87.0f : x;
    cut = cut < -87.0f ? -87.0f : cut;
    float shifted = fmaf(cut, 1.442695041f, 12582912.0f);
    float whole = shifted - 12582912.0f;
    float r = fmaf(whole, 2.1219444e-4f, fmaf(whole, -0.6933594f, cut));
    float p = fmaf(r, 1.9875691e-4f, 1.3981999e-3f);
    p = fmaf(p, r, 8.333452e-3f);
    p = fmaf(p, r, 4.1665796e-2f);
    p = fmaf(p, r, 0.16666665f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r * r, r) + 1.0f;
    return p * float_of((bits_of(shifted) + 127u) << 23);
}

DEVICE float sigmoid_of(float x) { return 1.0f / (1.0f + exp_of(-x)); }

DEVICE float tanh_of(float x) {
    float size = fabsf(x);
    float square = x * x;
    float p = fmaf(square, -5.704988e-3f, 2.063909e-2f);
    p = fmaf(p, square, -5.373971e-2f);
    p = fmaf(p, square, 0.13331442f);
    p = fmaf(p, square, -0.3333328f);
    float near = fmaf(p * square, x, x);
    float far = copysignf(1.0f - 2.0f / (exp_of(2.0f * size) + 1.0f), x);
    return size < 0.625f ? near : far;
}

DEVICE float erf_of(float x) {
    float size = fabsf(x);
    float t = 1.0f / fmaf(size, 0.3275911f, 1.0f);
    float p = fmaf(t, 1.0614054f, -1.453152f);
    p = fmaf(p, t, 1.4214137f);
    p = fmaf(p, t, -0.28449674f);
    p = fmaf(p, t, 0.2548296f);
    return copysignf(1.0f - p * t * exp_of(-size * size), x);
}

// A function that is called and not copied to where it is used: with all copies of the larger ones a kernel would not
// fit the cache of instructions.
#define CALLED [[maybe_unused]] static __device__ __noinline__

// The activations by number, in the order in which they are listed on the host.
CALLED float activated(u32 activation, float x) {
    switch (activation) {
        case 1: return (x < 0.0f ? 0.0f : x) + 0.0f;
        case 2: return x * (x < 0.0f ? 0.01f : 1.0f);
        case 3: return x < 0.0f ? tanh_of(0.5f * x) * (exp_of(x) + 1.0f) : x;
        case 4: return (x < -87.0f ? -87.0f : x) * sigmoid_of(x);
        case 5: return 0.5f * x * (1.0f + erf_of(x * 0.707106781f));
        case 6: return sigmoid_of(x);
        case 7: return tanh_of(x);
        default: return x;
    }
}

// A dense layer over one vector. `x` must be ready and `y` free.
DEVICE void dense(DenseLayer layer, const float* weights, const float* x, float* y) {
    for (u32 row = threadIdx.x; row < layer.outputs; row += blockDim.x) {
        const float* column = weights + layer.weights + row;
        float sum = add_products(weights[layer.bias + row], column, layer.stride, x, layer.inputs);
        y[row] = activated(layer.activation, sum);
    }
}

// Vectors that a thread multiplies with a weight once it has it.
#define TILE 4

// A dense layer over vectors `x_step` apart; outputs are `y_step` apart and those of a vector `y_output_step`. They
// are added to what is there, or take its place.
CALLED void dense_vectors(DenseLayer layer, const float* weights, const float* x, u32 x_step, float* y, u32 y_step,
                          u32 y_output_step, u32 vectors, bool is_added) {
    if (vectors == 1) {
        for (u32 row = threadIdx.x; row < layer.outputs; row += blockDim.x) {
            float sum = weights[layer.bias + row];
            if (is_added) sum = y[row * y_output_step] + sum;
            sum = add_products(sum, weights + layer.weights + row, layer.stride, x, layer.inputs);
            y[row * y_output_step] = activated(layer.activation, sum);
        }
        return;
    }
    u32 items = (vectors + TILE - 1) / TILE * layer.outputs;
    for (u32 item = threadIdx.x; item < items; item += blockDim.x) {
        u32 row = item % layer.outputs, first = item / layer.outputs * TILE;
        const float* column = weights + layer.weights + row;
        const float* from[TILE];
        float* to[TILE];
        float sums[TILE];
#pragma unroll
        for (u32 k = 0; k < TILE; k++) {
            // Beyond the last the last once more, which is then not stored.
            u32 vector = first + k < vectors ? first + k : vectors - 1;
            from[k] = x + vector * x_step;
            to[k] = y + vector * y_step + row * y_output_step;
            sums[k] = weights[layer.bias + row];
            if (is_added) sums[k] = *to[k] + sums[k];
        }
#pragma unroll 8
        for (u32 c = 0; c < layer.inputs; c++) {
            float weight = column[c * layer.stride];
#pragma unroll
            for (u32 k = 0; k < TILE; k++) sums[k] = fmaf(weight, from[k][c], sums[k]);
        }
#pragma unroll
        for (u32 k = 0; k < TILE; k++) {
            if (first + k < vectors) *to[k] = activated(layer.activation, sums[k]);
        }
    }
}

// This block's answer.
DEVICE float* answer_of(const Batch& batch, u32 outputs) {
    return (float*)batch.answers + (u64)blockIdx.x * outputs;
}
