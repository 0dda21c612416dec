// A transformer's encoder: over the newest position of a stream (causal attention), or over a whole window, be it
// fresh or the newest rows of a stream.
//
// Sums over a vector (layer norms) and over the past (softmax) are those of sixteen lanes, as the CPU has them:
// half a warp has one vector, or one query of one head.

// The CPU's lanes, and the mask of this half of the warp.
#define HALF 16
#define HALF_MASK (0xffffu << (threadIdx.x & HALF))

// Where a layer norm's numbers lie.
struct LayerNorm {
    u32 weight;
    u32 bias;
};

// Places count from the block's first weight.
struct EncoderBlock {
    // Queries, keys and values of `width` rows each.
    DenseLayer projections;
    DenseLayer out;
    DenseLayer wide;
    DenseLayer narrow;
    LayerNorm attention_norm;
    LayerNorm dense_norm;
};

struct TransformerSizes {
    u32 blocks;
    // Weights from one block to the next, and of the first.
    u32 block_stride;
    u32 first_block;
    u32 heads;
    // Of a vector.
    u32 width;
    // Of a window, or of what a stream remembers.
    u32 positions;
    u32 is_norm_first;
    u32 is_causal;
    // What is taken off a score for each step of distance, a number a head.
    u32 slopes;
    // A vector a position, added to what comes in; 0: none.
    u32 position_table;
    // After the last block; 0: none.
    LayerNorm last_norm;
    u32 has_last_norm;
    // Numbers of the widest of: what attention and dense layers of a block keep, and a window's rows.
    u32 room;
    // Positions whose wide vectors there is room for at once.
    u32 wide_positions;
    u32 unused;
    EncoderBlock block;
    DenseLayer input;
    DenseLayer head;
};

struct TransformerArgument {
    Batch batch;
    TransformerSizes sizes;
};

// Halves are added until one number is left.
DEVICE float half_sum(float lane) {
    for (u32 apart = HALF / 2; apart > 0; apart /= 2) {
        lane = lane + __shfl_xor_sync(HALF_MASK, lane, apart, HALF);
    }
    return lane;
}

// The largest, of which no NaN is one.
DEVICE float half_most(float lane) {
    for (u32 apart = HALF / 2; apart > 0; apart /= 2) {
        float other = __shfl_xor_sync(HALF_MASK, lane, apart, HALF);
        lane = other > lane ? other : lane;
    }
    return lane;
}

// Normalises vectors that lie one behind the other, half a warp each; `to` may be `from`.
CALLED void normalise(LayerNorm norm, const float* weights, const float* from, float* to, u32 width, u32 vectors) {
    u32 lane = threadIdx.x % HALF;
    for (u32 vector = threadIdx.x / HALF; vector < vectors; vector += blockDim.x / HALF) {
        const float* x = from + vector * width;
        float* y = to + vector * width;
        float sum = 0.0f;
        for (u32 k = lane; k < width; k += HALF) sum = sum + x[k];
        float mean = half_sum(sum) / (float)width;
        float squares = 0.0f;
        for (u32 k = lane; k < width; k += HALF) {
            float centred = x[k] - mean;
            squares = fmaf(centred, centred, squares);
        }
        float factor = 1.0f / sqrtf(half_sum(squares) / (float)width + 1e-5f);
        for (u32 k = lane; k < width; k += HALF) {
            float normal = (x[k] - mean) * factor;
            y[k] = fmaf(normal, weights[norm.weight + k], weights[norm.bias + k]);
        }
    }
}

// Replaces the scores of the ages that a query sees, which come without the bias of their distance, by their
// exponentials less the largest. Half a warp; returns the sum.
DEVICE float soften(float* scores, u32 sees, float own, float slope) {
    u32 lane = threadIdx.x % HALF;
    float most = -float_of(0x7f800000u);
    for (u32 age = lane; age < sees; age += HALF) {
        float score = fmaf(-slope, fabsf((float)age - own), scores[age]);
        scores[age] = score;
        most = score > most ? score : most;
    }
    most = half_most(most);
    float sum = 0.0f;
    for (u32 age = lane; age < sees; age += HALF) {
        float weight = exp_of(scores[age] - most);
        scores[age] = weight;
        sum = sum + weight;
    }
    return half_sum(sum);
}

// The `which`th of the projections: queries, keys, values.
DEVICE DenseLayer projection(const TransformerSizes& sizes, u32 which) {
    DenseLayer layer = sizes.block.projections;
    layer.weights += which * sizes.width;
    layer.bias += which * sizes.width;
    layer.outputs = sizes.width;
    return layer;
}

// What comes after attention, over the positions that go on. Ends with a barrier.
DEVICE void dense_part(const TransformerSizes& sizes, const float* weights, float* vectors, float* normal, float* wide,
                       u32 positions) {
    const EncoderBlock& block = sizes.block;
    u32 width = sizes.width;
    const float* seen = vectors;
    if (sizes.is_norm_first) {
        normalise(block.dense_norm, weights, vectors, normal, width, positions);
        seen = normal;
    } else {
        normalise(block.attention_norm, weights, vectors, vectors, width, positions);
    }
    __syncthreads();
    for (u32 first = 0; first < positions; first += sizes.wide_positions) {
        u32 count = positions - first < sizes.wide_positions ? positions - first : sizes.wide_positions;
        dense_vectors(block.wide, weights, seen + first * width, width, wide, block.wide.outputs, 1, count, false);
        __syncthreads();
        dense_vectors(block.narrow, weights, wide, block.wide.outputs, vectors + first * width, width, 1, count, true);
        __syncthreads();
    }
    if (!sizes.is_norm_first) {
        normalise(block.dense_norm, weights, vectors, vectors, width, positions);
        __syncthreads();
    }
}

// The head over one vector, which is normalised where it lies.
DEVICE void answer(const TransformerArgument& a, float* vector) {
    const float* weights = (const float*)a.batch.weights;
    if (a.sizes.has_last_norm) {
        normalise(a.sizes.last_norm, weights, vector, vector, a.sizes.width, 1);
        __syncthreads();
    }
    dense(a.sizes.head, weights, vector, answer_of(a.batch, a.sizes.head.outputs));
}

// A whole window's attention, half a warp a query and head: what the `asking` last positions get takes the place of
// their queries. Keys lie number by number, `keys_step` apart.
DEVICE void attend_window(const TransformerSizes& sizes, const float* weights, float* queries, const float* keys,
                          u32 keys_step, const float* values, float* all_scores, u32 asking) {
    u32 lane = threadIdx.x % HALF, halves = blockDim.x / HALF;
    u32 head_width = sizes.width / sizes.heads, positions = sizes.positions;
    float* scores = all_scores + threadIdx.x / HALF * positions;
    for (u32 pair = threadIdx.x / HALF; pair < asking * sizes.heads; pair += halves) {
        u32 head = pair / asking, query = pair % asking, own = positions - asking + query;
        u32 sees = sizes.is_causal ? own + 1 : positions;
        float* asks = queries + query * sizes.width + head * head_width;
        const float* key = keys + head * head_width * keys_step;
        for (u32 age = lane; age < sees; age += HALF) {
            float score = 0.0f;
            for (u32 k = 0; k < head_width; k++) score = fmaf(key[k * keys_step + age], asks[k], score);
            scores[age] = score;
        }
        float total = soften(scores, sees, (float)own, weights[sizes.slopes + head]);
        __syncwarp(HALF_MASK);
        for (u32 k = lane; k < head_width; k += HALF) {
            const float* value = values + head * head_width + k;
            float sum = 0.0f;
            for (u32 age = 0; age < sees; age++) sum = fmaf(value[age * sizes.width], scores[age], sum);
            asks[k] = sum / total;
        }
        __syncwarp(HALF_MASK);
    }
}

// A window's rows, oldest first, from the batch or, with this one, from the stream's ring. Ends with a barrier.
DEVICE void load_window(const Batch& batch, u32 positions, float* rows) {
    if (batch.streams == 0) {
        for (u32 position = 0; position < positions; position++) {
            load_row(batch, (u64)blockIdx.x * positions + position, rows + position * batch.inputs);
        }
        __syncthreads();
        return;
    }
    u32* stream = stream_of(batch, blockIdx.x);
    float* ring = (float*)(stream + 2);
    u64 seen = steps_seen(stream);
    u32 slot = (u32)(seen % positions);
    load_row(batch, blockIdx.x, ring + slot * batch.inputs);
    __syncthreads();
    if (threadIdx.x == 0) set_steps_seen(stream, seen + 1);
    for (u32 k = threadIdx.x; k < positions * batch.inputs; k += blockDim.x) {
        u32 at = slot + 1 + k / batch.inputs;
        at = at >= positions ? at - positions : at;
        rows[k] = ring[at * batch.inputs + k % batch.inputs];
    }
    __syncthreads();
}

// Shared memory: a vector a position, as many normalised ones if norms come first, `room`, scores of a query for
// each half of a warp.
KERNEL(transformer_window, TransformerArgument, PREDICTOR_THREADS) {
    SHARED(shared);
    const TransformerSizes& sizes = a.sizes;
    const EncoderBlock& block = sizes.block;
    u32 width = sizes.width, positions = sizes.positions, keys_step = positions | 1;
    float* vectors = (float*)shared;
    float* normal = vectors + positions * width;
    float* room = sizes.is_norm_first ? normal + positions * width : normal;
    float* queries = room;
    float* values = queries + positions * width;
    float* keys = values + positions * width;
    float* scores = room + sizes.room;
    u32 flags = flags_of(a.batch, blockIdx.x);
    if (flags & FLAG_RESET) forget(a.batch);
    if (!(flags & FLAG_ACTIVE)) return;
    __syncthreads();
    load_window(a.batch, positions, room);
    const float* weights = (const float*)a.batch.weights;
    dense_vectors(sizes.input, weights, room, a.batch.inputs, vectors, width, 1, positions, false);
    __syncthreads();
    if (sizes.position_table != 0) {
        for (u32 k = threadIdx.x; k < positions * width; k += blockDim.x) {
            vectors[k] = vectors[k] + weights[sizes.position_table + k];
        }
        __syncthreads();
    }
    for (u32 n = 0; n < sizes.blocks; n++) {
        const float* own_weights = weights + sizes.first_block + n * sizes.block_stride;
        // The last block computes nothing but the newest position.
        u32 asking = n + 1 == sizes.blocks ? 1 : positions;
        u32 first = (positions - asking) * width;
        const float* seen = vectors;
        if (sizes.is_norm_first) {
            normalise(block.attention_norm, own_weights, vectors, normal, width, positions);
            seen = normal;
            __syncthreads();
        }
        dense_vectors(projection(sizes, 0), own_weights, seen + first, width, queries, width, 1, asking, false);
        dense_vectors(projection(sizes, 1), own_weights, seen, width, keys, 1, keys_step, positions, false);
        dense_vectors(projection(sizes, 2), own_weights, seen, width, values, width, 1, positions, false);
        __syncthreads();
        attend_window(sizes, weights, queries, keys, keys_step, values, scores, asking);
        __syncthreads();
        dense_vectors(block.out, own_weights, queries, width, vectors + first, width, 1, asking, true);
        __syncthreads();
        dense_part(sizes, own_weights, vectors + first, normal, room, asking);
    }
    answer(a, vectors + (positions - 1) * width);
}

// Attention of a stream's newest position, whose key and value are in their place. `seen` counts it. Ends with a
// barrier.
DEVICE void attend_newest(const TransformerSizes& sizes, const float* weights, const float* query, const float* keys,
                          const float* values, u64 seen, float* all_scores, float* totals, float* attended) {
    u32 positions = sizes.positions, head_width = sizes.width / sizes.heads;
    u32 holds = seen < positions ? (u32)seen : positions;
    u32 oldest = seen > positions ? (u32)(seen % positions) : 0;
    for (u32 item = threadIdx.x; item < sizes.heads * holds; item += blockDim.x) {
        u32 head = item / holds, age = item % holds;
        u32 slot = oldest + age >= positions ? oldest + age - positions : oldest + age;
        const float* key = keys + head * head_width * positions + slot;
        const float* asks = query + head * head_width;
        float score = 0.0f;
#pragma unroll 16
        for (u32 k = 0; k < head_width; k++) score = fmaf(key[k * positions], asks[k], score);
        all_scores[head * positions + age] = score;
    }
    __syncthreads();
    for (u32 head = threadIdx.x / HALF; head < sizes.heads; head += blockDim.x / HALF) {
        float slope = weights[sizes.slopes + head];
        float total = soften(all_scores + head * positions, holds, (float)(holds - 1), slope);
        if (threadIdx.x % HALF == 0) totals[head] = total;
    }
    __syncthreads();
    for (u32 k = threadIdx.x; k < sizes.width; k += blockDim.x) {
        const float* scores = all_scores + k / head_width * positions;
        float sum = 0.0f;
        u32 slot = oldest;
#pragma unroll 16
        for (u32 age = 0; age < holds; age++) {
            sum = fmaf(values[slot * sizes.width + k], scores[age], sum);
            slot = slot + 1 == positions ? 0 : slot + 1;
        }
        attended[k] = sum / totals[k / head_width];
    }
    __syncthreads();
}

// Shared memory: a row, the vector, the normalised one, queries with keys and values, what attention gives, a wide
// vector, and for each head scores and their sum.
KERNEL(transformer_step, TransformerArgument, PREDICTOR_THREADS) {
    SHARED(shared);
    const TransformerSizes& sizes = a.sizes;
    const EncoderBlock& block = sizes.block;
    u32 width = sizes.width, positions = sizes.positions;
    float* row = (float*)shared;
    float* vector = row + a.batch.inputs;
    float* normal = vector + width;
    float* projected = normal + width;
    float* attended = projected + 3 * width;
    float* wide = attended + width;
    float* scores = wide + block.wide.outputs;
    float* totals = scores + sizes.heads * positions;
    const float* weights = (const float*)a.batch.weights;
    u32 flags = flags_of(a.batch, blockIdx.x);
    if (flags & FLAG_RESET) forget(a.batch);
    if (!(flags & FLAG_ACTIVE)) return;
    load_row(a.batch, blockIdx.x, row);
    __syncthreads();
    u32* stream = stream_of(a.batch, blockIdx.x);
    u64 seen = steps_seen(stream);
    u32 slot = (u32)(seen % positions);
    dense(sizes.input, weights, row, vector);
    __syncthreads();
    if (threadIdx.x == 0) set_steps_seen(stream, seen + 1);
    for (u32 n = 0; n < sizes.blocks; n++) {
        const float* own_weights = weights + sizes.first_block + n * sizes.block_stride;
        float* keys = (float*)(stream + 2) + 2 * n * positions * width;
        float* values = keys + positions * width;
        const float* from = vector;
        if (sizes.is_norm_first) {
            normalise(block.attention_norm, own_weights, vector, normal, width, 1);
            from = normal;
            __syncthreads();
        }
        dense(block.projections, own_weights, from, projected);
        __syncthreads();
        for (u32 k = threadIdx.x; k < width; k += blockDim.x) {
            keys[k * positions + slot] = projected[width + k];
            values[slot * width + k] = projected[2 * width + k];
        }
        __syncthreads();
        attend_newest(sizes, weights, projected, keys, values, seen + 1, scores, totals, attended);
        dense_vectors(block.out, own_weights, attended, width, vector, width, 1, 1, true);
        __syncthreads();
        dense_part(sizes, own_weights, vector, normal, wide, 1);
    }
    answer(a, vector);
}
