// One large cerebellum over the whole grid: up to millions of granule cells, whose parallel fibres reach all Purkinje
// cells of their beam.
//
// A decision cycle is one graph: wide_encode; wide_granular, all steps at once, as no granule cell depends on another
// cluster; wide_expire where weights learn or have just ceased to; and then for each step wide_deliver and
// wide_purkinje. The kernels do what wide/cpu.rs does.
//
// Invariants: whatever is summed over cells is an integer until it is whole, so that neither the order of blocks nor
// that of atomics shows in any bit; a row of weights is written by one block a step; nothing is listed that has no
// room, as spikes of a step are a bit a cell.

#define DENDRITES 4
#define MOSSY_PER_GOLGI 20
#define NUCLEI_PER_PURKINJE 4
// Weights that a thread reads at once.
#define VECTOR 8
// Rows that are listed at once.
#define LIST_ROOM 1024u

// What changes from cycle to cycle.
struct WideTick {
    u64 cycle;
    // Number of the cycle's first step.
    u32 first_step;
    // What a parallel-fibre spike adds to a weight, in 65,536ths of a weight's unit.
    u32 potentiation;
    // Probabilities of a climbing-fibre spike a step, of the up and of the down zone.
    float climbing_up, climbing_down;
    // Change of a granule cell's drive by each spike that it was short of.
    float intrinsic_rate;
    // Steps of silence after which wide_expire settles a row.
    u32 silence;
};

// What all kernels are given. Cells of a beam are `row` places apart, of which the first `purkinje_each` are used.
struct WideArgument {
    // WideTick; features; results u32, zeros; centres of a feature's fields; what a trace keeps by steps [window].
    u64 tick, features, results, centres, keep;
    // A bit a step [fibres][step_words] u32; a bit a granule cell [steps][beams][words] u64.
    u64 mossy, fired;
    // Sources u16 [granules][DENDRITES], [clusters][MOSSY_PER_GOLGI]; f32 and u16 [NUCLEI_PER_PURKINJE] a Purkinje cell.
    u64 granule_mossy, golgi_mossy, gains, nuclear_targets;
    u64 granule_v, granule_exc, granule_drive, cluster_inh, golgi_v, golgi_exc;
    // Of each granule cell its last spike's step and its trace then; weights u16 [granules][row].
    u64 last, trace, weights;
    // Events [slots][beams][row]: a climbing fibre's last spikes, the latest first, step << 32 | 16 random bits.
    u64 purkinje_v, purkinje_exc, events;
    // Purkinje spikes by nuclear cell u32 [2 steps in turn][2 zones][nuclear]; sums u32 [splits][beams][row].
    u64 nuclear_v, nuclear_inh, nuclear_counts, sums;
    u64 key_granule, key_golgi, key_weights, key_gains, key_nuclear, key_cells, key_mossy, key_climbing, key_dither;
    Propagator granule, golgi, purkinje, nuclear;
    Fields fields;
    float mossy_to_granule, mossy_to_golgi, golgi_to_granule, granule_to_golgi, purkinje_to_nuclear;
    // Mean of the gains; depression of a trace of one by a climbing-fibre spike, in 65,536ths of a weight's unit;
    // spikes a cycle that intrinsic plasticity holds a granule cell at.
    float gain, depression, wanted;
    u32 fibres_each, fibres, steps, step_words, settle_steps;
    // Clusters are of a beam, and of a block of wide_granular; words are of a beam, and of a block of wide_deliver.
    u32 beams, clusters, granules_each, block_clusters, granular_threads, words, block_words, splits;
    u32 purkinje_each, row, nuclear_each, window, slots, refractory;
    u32 weight_low, weight_span, weight_cap;
    // Of the cycle, for kernels of one step.
    u32 step;
};

#define RESULT_MOSSY 0
#define RESULT_GRANULE 1
#define RESULT_GOLGI 2
#define RESULT_PURKINJE 3
#define RESULT_NUCLEAR 4
#define RESULT_UP 5
#define RESULT_DOWN 6
#define RESULT_CLIMBING 7
#define RESULT_EXPIRED 8

DEVICE WideTick tick_of(const WideArgument& a) { return *(const WideTick*)a.tick; }

DEVICE void add_result(const WideArgument& a, u32 which, u32 count) {
    if (count > 0) atomicAdd((u32*)a.results + which, count);
}

DEVICE u32 index_below(u64 word, u32 bound) { return (u32)(((word >> 32) * bound) >> 32); }

// Wiring, first weights and potentials, as wide/wiring.rs generates them; everything else is zeros already.
KERNEL(wide_init, WideArgument, 256) {
    const u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x, all = (u64)gridDim.x * blockDim.x;
    const u64 clusters = (u64)a.beams * a.clusters, granules = clusters * a.granules_each;
    const u64 cells = (u64)a.beams * a.row;
    for (u64 k = first; k < granules; k += all) {
        u64 sources = 0;
        for (u32 half = 0; half < 2; half++) {
            u64 word = key_word(a.key_granule, 2 * k + half);
            sources |= (u64)index_below(word, a.fibres) << 32 * half;
            sources |= (u64)index_below(word << 32, a.fibres) << (32 * half + 16);
        }
        ((u64*)a.granule_mossy)[k] = sources;
    }
    for (u64 k = first; k < clusters * MOSSY_PER_GOLGI; k += all) {
        ((u16*)a.golgi_mossy)[k] = (u16)index_below(key_word(a.key_golgi, k), a.fibres);
    }
    for (u64 k = first; k < granules * a.row / 4; k += all) {
        u64 word = key_word(a.key_weights, k), weights = 0;
        for (u32 bits = 0; bits < 64; bits += 16) {
            u32 random = (u32)(word >> bits) & 0xffff;
            weights |= (u64)(a.weight_low + (random * a.weight_span >> 16)) << bits;
        }
        ((u64*)a.weights)[k] = weights;
    }
    for (u64 k = first; k < clusters; k += all) ((float*)a.golgi_v)[k] = key_uniform(a.key_cells, k);
    for (u64 k = first; k < cells; k += all) {
        ((float*)a.purkinje_v)[k] = key_uniform(a.key_cells, clusters + k);
        ((float*)a.gains)[k] = a.gain * (0.9f + 0.2f * key_uniform(a.key_gains, k));
        for (u64 t = k * NUCLEI_PER_PURKINJE; t < (k + 1) * NUCLEI_PER_PURKINJE; t++) {
            ((u16*)a.nuclear_targets)[t] = (u16)index_below(key_word(a.key_nuclear, t), a.nuclear_each);
        }
    }
    for (u64 k = first; k < 2 * a.nuclear_each; k += all) {
        ((float*)a.nuclear_v)[k] = key_uniform(a.key_cells, clusters + cells + k);
    }
}

// Fires the fibres of the cycle. One fibre a thread.
KERNEL(wide_encode, WideArgument, 256) {
    const WideTick tick = tick_of(a);
    const u32 fibre = blockIdx.x * blockDim.x + threadIdx.x;
    u32 spikes = 0;
    if (fibre < a.fibres) {
        float value = ((const float*)a.features)[fibre / a.fibres_each];
        float interval = fibre_interval(a.fields, value, ((const float*)a.centres)[fibre % a.fibres_each]);
        float at = interval * key_uniform(key_fork(a.key_mossy, tick.cycle), fibre);
        u32* words = (u32*)a.mossy + (u64)fibre * a.step_words;
        for (u32 w = 0; w < a.step_words; w++) {
            u32 word = 0;
            for (float end = (float)min(32 * (w + 1), a.steps); at < end; at += interval) {
                word |= 1u << ((u32)at % 32);
            }
            words[w] = word;
            spikes += __popc(word);
        }
    }
    spikes = __reduce_add_sync(ALL_LANES, spikes);
    if (threadIdx.x % WARP == 0) add_result(a, RESULT_MOSSY, spikes);
}

// All steps of the granule and Golgi cells of some clusters of a beam, the beam being blockIdx.y. One granule cell a
// thread, its state in registers; the first threads of the block keep a Golgi cell too.
KERNEL(wide_granular, WideArgument, 512) {
    SHARED(shared);
    // By cluster of the block: granule spikes of the step, what inhibition takes off a potential in it, and the
    // spikes that reach its Golgi cell in each of 32 steps.
    u32* count = (u32*)shared;
    float* push = (float*)(count + a.block_clusters);
    u32* totals = (u32*)(push + a.block_clusters);
    u8* heard = (u8*)(totals + 2);

    const float intrinsic_rate = ((const WideTick*)a.tick)->intrinsic_rate;
    const u32* mossy = (const u32*)a.mossy;
    const u32 first = blockIdx.x * a.block_clusters, here = min(a.block_clusters, a.clusters - first);
    const u64 cluster = (u64)blockIdx.y * a.clusters + first;
    const u32 cell = threadIdx.x, lane = cell % WARP, own = cell / a.granules_each;
    const bool is_granule = cell < here * a.granules_each, is_golgi = cell < here;
    const u64 granule = cluster * a.granules_each + cell;

    float v = 0.0f, exc = 0.0f, drive = 0.0f;
    u32 sources[DENDRITES] = {};
    if (is_granule) {
        v = ((const float*)a.granule_v)[granule];
        exc = ((const float*)a.granule_exc)[granule];
        drive = ((const float*)a.granule_drive)[granule];
        const u16* from = (const u16*)a.granule_mossy + granule * DENDRITES;
        for (u32 d = 0; d < DENDRITES; d++) sources[d] = from[d] * a.step_words;
    }
    float golgi_v = 0.0f, golgi_exc = 0.0f, inh = 0.0f;
    if (is_golgi) {
        golgi_v = ((const float*)a.golgi_v)[cluster + cell];
        golgi_exc = ((const float*)a.golgi_exc)[cluster + cell];
        inh = ((const float*)a.cluster_inh)[cluster + cell];
        push[cell] = a.granule.inh_to_v * inh;
        count[cell] = 0;
    }
    if (cell < 2) totals[cell] = 0;
    u32* fired = (u32*)a.fired + (u64)blockIdx.y * a.words * 2 + blockIdx.x * (a.granular_threads / WARP) + cell / WARP;
    const u64 step_words = (u64)a.beams * a.words * 2;

    u32 granule_spikes = 0, golgi_spikes = 0;
    for (u32 w = 0; w < a.step_words; w++) {
        u32 bits[DENDRITES] = {};
        if (is_granule) {
            for (u32 d = 0; d < DENDRITES; d++) bits[d] = mossy[sources[d] + w];
        }
        for (u32 k = cell / WARP; k < here; k += blockDim.x / WARP) {
            const u16* from = (const u16*)a.golgi_mossy + (cluster + k) * MOSSY_PER_GOLGI;
            u32 spikes = 0;
#pragma unroll 4
            for (u32 d = 0; d < MOSSY_PER_GOLGI; d++) spikes += mossy[from[d] * a.step_words + w] >> lane & 1;
            heard[k * WARP + lane] = (u8)spikes;
        }
        __syncthreads();
#pragma unroll 1
        for (u32 n = 0; n < 32 && 32 * w + n < a.steps; n++) {
            bool fires = false;
            if (is_granule) {
                float x = advanced(a.granule, v, exc, push[own]);
                x += a.granule.unit * drive;
                fires = x >= 1.0f;
                v = fires ? a.granule.reset : x;
                u32 spikes = 0;
                for (u32 d = 0; d < DENDRITES; d++) spikes += bits[d] >> n & 1;
                exc = a.granule.keep_exc * exc + TINY;
                exc += a.mossy_to_granule * (float)spikes;
                if (fires) {
                    granule_spikes++;
                    atomicAdd(&count[own], 1);
                }
            }
            const u32 word = __ballot_sync(ALL_LANES, fires);
            if (lane == 0) fired[(32 * w + n) * step_words] = word;
            __syncthreads();
            if (is_golgi) {
                float x = advanced(a.golgi, golgi_v, golgi_exc, 0.0f);
                const bool inhibits = x >= 1.0f;
                golgi_v = inhibits ? a.golgi.reset : x;
                golgi_exc = a.golgi.keep_exc * golgi_exc + TINY;
                golgi_exc += a.mossy_to_golgi * (float)heard[cell * WARP + n];
                golgi_exc += a.granule_to_golgi * (float)count[cell];
                inh = a.granule.keep_inh * inh + TINY;
                if (inhibits) inh += a.golgi_to_granule;
                golgi_spikes += inhibits;
                push[cell] = a.granule.inh_to_v * inh;
                count[cell] = 0;
            }
            __syncthreads();
        }
    }

    if (is_granule) {
        ((float*)a.granule_v)[granule] = v;
        ((float*)a.granule_exc)[granule] = exc;
        if (intrinsic_rate != 0.0f) {
            ((float*)a.granule_drive)[granule] = drive + intrinsic_rate * (a.wanted - (float)granule_spikes);
        }
    }
    if (is_golgi) {
        ((float*)a.golgi_v)[cluster + cell] = golgi_v;
        ((float*)a.golgi_exc)[cluster + cell] = golgi_exc;
        ((float*)a.cluster_inh)[cluster + cell] = inh;
    }
    granule_spikes = __reduce_add_sync(ALL_LANES, granule_spikes);
    golgi_spikes = __reduce_add_sync(ALL_LANES, golgi_spikes);
    if (lane == 0 && granule_spikes > 0) atomicAdd(&totals[0], granule_spikes);
    if (lane == 0 && golgi_spikes > 0) atomicAdd(&totals[1], golgi_spikes);
    __syncthreads();
    if (cell < 2) add_result(a, cell == 0 ? RESULT_GRANULE : RESULT_GOLGI, totals[cell]);
}

// A row of weights to be read: of which granule cell; since which spike of it nothing was taken off, and what a
// climbing-fibre spike takes off at once; 16 random bits, and above them what is put on.
struct Row {
    u32 granule, last;
    float depression;
    u32 draws;
};

// What climbing fibres have taken off a weight since the row's last spike, the events being those of one cell.
DEVICE u32 owed(const WideArgument& a, const Row& row, const u64* events) {
    u32 sum = 0;
    for (u32 k = 0; k < a.slots; k++) {
        const u64 event = events[(u64)k * a.beams * a.row];
        const u32 step = (u32)(event >> 32);
        if (step < row.last) break;
        if (step - row.last >= a.window) continue;
        const u32 amount = (u32)(row.depression * ((const float*)a.keep)[step - row.last]);
        sum += (amount + (((u32)event + row.draws) & 0xffff)) >> 16;
    }
    return sum;
}

// The threads of a block that read a row together, and how many rows they read at the same time.
struct Team {
    u32 column, group, groups;
    bool works;
};

DEVICE Team team_of(const WideArgument& a) {
    const u32 vectors = a.row / VECTOR;
    Team team;
    team.groups = blockDim.x / vectors;
    team.group = threadIdx.x / vectors;
    team.column = threadIdx.x % vectors * VECTOR;
    team.works = team.group < team.groups;
    return team;
}

// Reads the listed rows; adds what they deliver to `sums` where their granule cells fire; settles and writes them
// where weights learn. Each thread has eight cells and one row in `groups`, and asks for its next row before it works
// on this one; not unrolled, because what a weight owes is long code.
template <bool FIRES, bool LEARNS>
DEVICE void take_rows(const WideArgument& a, const Row* list, u32 count, const Team& team, u32 beam, const u32* newest,
                      u32* sums) {
    u16* weights = (u16*)a.weights + team.column;
    const u64* events = (const u64*)a.events + (u64)beam * a.row + team.column;
    uint4 next = make_uint4(0, 0, 0, 0);
    if (team.group < count) next = *(const uint4*)(weights + (u64)list[team.group].granule * a.row);
#pragma unroll 1
    for (u32 n = team.group; n < count; n += team.groups) {
        const Row row = list[n];
        u32 words[4] = {next.x, next.y, next.z, next.w};
        if (n + team.groups < count) next = *(const uint4*)(weights + (u64)list[n + team.groups].granule * a.row);
#pragma unroll
        for (u32 c = 0; c < VECTOR; c++) {
            u32 weight = words[c / 2] >> 16 * (c % 2) & 0xffff;
            if (LEARNS && newest[c] >= row.last) weight -= min(weight, owed(a, row, events + c));
            if (FIRES) sums[c] += weight;
            if (LEARNS) {
                if (FIRES) weight = min(weight + (row.draws >> 16), a.weight_cap);
                const u32 kept = words[c / 2] & 0xffffu << 16 * (1 - c % 2);
                words[c / 2] = kept | weight << 16 * (c % 2);
            }
        }
        if (LEARNS) {
            *(uint4*)(weights + (u64)row.granule * a.row) = make_uint4(words[0], words[1], words[2], words[3]);
        }
    }
}

// Steps of the last climbing-fibre spikes of a thread's cells.
DEVICE void read_newest(const WideArgument& a, const Team& team, u32 beam, u32* newest) {
    const u64* events = (const u64*)a.events + (u64)beam * a.row + team.column;
#pragma unroll
    for (u32 c = 0; c < VECTOR; c++) newest[c] = (u32)(events[c] >> 32);
}

// A step's spikes of a part of a beam: settles and delivers. blockIdx.y is the beam. A thread finds the rows of one
// word of spikes.
template <bool LEARNS>
DEVICE void deliver(const WideArgument& a, u8* shared) {
    Row* list = (Row*)shared;
    u32* listed = (u32*)(list + LIST_ROOM);
    u32* totals = listed + 1;
    const u32 beam = blockIdx.y;
    const Team team = team_of(a);
    u32 newest[VECTOR] = {}, sums[VECTOR] = {};
    if (LEARNS && team.works) read_newest(a, team, beam, newest);
    for (u32 k = threadIdx.x; k < a.row; k += blockDim.x) totals[k] = 0;

    const WideTick tick = tick_of(a);
    const u32 now = tick.first_step + a.step;
    const u64 granules = (u64)a.beams * a.clusters * a.granules_each;
    const u32 word = blockIdx.x * a.block_words + threadIdx.x;
    u64 left = 0;
    u32 base = 0;
    if (threadIdx.x < a.block_words && word < a.words) {
        left = ((const u64*)a.fired)[((u64)a.step * a.beams + beam) * a.words + word];
        // A block of wide_granular has so many words and no more cells than its threads.
        const u32 each = a.granular_threads / 64;
        base = beam * a.clusters * a.granules_each + word / each * a.block_clusters * a.granules_each + word % each * 64;
    }
    do {
        if (threadIdx.x == 0) *listed = 0;
        __syncthreads();
        while (left != 0) {
            const u32 place = atomicAdd(listed, 1);
            if (place >= LIST_ROOM) break;
            Row row = {base + __ffsll(left) - 1, 0, 0.0f, 0};
            left &= left - 1;
            if (LEARNS) {
                u32* last = (u32*)a.last + row.granule;
                float* trace = (float*)a.trace + row.granule;
                row.last = *last;
                const float was = *trace;
                const u32 since = now - row.last;
                row.depression = a.depression * was;
                const u64 then = key_word(a.key_dither, (u64)row.last * granules + row.granule);
                const u64 draw = key_word(a.key_dither, (u64)now * granules + row.granule);
                const u32 more = (tick.potentiation + ((u32)draw >> 16)) >> 16;
                row.draws = ((u32)then & 0xffff) | more << 16;
                *last = now;
                *trace = 1.0f + (since < a.window ? was * ((const float*)a.keep)[since] : 0.0f);
            }
            list[place] = row;
        }
        __syncthreads();
        const u32 count = min(*listed, LIST_ROOM);
        if (team.works) take_rows<true, LEARNS>(a, list, count, team, beam, newest, sums);
    } while (__syncthreads_or(left != 0));

    if (team.works) {
#pragma unroll
        for (u32 c = 0; c < VECTOR; c++) {
            if (sums[c] > 0) atomicAdd(&totals[team.column + c], sums[c]);
        }
    }
    __syncthreads();
    u32* out = (u32*)a.sums + ((u64)blockIdx.x * a.beams + beam) * a.row;
    for (u32 k = threadIdx.x; k < a.row; k += blockDim.x) out[k] = totals[k];
}

KERNEL(wide_deliver, WideArgument, 384) {
    SHARED(shared);
    deliver<false>(a, shared);
}

KERNEL(wide_deliver_learning, WideArgument, 384) {
    SHARED(shared);
    deliver<true>(a, shared);
}

// Settles the rows of granule cells that have been silent and ends their eligibility: where weights learn once it is
// over anyway, before events that they owe are displaced, and of all where weights are to stand still. blockIdx.y is the
// beam; a thread looks at one granule cell in turn.
KERNEL(wide_expire, WideArgument, 384) {
    SHARED(shared);
    Row* list = (Row*)shared;
    u32* listed = (u32*)(list + LIST_ROOM);
    const u32 beam = blockIdx.y, cells = a.clusters * a.granules_each;
    const Team team = team_of(a);
    u32 newest[VECTOR] = {};
    if (team.works) read_newest(a, team, beam, newest);
    const u32 now = tick_of(a).first_step, silence = tick_of(a).silence;
    const u64 granules = (u64)a.beams * cells;
    u32 expired = 0;
    for (u32 first = blockIdx.x * blockDim.x; first < cells; first += gridDim.x * blockDim.x) {
        if (threadIdx.x == 0) *listed = 0;
        __syncthreads();
        const u32 cell = first + threadIdx.x;
        if (cell < cells) {
            Row row = {beam * cells + cell, 0, 0.0f, 0};
            float* trace = (float*)a.trace + row.granule;
            row.last = ((const u32*)a.last)[row.granule];
            if (*trace > 0.0f && now - row.last >= silence) {
                row.depression = a.depression * *trace;
                row.draws = (u32)key_word(a.key_dither, (u64)row.last * granules + row.granule) & 0xffff;
                *trace = 0.0f;
                // No more than a row a thread.
                list[atomicAdd(listed, 1)] = row;
            }
        }
        __syncthreads();
        const u32 count = *listed;
        if (team.works) take_rows<false, true>(a, list, count, team, beam, newest, 0);
        expired += count;
        __syncthreads();
    }
    if (threadIdx.x == 0) add_result(a, RESULT_EXPIRED, expired);
}

// A step of the Purkinje cells and, where weights learn, of their climbing fibres; the last block has the nuclear
// cells, which Purkinje spikes reach in the next step.
template <bool LEARNS>
DEVICE void purkinje(const WideArgument& a) {
    const WideTick tick = tick_of(a);
    const u32 now = tick.first_step + a.step, nuclei = 2 * a.nuclear_each;
    u32* coming = (u32*)a.nuclear_counts + now % 2 * nuclei;
    if (blockIdx.x == gridDim.x - 1) {
        u32* due = (u32*)a.nuclear_counts + (now + 1) % 2 * nuclei;
        float *vs = (float*)a.nuclear_v, *inhs = (float*)a.nuclear_inh;
        for (u32 k = threadIdx.x; k < nuclei; k += blockDim.x) {
            float inh = inhs[k];
            float x = advanced(a.nuclear, vs[k], 0.0f, a.nuclear.inh_to_v * inh);
            const bool fires = x >= 1.0f;
            vs[k] = fires ? a.nuclear.reset : x;
            inh = a.nuclear.keep_inh * inh + TINY;
            inhs[k] = inh + a.purkinje_to_nuclear * (float)due[k];
            due[k] = 0;
            if (fires) {
                add_result(a, RESULT_NUCLEAR, 1);
                if (a.step >= a.settle_steps) add_result(a, k < a.nuclear_each ? RESULT_UP : RESULT_DOWN, 1);
            }
        }
        return;
    }
    const u32 cell = blockIdx.x * blockDim.x + threadIdx.x, cells = a.beams * a.row;
    bool fires = false, climbs = false;
    if (cell < a.beams * a.purkinje_each) {
        const u32 column = cell % a.purkinje_each, at = cell / a.purkinje_each * a.row + column;
        const u32 zone = column < a.purkinje_each / 2 ? 0 : 1;
        u64 sum = 0;
        for (u32 s = 0; s < a.splits; s++) sum += ((const u32*)a.sums)[(u64)s * cells + at];
        float *vs = (float*)a.purkinje_v, *excs = (float*)a.purkinje_exc;
        float exc = excs[at];
        float x = advanced(a.purkinje, vs[at], exc, 0.0f);
        fires = x >= 1.0f;
        vs[at] = fires ? a.purkinje.reset : x;
        exc = a.purkinje.keep_exc * exc + TINY;
        excs[at] = exc + ((const float*)a.gains)[at] * (float)sum;
        if (fires) {
            const u16* targets = (const u16*)a.nuclear_targets + (u64)at * NUCLEI_PER_PURKINJE;
            for (u32 d = 0; d < NUCLEI_PER_PURKINJE; d++) atomicAdd(&coming[zone * a.nuclear_each + targets[d]], 1);
        }
        if (LEARNS) {
            u64* events = (u64*)a.events + at;
            const u64 word = key_word(a.key_climbing, (u64)now * cells + at);
            const float uniform = (float)(u32)(word >> 40) * (1.0f / 16777216.0f);
            const float chance = zone == 0 ? tick.climbing_up : tick.climbing_down;
            climbs = now - (u32)(events[0] >> 32) >= a.refractory && uniform < chance;
            if (climbs) {
                for (u32 k = a.slots - 1; k > 0; k--) events[(u64)k * cells] = events[(u64)(k - 1) * cells];
                events[0] = (u64)now << 32 | (word & 0xffff);
            }
        }
    }
    const u32 spikes = __syncthreads_count(fires);
    if (threadIdx.x == 0) add_result(a, RESULT_PURKINJE, spikes);
    if (LEARNS) {
        const u32 climbing = __syncthreads_count(climbs);
        if (threadIdx.x == 0) add_result(a, RESULT_CLIMBING, climbing);
    }
}

KERNEL(wide_purkinje, WideArgument, 256) { purkinje<false>(a); }

KERNEL(wide_purkinje_learning, WideArgument, 256) { purkinje<true>(a); }
