// Stacked LSTM layers and a dense head.
//
// Two ways: `lstm_steps` computes all layers in one block, over the newest row of a stream or over the rows of a
// fresh window; `lstm_layer` and `lstm_head` compute one step, a launch a layer, each layer by as many blocks as it
// has slices of units, so that a large network's weights are read by the whole device.
//
// A slice is eight units with their four gates, which are the rows of a warp: input, forget, cell, output. Weights
// lie slice by slice, in each column by column, 32 rows side by side.

#define LSTM_LAYERS_MAX 32
#define SLICE_UNITS 8
#define SLICE_ROWS 32

struct LstmLayer {
    u32 input_weights;
    u32 recurrent_weights;
    u32 bias;
    u32 inputs;
    u32 units;
    // Of all slices: those of units beyond the last are zero.
    u32 rows;
    // First of its units in a stream, the cells behind them.
    u32 state;
    // First of its gates among those of all layers.
    u32 gates;
};

struct LstmSizes {
    u32 layers;
    // Rows of all layers.
    u32 all_gates;
    LstmLayer layer[LSTM_LAYERS_MAX];
    DenseLayer head;
};

struct LstmArgument {
    Batch batch;
    LstmSizes sizes;
};

// The products of a row of a slice with a vector of so many columns, added to `sum`.
DEVICE float add_row(float sum, const float* weights, u32 row, const float* x, u32 columns) {
    const float* first = weights + row / SLICE_ROWS * columns * SLICE_ROWS + row % SLICE_ROWS;
    return add_products(sum, first, SLICE_ROWS, x, columns);
}

// A unit's new cell and what it gives, from its gates, which lie `SLICE_UNITS` apart.
DEVICE float unit_of(const float* gates, float* cell) {
    float input = sigmoid_of(gates[0]);
    float keep = sigmoid_of(gates[SLICE_UNITS]);
    float proposed = tanh_of(gates[2 * SLICE_UNITS]);
    float output = sigmoid_of(gates[3 * SLICE_UNITS]);
    float kept = fmaf(keep, *cell, input * proposed);
    *cell = kept;
    return output * tanh_of(kept);
}

// `bias + recurrent weights x units` of all layers, none of which needs the step's input.
DEVICE void multiply_recurrent(const LstmSizes& sizes, const float* weights, const float* state, float* gates) {
    for (u32 n = 0; n < sizes.layers; n++) {
        const LstmLayer& layer = sizes.layer[n];
        // Rows go on with the thread behind the last of the layer below, so that all threads have as many.
        u32 first = (threadIdx.x + blockDim.x - layer.gates % blockDim.x) % blockDim.x;
        for (u32 row = first; row < layer.rows; row += blockDim.x) {
            float sum = weights[layer.bias + row];
            const float* recurrent = weights + layer.recurrent_weights;
            gates[layer.gates + row] = add_row(sum, recurrent, row, state + layer.state, layer.units);
        }
    }
}

// A layer's units a step on, from `below`. Ends with a barrier.
DEVICE void advance(const LstmLayer& layer, const float* weights, const float* below, float* state, float* all_gates) {
    float* gates = all_gates + layer.gates;
    for (u32 row = threadIdx.x; row < layer.rows; row += blockDim.x) {
        gates[row] = gates[row] + add_row(0.0f, weights + layer.input_weights, row, below, layer.inputs);
    }
    __syncthreads();
    float* hidden = state + layer.state;
    float* cells = hidden + layer.units;
    for (u32 unit = threadIdx.x; unit < layer.units; unit += blockDim.x) {
        const float* of_unit = gates + unit / SLICE_UNITS * SLICE_ROWS + unit % SLICE_UNITS;
        hidden[unit] = unit_of(of_unit, cells + unit);
    }
    __syncthreads();
}

// Shared memory: a row, the state of all layers, their gates.
KERNEL(lstm_steps, LstmArgument, PREDICTOR_THREADS) {
    SHARED(shared);
    const LstmLayer& last = a.sizes.layer[a.sizes.layers - 1];
    u32 state_words = last.state + 2 * last.units;
    float* row = (float*)shared;
    float* state = row + a.batch.inputs;
    float* gates = state + state_words;
    const float* weights = (const float*)a.batch.weights;
    u32 flags = flags_of(a.batch, blockIdx.x);
    if (!(flags & FLAG_ACTIVE)) {
        if (flags & FLAG_RESET) forget(a.batch);
        return;
    }
    u32* stream = stream_of(a.batch, blockIdx.x);
    bool is_fresh = a.batch.streams == 0 || (flags & FLAG_RESET);
    for (u32 k = threadIdx.x; k < state_words; k += blockDim.x) {
        state[k] = is_fresh ? 0.0f : float_of(stream[k]);
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
    dense(a.sizes.head, weights, state + last.state, answer_of(a.batch, a.sizes.head.outputs));
    if (a.batch.streams != 0) {
        for (u32 k = threadIdx.x; k < state_words; k += blockDim.x) stream[k] = bits_of(state[k]);
    }
}

// Instruments of a block of `lstm_layer`, each with a warp for both products, and columns of both that are kept in
// shared memory while they are multiplied.
#define GROUP 4
#define COLUMNS 64
#define GROUP_THREADS (2 * GROUP * WARP)
// Numbers that a thread fetches of them.
#define FETCHED (2 * COLUMNS / (2 * GROUP))

struct LstmLayerArgument {
    Batch batch;
    LstmLayer layer;
    // Among all units, the first of its own and of the layer below.
    u32 first_unit;
    u32 first_below;
    // Of all layers.
    u32 all_units;
    // Whether it reads rows, not units.
    u32 is_first;
    u32 instruments;
    u32 unused;
};

// What a thread fetches of the columns from `first` on; its warp has each `2 * GROUP`th, first those of the inputs.
DEVICE void fetch(const LstmLayer& layer, const float* weights, u32 first, float* fetched) {
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
    for (u32 k = 0; k < FETCHED; k++) {
        u32 at = k * 2 * GROUP + warp;
        bool is_recurrent = at >= COLUMNS;
        u32 column = first + at % COLUMNS;
        u32 columns = is_recurrent ? layer.units : layer.inputs;
        u32 of = is_recurrent ? layer.recurrent_weights : layer.input_weights;
        u32 place = (blockIdx.x * columns + column) * SLICE_ROWS + lane;
        fetched[k] = column < columns ? weights[of + place] : 0.0f;
    }
}

// A slice of a layer of a group of instruments, one step. Shared memory: the columns of both products, of each
// instrument what comes in and its units, and both sums of each row.
KERNEL(lstm_layer, LstmLayerArgument, GROUP_THREADS) {
    SHARED(shared);
    const LstmLayer& layer = a.layer;
    const float* weights = (const float*)a.batch.weights;
    float* columns = (float*)shared;
    float* vectors = columns + 2 * COLUMNS * SLICE_ROWS;
    float* sums = vectors + GROUP * (layer.inputs + layer.units);
    u32 first_instrument = blockIdx.y * GROUP;
    bool is_any_active = false;
    for (u32 k = 0; k < GROUP && first_instrument + k < a.instruments; k++) {
        u32 instrument = first_instrument + k;
        u32 flags = flags_of(a.batch, instrument);
        if (!(flags & FLAG_ACTIVE)) continue;
        is_any_active = true;
        float* below = vectors + k * (layer.inputs + layer.units);
        float* own = below + layer.inputs;
        const float* units = (const float*)a.batch.between + (u64)instrument * a.all_units + a.first_below;
        for (u32 column = threadIdx.x; column < layer.inputs; column += blockDim.x) {
            below[column] = a.is_first ? input_of(a.batch, instrument, column) : units[column];
        }
        const u32* stream = stream_of(a.batch, instrument) + layer.state;
        for (u32 unit = threadIdx.x; unit < layer.units; unit += blockDim.x) {
            own[unit] = flags & FLAG_RESET ? 0.0f : float_of(stream[unit]);
        }
    }
    if (!is_any_active) return;
    u32 lane = threadIdx.x % WARP, member = threadIdx.x / WARP / 2;
    bool is_recurrent = threadIdx.x / WARP % 2 == 1;
    u32 instrument = first_instrument + member;
    bool is_active = instrument < a.instruments && (flags_of(a.batch, instrument) & FLAG_ACTIVE);
    const float* x = vectors + member * (layer.inputs + layer.units) + (is_recurrent ? layer.inputs : 0);
    const float* own_columns = columns + (is_recurrent ? COLUMNS * SLICE_ROWS : 0) + lane;
    u32 own_count = is_recurrent ? layer.units : layer.inputs;
    u32 most = layer.inputs > layer.units ? layer.inputs : layer.units;
    float sum = is_recurrent ? weights[layer.bias + blockIdx.x * SLICE_ROWS + lane] : 0.0f;
    float fetched[FETCHED];
    fetch(layer, weights, 0, fetched);
    for (u32 first = 0; first < most; first += COLUMNS) {
        // The last ones have been multiplied with.
        __syncthreads();
#pragma unroll
        for (u32 k = 0; k < FETCHED; k++) columns[(k * 2 * GROUP) * SLICE_ROWS + threadIdx.x] = fetched[k];
        __syncthreads();
        // On their way while these are multiplied.
        fetch(layer, weights, first + COLUMNS, fetched);
        if (is_active && first < own_count) {
            u32 count = own_count - first < COLUMNS ? own_count - first : COLUMNS;
            sum = add_products(sum, own_columns, SLICE_ROWS, x + first, count);
        }
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    // The last warps have nothing left to do: a thread a unit.
    member = threadIdx.x / SLICE_UNITS;
    u32 at = threadIdx.x % SLICE_UNITS, unit = blockIdx.x * SLICE_UNITS + at;
    instrument = first_instrument + member;
    if (member >= GROUP || unit >= layer.units || instrument >= a.instruments) return;
    u32 flags = flags_of(a.batch, instrument);
    if (!(flags & FLAG_ACTIVE)) return;
    float gates[4 * SLICE_UNITS];
    const float* products = sums + 2 * member * WARP + at;
    const float* recurrent = products + WARP;
#pragma unroll
    for (u32 gate = 0; gate < 4 * SLICE_UNITS; gate += SLICE_UNITS) gates[gate] = recurrent[gate] + products[gate];
    float* cells = (float*)stream_of(a.batch, instrument) + layer.state + layer.units;
    float cell = flags & FLAG_RESET ? 0.0f : cells[unit];
    float hidden = unit_of(gates, &cell);
    cells[unit] = cell;
    ((float*)a.batch.between)[(u64)instrument * a.all_units + a.first_unit + unit] = hidden;
}

// After the layers: an instrument's new units go to its stream, and the head reads those of the last.
KERNEL(lstm_head, LstmArgument, PREDICTOR_THREADS) {
    SHARED(units);
    float* top = (float*)units;
    u32 flags = flags_of(a.batch, blockIdx.x);
    if (!(flags & FLAG_ACTIVE)) {
        if (flags & FLAG_RESET) forget(a.batch);
        return;
    }
    const LstmLayer& last = a.sizes.layer[a.sizes.layers - 1];
    u32 all_units = last.state / 2 + last.units;
    const float* between = (const float*)a.batch.between + (u64)blockIdx.x * all_units;
    u32* stream = stream_of(a.batch, blockIdx.x);
    for (u32 n = 0; n < a.sizes.layers; n++) {
        const LstmLayer& layer = a.sizes.layer[n];
        for (u32 unit = threadIdx.x; unit < layer.units; unit += blockDim.x) {
            float value = between[layer.state / 2 + unit];
            stream[layer.state + unit] = bits_of(value);
            if (n + 1 == a.sizes.layers) top[unit] = value;
        }
    }
    __syncthreads();
    const float* weights = (const float*)a.batch.weights;
    dense(a.sizes.head, weights, top, answer_of(a.batch, a.sizes.head.outputs));
}
