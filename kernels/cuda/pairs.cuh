// Pair STDP at every spike, for the trading cerebellum's parallel fibres: the twin of the engine's plastic.rs and
// debt.rs, operation for operation.
//
// A postsynaptic spike is noted in a ledger of running sums by Purkinje cell, and a row of weights settles when its
// own granule cell fires, when an outcome changes it, or before the ledger forgets. What a row is owed is a sum of
// at most PAIR_TERMS rows of the ledger. The sums of what the rule has done are of one source in PAIR_SAMPLE and
// are taken in the CPU's order, so that they are equal too.

#define PAIR_TERMS 5
#define PAIR_SAMPLE 64
// A trace below this is nothing: its synapses are owed less than the rounding of a weight.
#define PAIR_TRACE_MIN 1e-9f

struct Pairs {
    // States [sets][state_bytes]; what an exponential keeps after 0 to span steps, and its inverse for 0 to epoch.
    u64 state, decay, growth;
    // Change of a weight by a postsynaptic and by a presynaptic spike at a trace of 1; what the postsynaptic trace
    // keeps in a step; bounds of weights.
    float potentiation, depression, keep, least, most;
    // Steps: that the ledger answers, of an epoch, between looks for sources that it would forget, which divides the
    // first. Spikes that are taken together.
    u32 span, epoch, scan, chunk;
    u32 state_bytes;
};

// What a state begins with.
struct PairState {
    // Steps that the cells have done, and the step last learned in.
    u64 step, now;
    // What the rule has done: spikes, rows settled because they were old, weight added and taken off.
    u64 presynaptic, postsynaptic, settled_early;
    double up, down;
    // The ledger's last row.
    u32 head, unused;
};

// Where the rest of a state lies.
struct PairPlaces {
    PairState* head;
    // By Purkinje cell, its trace; bits of those that fired in the last step.
    float* post;
    u32* before;
    // By step, its row of the ledger.
    u32* row_at;
    // By granule cell, the low half of the step up to which its synapses are settled, and its trace then.
    u32* settled;
    float* trace;
    // The ledger [span][purkinje].
    float* rows;
};

DEVICE PairPlaces pair_places(const Pairs& p, u32 set, u32 granules, u32 purkinje_n) {
    PairPlaces at;
    at.head = (PairState*)(p.state + (u64)set * p.state_bytes);
    at.post = (float*)(at.head + 1);
    at.before = (u32*)(at.post + purkinje_n);
    at.row_at = at.before + (purkinje_n + 31) / 32;
    at.settled = at.row_at + p.span;
    at.trace = (float*)(at.settled + granules);
    at.rows = at.trace + granules;
    return at;
}

// Shared memory of a block that learns by spike, in the order of `pair_words` on the host.
struct PairScratch {
    // By Purkinje cell: its trace, and its number in the ledger's last row.
    float *post, *running;
    // Bits of the Purkinje cells that fired in one of the last two steps; cells.fired has those of the other.
    u32* fired;
    // By spike of a chunk: its terms, what was added and taken off if it is sampled, the weights delivered.
    float* weight;
    u32* row;
    float *up, *down, *delivered;
    // Rows settled because they were old.
    u32* early;
    u32* end;
};

DEVICE PairScratch pair_scratch(const Pairs& p, u32* from, u32 purkinje_n) {
    PairScratch s;
    s.post = (float*)from, s.running = s.post + purkinje_n;
    s.fired = (u32*)(s.running + purkinje_n);
    s.weight = (float*)(s.fired + (purkinje_n + 31) / 32);
    s.row = (u32*)(s.weight + PAIR_TERMS * p.chunk);
    s.up = (float*)(s.row + PAIR_TERMS * p.chunk), s.down = s.up + p.chunk, s.delivered = s.down + p.chunk;
    s.early = (u32*)(s.delivered + p.chunk * purkinje_n);
    s.end = s.early + 1;
    return s;
}

// A step: the low half of its number, its place in its epoch and in the span.
struct Moment {
    u32 low, in_epoch, in_span;
};

DEVICE Moment moment_of(const Pairs& p, u64 step) { return {(u32)step, (u32)(step % p.epoch), (u32)(step % p.span)}; }

DEVICE Moment next_of(const Pairs& p, const Moment& m) {
    u32 in_epoch = m.in_epoch + 1, in_span = m.in_span + 1;
    return {m.low + 1, in_epoch == p.epoch ? 0 : in_epoch, in_span == p.span ? 0 : in_span};
}

// The ledger's row of a step so many steps back, which are fewer than the span.
DEVICE u32 row_back(const Pairs& p, const u32* row_at, const Moment& now, u32 back) {
    return row_at[now.in_span >= back ? now.in_span - back : now.in_span + p.span - back];
}

// What a row of weights is owed: rows of the ledger with their weights, of which those of weight 0 are none.
struct Debt {
    float weight[PAIR_TERMS];
    u32 row[PAIR_TERMS];
};

DEVICE Debt owed(const Pairs& p, const u32* row_at, const Moment& now, u32 settled, float trace) {
    Debt debt;
    for (u32 i = 0; i < PAIR_TERMS; i++) debt.weight[i] = 0.0f, debt.row[i] = 0;
    if (trace == 0.0f) return debt;
    const float *decay = (const float*)p.decay, *growth = (const float*)p.growth;
    // Steps since it was settled, that step's place in its epoch, and the steps from there to the epoch's last.
    u32 back = now.low - settled, into = (now.in_epoch + p.epoch - back % p.epoch) % p.epoch, last = p.epoch - 1 - into;
    u32 from = row_back(p, row_at, now, back), until = row_back(p, row_at, now, back > last ? back - last : 0);
    float scale = p.potentiation * trace;
    if (from != until) {
        debt.weight[0] = scale * growth[into], debt.row[0] = until;
        debt.weight[1] = -scale * growth[into], debt.row[1] = from;
    }
    for (u32 k = 0; k < PAIR_TERMS - 2; k++) {
        u32 begin = last + 1 + k * p.epoch, end = begin + p.epoch - 1;
        if (begin <= back) {
            debt.weight[2 + k] = scale * decay[begin];
            debt.row[2 + k] = row_back(p, row_at, now, back > end ? back - end : 0);
        }
    }
    return debt;
}

// In order, with eight loads on their way.
DEVICE float sum_of(const float* row, u32 count) {
    float sum = 0.0f;
#pragma unroll 8
    for (u32 k = 0; k < count; k++) sum += row[k];
    return sum;
}

// Leaves a debt's terms in shared memory.
DEVICE void put_terms(const Debt& debt, float* weight, u32* row) {
    for (u32 t = 0; t < PAIR_TERMS; t++) weight[t] = debt.weight[t], row[t] = debt.row[t];
}

// What is owed to all synapses of a row whose terms lie in shared memory.
DEVICE float owed_in_all(const float* weight, const u32* row, const float* rows, u32 purkinje_n) {
    float sum = 0.0f;
#pragma unroll 1
    for (u32 t = 0; t < PAIR_TERMS; t++) {
        if (weight[t] != 0.0f) sum += weight[t] * sum_of(rows + (u64)row[t] * purkinje_n, purkinje_n);
    }
    return sum;
}

DEVICE float with_owed(float w, const float* weight, const u32* row, const float* rows, u32 purkinje_n, u32 k) {
    for (u32 i = 0; i < PAIR_TERMS; i++) {
        if (weight[i] != 0.0f) w += weight[i] * rows[(u64)row[i] * purkinje_n + k];
    }
    return w;
}

DEVICE float bounded(const Pairs& p, float w) {
    w = w > p.least ? w : p.least;
    return w < p.most ? w : p.most;
}

DEVICE float trace_kept(const Pairs& p, float trace, u32 steps) {
    return trace * (steps <= p.span ? ((const float*)p.decay)[steps] : 0.0f);
}

// Whether a source would soon fall out of the ledger.
DEVICE bool is_old(const Pairs& p, const Moment& now, u32 settled) {
    return (u64)(now.low - settled) + 2 * p.scan >= p.span;
}

// Settles a row without a spike of its own; called by a whole warp. Returns what is left of its trace, which the
// caller keeps.
DEVICE float settle_row(const Pairs& p, const PairPlaces& at, const Moment& now, u32 source, u32 settled, float trace,
                        float* weights, u32 purkinje_n) {
    const Debt debt = owed(p, at.row_at, now, settled, trace);
    for (u32 k = threadIdx.x % WARP; k < purkinje_n; k += WARP) {
        float* w = weights + (u64)source * purkinje_n + k;
        *w = bounded(p, with_owed(*w, debt.weight, debt.row, at.rows, purkinje_n, k));
    }
    return trace_kept(p, trace, now.low - settled);
}

// Settles the sources that the ledger would forget; called by every thread of the block.
DEVICE void settle_old(const Pairs& p, const PairPlaces& at, const PairScratch& s, const Moment& now, float* weights,
                       u32 granules, u32 purkinje_n) {
    for (u32 first = 0; first < granules; first += p.chunk * PAIR_SAMPLE) {
        for (u32 i = threadIdx.x; i < p.chunk; i += blockDim.x) {
            u32 source = first + i * PAIR_SAMPLE;
            float sum = 0.0f;
            if (source < granules && is_old(p, now, at.settled[source])) {
                float* weight = s.weight + i * PAIR_TERMS;
                u32* row = s.row + i * PAIR_TERMS;
                put_terms(owed(p, at.row_at, now, at.settled[source], at.trace[source]), weight, row);
                sum = owed_in_all(weight, row, at.rows, purkinje_n);
            }
            s.up[i] = sum;
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            double up = at.head->up;
            for (u32 i = 0; i < p.chunk; i++) up += (double)s.up[i] * PAIR_SAMPLE;
            at.head->up = up;
        }
        __syncthreads();
    }
    u32 lane = threadIdx.x % WARP, early = 0;
    for (u32 source = threadIdx.x / WARP; source < granules; source += blockDim.x / WARP) {
        // The first lane's, which changes them below.
        u32 settled = __shfl_sync(ALL_LANES, at.settled[source], 0);
        float trace = __shfl_sync(ALL_LANES, at.trace[source], 0);
        if (!is_old(p, now, settled)) continue;
        if (trace != 0.0f) {
            float kept = settle_row(p, at, now, source, settled, trace, weights, purkinje_n);
            if (lane == 0) at.trace[source] = kept < PAIR_TRACE_MIN ? 0.0f : kept;
            early += lane == 0;
        }
        if (lane == 0) at.settled[source] = now.low;
    }
    if (early) atomicAdd(s.early, early);
    __syncthreads();
}

// Begins step `now`: lets the postsynaptic trace decay and notes the Purkinje cells that fired `before` it in the
// ledger, whose last row is `head`. Returns its last row after that. Each thread has its own Purkinje cells.
DEVICE u32 begin_step(const Pairs& p, const PairPlaces& at, const PairScratch& s, const Moment& now, u32 head,
                      const u32* before, u32 purkinje_n) {
    u32 into = now.in_epoch, fired = 0;
    for (u32 w = 0; w < (purkinje_n + 31) / 32; w++) fired |= before[w];
    bool fresh = into == 0 || fired != 0;
    if (fresh) head = head + 1 == p.span ? 0 : head + 1;
    float noted = ((const float*)p.decay)[into];
    for (u32 k = threadIdx.x; k < purkinje_n; k += blockDim.x) {
        if (p.depression != 0.0f) s.post[k] *= p.keep;
        if (!fresh) continue;
        float sum = into == 0 ? 0.0f : s.running[k];
        if ((before[k / 32] >> (k % 32)) & 1u) sum += noted;
        s.running[k] = sum;
        at.rows[(u64)head * purkinje_n + k] = sum;
    }
    if (threadIdx.x == 0) at.row_at[now.in_span] = head;
    return head;
}

// Lets listed granule cells' spikes act on their weights and delivers these to the Purkinje cells' `exc`; called by
// every thread of the block.
DEVICE void deliver_paired(const Pairs& p, const PairPlaces& at, const PairScratch& s, const Moment& now,
                           const u16* list, u32 spikes, float* weights, float factor, float* exc, u32 purkinje_n) {
    for (u32 first = 0; first < spikes; first += p.chunk) {
        u32 count = spikes - first < p.chunk ? spikes - first : p.chunk;
        for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
            u32 source = list[first + i], settled = at.settled[source];
            float trace = at.trace[source];
            float* weight = s.weight + i * PAIR_TERMS;
            u32* row = s.row + i * PAIR_TERMS;
            put_terms(owed(p, at.row_at, now, settled, trace), weight, row);
            if (source % PAIR_SAMPLE == 0) {
                s.up[i] = owed_in_all(weight, row, at.rows, purkinje_n);
                s.down[i] = p.depression * sum_of(s.post, purkinje_n);
            }
            at.settled[source] = now.low;
            at.trace[source] = trace_kept(p, trace, now.low - settled) + 1.0f;
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            for (u32 i = 0; i < count; i++) {
                if (list[first + i] % PAIR_SAMPLE != 0) continue;
                at.head->up += (double)s.up[i] * PAIR_SAMPLE;
                at.head->down += (double)s.down[i] * PAIR_SAMPLE;
            }
        }
        // All new weights at once, which do not depend on each other; their sums by cell then in order.
        for (u32 i = threadIdx.x; i < count * purkinje_n; i += blockDim.x) {
            u32 spike = i / purkinje_n, k = i % purkinje_n;
            float* w = weights + (u64)list[first + spike] * purkinje_n + k;
            const u32 t = spike * PAIR_TERMS;
            float x = with_owed(*w, s.weight + t, s.row + t, at.rows, purkinje_n, k);
            if (p.depression != 0.0f) x += -p.depression * s.post[k];
            x = bounded(p, x);
            *w = x;
            s.delivered[i] = x;
        }
        __syncthreads();
        for (u32 k = threadIdx.x; k < purkinje_n; k += blockDim.x) {
            float sum = exc[k];
            for (u32 i = 0; i < count; i++) sum += factor * s.delivered[i * purkinje_n + k];
            exc[k] = sum;
        }
    }
}
