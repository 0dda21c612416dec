// Stacked LSTM layers and a dense head, over the newest row of a stream or over the rows of a fresh window.

#define LSTM_LAYERS_MAX 32

// Gates come in the order input, forget, cell, output, each of `units` rows.
struct LstmLayer {
    u32 input_weights;
    u32 recurrent_weights;
    u32 bias;
    u32 inputs;
    u32 units;
    // Numbers from one column of either weights to the next.
    u32 stride;
    // First of its units in a stream, the cells behind them.
    u32 state;
    // First of its gates among those of all layers.
    u32 gates;
};

struct LstmSizes {
    u32 layers;
    // Of all layers.
    u32 all_gates;
    LstmLayer layer[LSTM_LAYERS_MAX];
    DenseLayer head;
};

struct LstmArgument {
    Batch batch;
    LstmSizes sizes;
};

// `bias + recurrent weights x units` of all layers, none of which needs the step's input.
DEVICE void multiply_recurrent(const LstmSizes& sizes, const float* weights, const float* state, float* gates) {
    for (u32 n = 0; n < sizes.layers; n++) {
        LstmLayer layer = sizes.layer[n];
        // A thread's rows go on where the layer below has ended, so that all threads have as many.
        u32 rows = 4 * layer.units;
        u32 first = (threadIdx.x + blockDim.x - layer.gates % blockDim.x) % blockDim.x;
        for (u32 row = first; row < rows; row += blockDim.x) {
            const float* column = weights + layer.recurrent_weights + row;
            float sum = weights[layer.bias + row];
            gates[layer.gates + row] = add_products(sum, column, layer.stride, state + layer.state, layer.units);
        }
    }
}

// A layer's units a step on, from `below`. Ends with a barrier.
DEVICE void advance(LstmLayer layer, const float* weights, const float* below, float* state, float* all_gates) {
    float* gates = all_gates + layer.gates;
    for (u32 row = threadIdx.x; row < 4 * layer.units; row += blockDim.x) {
        const float* column = weights + layer.input_weights + row;
        gates[row] = gates[row] + add_products(0.0f, column, layer.stride, below, layer.inputs);
    }
    __syncthreads();
    float* hidden = state + layer.state;
    float* cells = hidden + layer.units;
    for (u32 unit = threadIdx.x; unit < layer.units; unit += blockDim.x) {
        float input = sigmoid_of(gates[unit]);
        float keep = sigmoid_of(gates[layer.units + unit]);
        float cell = tanh_of(gates[2 * layer.units + unit]);
        float output = sigmoid_of(gates[3 * layer.units + unit]);
        float kept = fmaf(keep, cells[unit], input * cell);
        cells[unit] = kept;
        hidden[unit] = output * tanh_of(kept);
    }
    __syncthreads();
}

// Shared memory: a row, the state of all layers, their gates.
KERNEL(lstm_steps, LstmArgument) {
    SHARED(shared);
    float* row = (float*)shared;
    float* state = row + a.batch.inputs;
    float* gates = state + a.sizes.all_gates / 2;
    const float* weights = (const float*)a.batch.weights;
    u32 flags = flags_of(a.batch);
    if (!(flags & STREAM_ACTIVE)) {
        if (flags & STREAM_RESET) forget(a.batch);
        return;
    }
    bool is_fresh = a.batch.streams == 0 || (flags & STREAM_RESET);
    u32 state_words = a.sizes.all_gates / 2;
    for (u32 k = threadIdx.x; k < state_words; k += blockDim.x) {
        state[k] = is_fresh ? 0.0f : float_of(stream_of(a.batch)[k]);
    }
    for (u32 step = 0; step < a.batch.steps; step++) {
        load_row(a.batch, (u64)blockIdx.x * a.batch.steps + step, row);
        __syncthreads();
        multiply_recurrent(a.sizes, weights, state, gates);
        __syncthreads();
        const float* below = row;
        for (u32 n = 0; n < a.sizes.layers; n++) {
            advance(a.sizes.layer[n], weights, below, state, gates);
            below = state + a.sizes.layer[n].state;
        }
    }
    const float* top = state + a.sizes.layer[a.sizes.layers - 1].state;
    dense(a.sizes.head, weights, top, answer_of(a.batch, a.sizes.head.outputs));
    if (a.batch.streams != 0) {
        for (u32 k = threadIdx.x; k < state_words; k += blockDim.x) {
            stream_of(a.batch)[k] = bits_of(state[k]);
        }
    }
}
