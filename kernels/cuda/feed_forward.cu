// Dense layers one behind the other: feed-forward networks and autoencoders.

#define DENSE_LAYERS_MAX 64

struct FeedForwardSizes {
    u32 layers;
    // Numbers of the widest vector.
    u32 width;
    DenseLayer layer[DENSE_LAYERS_MAX];
};

struct FeedForwardArgument {
    Batch batch;
    FeedForwardSizes sizes;
};

// Mean squared difference of a row and what was rebuilt of it, summed in order with 64 bits.
DEVICE float error_of(const Batch& batch, const float* rebuilt) {
    double sum = 0.0;
    for (u32 k = 0; k < batch.inputs; k++) {
        double difference = (double)input_of(batch, blockIdx.x, k) - (double)rebuilt[k];
        sum = sum + difference * difference;
    }
    return (float)(sum / (double)batch.inputs);
}

// Shared memory: two vectors of `width`.
KERNEL(feed_forward_step, FeedForwardArgument, PREDICTOR_THREADS) {
    SHARED(shared);
    float* from = (float*)shared;
    float* to = from + a.sizes.width;
    const float* weights = (const float*)a.batch.weights;
    u32 flags = flags_of(a.batch, blockIdx.x);
    if (!(flags & FLAG_ACTIVE)) {
        if ((flags & FLAG_RESET) && a.batch.errors != 0 && threadIdx.x == 0) {
            ((float*)a.batch.errors)[blockIdx.x] = float_of(0x7fc00000u);
        }
        return;
    }
    load_row(a.batch, blockIdx.x, from);
    __syncthreads();
    for (u32 n = 0; n < a.sizes.layers; n++) {
        dense(a.sizes.layer[n], weights, from, to);
        __syncthreads();
        float* read = from;
        from = to;
        to = read;
    }
    u32 outputs = a.sizes.layer[a.sizes.layers - 1].outputs;
    float* answer = answer_of(a.batch, outputs);
    for (u32 k = threadIdx.x; k < outputs; k += blockDim.x) answer[k] = from[k];
    if (a.batch.errors != 0 && threadIdx.x == 0) {
        ((float*)a.batch.errors)[blockIdx.x] = error_of(a.batch, from);
    }
}
