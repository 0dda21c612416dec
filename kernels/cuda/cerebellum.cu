// The trading cerebellum, resident: one block runs all steps of a decision cycle of one instrument, its cells
// in shared memory, and outcomes change the parallel-fibre weights between cycles.
//
// Every sum is taken in the order in which the CPU's engine takes it (a cell's contributions by projection,
// then by ascending source), and nothing is fused, so spikes and weights are equal to the CPU's bit for bit.
// Cells have no refractory period, as the trading network has none. Invariants: a block touches its own
// instrument's state only; weights are written between cycles, and within one where they learn at every spike.

// A source that is none: lists shorter than their room end with it.
#define NO_SOURCE 0xffffu

// What changes from cycle to cycle.
struct Tick {
    u64 cycle;
    // Place of the cycle in the rings of counts, and outcomes to be learned.
    u32 slot;
    u32 outcomes;
    // Whether weights learn at every spike.
    u32 by_spike;
    u32 unused;
};

// What outcomes find of the spikes of past cycles, one of the two: counts u8 [instruments][pending][granules], or a
// slow and a fast trace [instruments][2][granules].
struct Memory {
    u64 counts, traces;
    u32 granules, pending;
};

struct CycleArgument {
    // Tick; features [instruments][features]; flags u8 [instruments]; what each set of weights is multiplied by;
    // extra drive of Purkinje cells [instruments][purkinje], or 0.
    u64 tick, features, flags, factors, purkinje_drive;
    // Mossy fibres: stream of each instrument u64, centres of a feature's fields.
    u64 keys, centres;
    // Wiring: sources u16 [granules][dendrites], [golgi][mossy_per_golgi], [golgi][golgi_per_cluster]; bits of
    // targets [granules][golgi words], [purkinje][nuclear words]. A cluster has the number of a Golgi cell.
    u64 granule_mossy, golgi_mossy, cluster_golgi, golgi_granule, nuclear_purkinje;
    // Constant current of each granule cell; weights [sets][granules][purkinje].
    u64 granule_drive, weights;
    // Cells [instruments][state_floats]; results u32 [instruments][result_words]; what the traces keep
    // [instruments][2].
    u64 state, results, keeps;
    Memory memory;
    Propagator granule, golgi, purkinje, nuclear;
    Fields fields;
    // What a spike adds.
    float mossy_to_granule, mossy_to_golgi, golgi_to_granule, granule_to_golgi, purkinje_to_nuclear;
    u32 features_each, fibres_each, granules, granules_a_cluster, golgi_cells, purkinje_cells, nuclear_cells;
    u32 dendrites, mossy_per_golgi, golgi_per_cluster;
    u32 steps, settle_steps, own_weights, state_floats, result_words, unused;
};

// Results of an instrument, before the spikes of each Purkinje cell.
#define RESULT_MOSSY 0
#define RESULT_GRANULE 1
#define RESULT_GOLGI 2
#define RESULT_PURKINJE 3
#define RESULT_NUCLEAR 4
#define RESULT_UP 5
#define RESULT_DOWN 6
// Sum of the counts kept, each at most 255, and granule cells that have one.
#define RESULT_KEPT 7
#define RESULT_ELIGIBLE 8
#define RESULT_WORDS 9

DEVICE bool bit(const u32* words, u32 k) { return (words[k / 32] >> (k % 32)) & 1u; }

DEVICE u32 words_for(u32 cells) { return (cells + 31) / 32; }

// Cells with inhibition of their own: potential, excitatory and inhibitory current.
struct Cells {
    float *v, *exc, *inh;
    u32* fired;
};

// Advances `count` such cells; every thread of the block calls it. Threads take cells in turn, so that a warp
// notes its spikes in one word. Returns this thread's spikes.
DEVICE u32 sweep(const Propagator& p, const Cells& c, u32 count, const float* extra) {
    u32 spikes = 0;
    for (u32 first = 0; first < count; first += blockDim.x) {
        u32 k = first + threadIdx.x;
        bool fires = false;
        if (k < count) {
            float exc = c.exc[k], inh = c.inh[k];
            float x = advanced(p, c.v[k], exc, p.inh_to_v * inh);
            if (extra) x += p.unit * extra[k];
            fires = x >= 1.0f;
            c.v[k] = fires ? p.reset : x;
            c.exc[k] = p.keep_exc * exc + TINY;
            c.inh[k] = p.keep_inh * inh + TINY;
        }
        u32 word = __ballot_sync(ALL_LANES, fires);
        if (threadIdx.x % WARP == 0 && k < count) c.fired[k / 32] = word;
        spikes += fires;
    }
    return spikes;
}

// Lists the bits that are set, ascending; called by one whole warp. Returns how many.
DEVICE u32 list_bits(const u32* words, u32 count, u16* list) {
    u32 lane = threadIdx.x % WARP, listed = 0;
    for (u32 first = 0; first < count; first += WARP) {
        u32 word = first + lane < count ? words[first + lane] : 0;
        u32 here = __popc(word), before = here;
        for (u32 apart = 1; apart < WARP; apart *= 2) {
            u32 other = __shfl_up_sync(ALL_LANES, before, apart);
            if (lane >= apart) before += other;
        }
        u32 place = listed + before - here;
        for (u32 left = word; left != 0; left &= left - 1) {
            list[place++] = (u16)(32 * (first + lane) + __ffs(left) - 1);
        }
        listed += __shfl_sync(ALL_LANES, before, WARP - 1);
    }
    return listed;
}

// Fires the fibres of the cycle: a bit a fibre and step. One fibre a thread in turn.
DEVICE u32 encode(const CycleArgument& a, u32 instrument, u64 cycle, u32* mossy, u32 mossy_words) {
    const float* x = (const float*)a.features + (u64)instrument * a.features_each;
    const float* centres = (const float*)a.centres;
    u64 key = key_fork(((const u64*)a.keys)[instrument], cycle);
    u32 spikes = 0;
    for (u32 fibre = threadIdx.x; fibre < a.features_each * a.fibres_each; fibre += blockDim.x) {
        float interval = fibre_interval(a.fields, x[fibre / a.fibres_each], centres[fibre % a.fibres_each]);
        for (float at = interval * key_uniform(key, fibre); at < (float)a.steps; at += interval) {
            atomicOr(&mossy[(u32)at * mossy_words + fibre / 32], 1u << (fibre % 32));
            spikes++;
        }
    }
    return spikes;
}

// One decision cycle; a block an instrument, threads a multiple of 32. Pairs are of networks that learn at every
// spike, each on weights of its own.
template <bool PAIRED>
DEVICE void run_cycle(const CycleArgument& a, const Pairs& p, u8* shared) {
    const Tick tick = *(const Tick*)a.tick;
    u32 instrument = blockIdx.x;
    u32* results = (u32*)a.results + (u64)instrument * a.result_words;
    if (!(((const u8*)a.flags)[instrument] & FLAG_ACTIVE)) return;

    u32 granules = a.granules, golgi_n = a.golgi_cells, purkinje_n = a.purkinje_cells, nuclear_n = a.nuclear_cells;
    u32 mossy_words = words_for(a.features_each * a.fibres_each);
    u32 golgi_words = words_for(golgi_n), nuclear_words = words_for(nuclear_n);

    // Shared memory in the order of `shared_bytes` on the host: cells, spikes, results, pairs, list, counts.
    float* cells = (float*)shared;
    float *granule_v = cells, *granule_exc = granule_v + granules, *cluster_inh = granule_exc + granules;
    Cells golgi, purkinje, nuclear;
    golgi.v = cluster_inh + golgi_n, golgi.exc = golgi.v + golgi_n, golgi.inh = golgi.exc + golgi_n;
    purkinje.v = golgi.inh + golgi_n, purkinje.exc = purkinje.v + purkinje_n, purkinje.inh = purkinje.exc + purkinje_n;
    nuclear.v = purkinje.inh + purkinje_n, nuclear.exc = nuclear.v + nuclear_n, nuclear.inh = nuclear.exc + nuclear_n;
    u32* mossy = (u32*)(nuclear.inh + nuclear_n);
    u32* granule_fired = mossy + a.steps * mossy_words;
    golgi.fired = granule_fired + words_for(granules);
    purkinje.fired = golgi.fired + golgi_words;
    nuclear.fired = purkinje.fired + words_for(purkinje_n);
    u32* sums = nuclear.fired + nuclear_words;
    u32* purkinje_count = sums + RESULT_WORDS;
    u32* listed = purkinje_count + purkinje_n;
    PairScratch pairs = pair_scratch(p, listed + 1, purkinje_n);
    u16* list = (u16*)(PAIRED ? pairs.end : listed + 1);
    u8* count = (u8*)(list + granules);

    float* state = (float*)a.state + (u64)instrument * a.state_floats;
    for (u32 k = threadIdx.x; k < a.state_floats; k += blockDim.x) cells[k] = state[k];
    for (u32 k = threadIdx.x; k < a.steps * mossy_words; k += blockDim.x) mossy[k] = 0;
    for (u32 k = threadIdx.x; k < RESULT_WORDS + purkinje_n; k += blockDim.x) sums[k] = 0;
    for (u32 k = threadIdx.x; k < granules; k += blockDim.x) count[k] = 0;
    bool by_spike = PAIRED && tick.by_spike;
    PairPlaces at{};
    u32 *before = pairs.fired, head = 0;
    Moment moment{};
    if (PAIRED) {
        at = pair_places(p, instrument, granules, purkinje_n);
        head = at.head->head, moment = moment_of(p, at.head->step);
        for (u32 k = threadIdx.x; k < words_for(purkinje_n); k += blockDim.x) before[k] = at.before[k];
        for (u32 k = threadIdx.x; k < purkinje_n; k += blockDim.x) {
            pairs.post[k] = at.post[k];
            pairs.running[k] = at.rows[(u64)head * purkinje_n + k];
        }
        if (threadIdx.x == 0) *pairs.early = 0;
    }
    __syncthreads();
    u32 mossy_spikes = encode(a, instrument, tick.cycle, mossy, mossy_words);
    __syncthreads();

    const u16* granule_mossy = (const u16*)a.granule_mossy;
    const u16* golgi_mossy = (const u16*)a.golgi_mossy;
    const u16* cluster_golgi = (const u16*)a.cluster_golgi;
    const u32* golgi_granule = (const u32*)a.golgi_granule;
    const u32* nuclear_purkinje = (const u32*)a.nuclear_purkinje;
    const float* drive = (const float*)a.granule_drive;
    const float* purkinje_drive = a.purkinje_drive ? (const float*)a.purkinje_drive + (u64)instrument * purkinje_n : 0;
    u32 set = a.own_weights ? instrument : 0;
    float* weights = (float*)a.weights + (u64)set * granules * purkinje_n;
    float factor = ((const float*)a.factors)[set];
    u32 granule_spikes = 0, golgi_spikes = 0, purkinje_spikes = 0, nuclear_spikes = 0, up = 0, down = 0;
    u32 presynaptic = 0, postsynaptic = 0;

    for (u32 step = 0; step < a.steps; step++) {
        // Cells advance; granule cells take this step's mossy spikes at once, which depend on no cell.
        const u32* now = mossy + step * mossy_words;
        for (u32 first = 0; first < granules; first += blockDim.x) {
            u32 k = first + threadIdx.x;
            bool fires = false;
            if (k < granules) {
                float push = a.granule.inh_to_v * cluster_inh[k / a.granules_a_cluster];
                float x = advanced(a.granule, granule_v[k], granule_exc[k], push);
                x += a.granule.unit * drive[k];
                fires = x >= 1.0f;
                granule_v[k] = fires ? a.granule.reset : x;
                float exc = a.granule.keep_exc * granule_exc[k] + TINY;
                for (u32 d = 0; d < a.dendrites; d++) {
                    u32 source = granule_mossy[k * a.dendrites + d];
                    if (source != NO_SOURCE && bit(now, source)) exc += a.mossy_to_granule;
                }
                granule_exc[k] = exc;
                if (fires && count[k] < 255) count[k]++;
            }
            u32 word = __ballot_sync(ALL_LANES, fires);
            if (threadIdx.x % WARP == 0 && k < granules) granule_fired[k / 32] = word;
            granule_spikes += fires;
        }
        golgi_spikes += sweep(a.golgi, golgi, golgi_n, 0);
        purkinje_spikes += sweep(a.purkinje, purkinje, purkinje_n, purkinje_drive);
        nuclear_spikes += sweep(a.nuclear, nuclear, nuclear_n, 0);
        __syncthreads();

        // The first warp lists the granule spikes while the others deliver what does not need the list.
        if (threadIdx.x < WARP) {
            u32 n = list_bits(granule_fired, words_for(granules), list);
            if (threadIdx.x == 0) *listed = n;
        }
        for (u32 k = threadIdx.x; k < golgi_n; k += blockDim.x) {
            float exc = golgi.exc[k];
            for (u32 d = 0; d < a.mossy_per_golgi; d++) {
                u32 source = golgi_mossy[k * a.mossy_per_golgi + d];
                if (source != NO_SOURCE && bit(now, source)) exc += a.mossy_to_golgi;
            }
            golgi.exc[k] = exc;
            float inh = a.granule.keep_inh * cluster_inh[k] + TINY;
            for (u32 d = 0; d < a.golgi_per_cluster; d++) {
                u32 source = cluster_golgi[k * a.golgi_per_cluster + d];
                if (source != NO_SOURCE && bit(golgi.fired, source)) inh += a.golgi_to_granule;
            }
            cluster_inh[k] = inh;
        }
        for (u32 k = threadIdx.x; k < nuclear_n; k += blockDim.x) {
            float inh = nuclear.inh[k];
            for (u32 w = 0; w < words_for(purkinje_n); w++) {
                for (u32 left = purkinje.fired[w]; left != 0; left &= left - 1) {
                    u32 source = 32 * w + __ffs(left) - 1;
                    if (bit(nuclear_purkinje + source * nuclear_words, k)) inh += a.purkinje_to_nuclear;
                }
            }
            nuclear.inh[k] = inh;
            if (step >= a.settle_steps && bit(nuclear.fired, k)) {
                up += k < nuclear_n / 2;
                down += k >= nuclear_n / 2;
            }
        }
        for (u32 k = threadIdx.x; k < purkinje_n; k += blockDim.x) purkinje_count[k] += bit(purkinje.fired, k);
        if (by_spike) head = begin_step(p, at, pairs, moment, head, before, purkinje_n);
        __syncthreads();
        if (by_spike && moment.in_span % p.scan == 0) {
            settle_old(p, at, pairs, moment, weights, granules, purkinje_n);
        }

        // Granule spikes reach Golgi and Purkinje cells. Eight weights are asked for before the first is used.
        u32 n = *listed;
        for (u32 k = threadIdx.x; k < golgi_n; k += blockDim.x) {
            float exc = golgi.exc[k];
            for (u32 s = 0; s < n; s++) {
                if (bit(golgi_granule + list[s] * golgi_words, k)) exc += a.granule_to_golgi;
            }
            golgi.exc[k] = exc;
        }
        if (by_spike) {
            deliver_paired(p, at, pairs, moment, list, n, weights, factor, purkinje.exc, purkinje_n);
            presynaptic += n;
            for (u32 k = threadIdx.x; k < purkinje_n; k += blockDim.x) {
                if (p.depression != 0.0f && bit(before, k)) {
                    pairs.post[k] += 1.0f;
                    postsynaptic++;
                }
            }
        }
        for (u32 k = threadIdx.x; k < purkinje_n && !by_spike; k += blockDim.x) {
            float exc = purkinje.exc[k];
            u32 s = 0;
            for (; s + 8 <= n; s += 8) {
                float w[8];
                for (u32 i = 0; i < 8; i++) w[i] = weights[(u64)list[s + i] * purkinje_n + k];
                for (u32 i = 0; i < 8; i++) exc += w[i] * factor;
            }
            for (; s < n; s++) exc += weights[(u64)list[s] * purkinje_n + k] * factor;
            purkinje.exc[k] = exc;
        }
        __syncthreads();
        if (PAIRED) {
            u32* fired = before;
            before = purkinje.fired, purkinje.fired = fired;
            moment = next_of(p, moment);
        }
    }

    u32 kept_sum = 0, eligible = 0;
    for (u32 k = threadIdx.x; k < granules; k += blockDim.x) {
        kept_sum += count[k];
        eligible += count[k] > 0;
    }
    if (a.memory.traces == 0) {
        u8* kept = (u8*)a.memory.counts + ((u64)instrument * a.memory.pending + tick.slot) * granules;
        for (u32 k = threadIdx.x; k < granules; k += blockDim.x) kept[k] = count[k];
    } else {
        const float* keeps = (const float*)a.keeps + 2 * instrument;
        float* slow = (float*)a.memory.traces + (u64)instrument * 2 * granules;
        float* fast = slow + granules;
        for (u32 k = threadIdx.x; k < granules; k += blockDim.x) {
            slow[k] = keeps[0] * slow[k] + (float)count[k];
            fast[k] = keeps[1] * fast[k] + (float)count[k];
        }
    }
    if (PAIRED) {
        for (u32 k = threadIdx.x; k < words_for(purkinje_n); k += blockDim.x) at.before[k] = before[k];
        for (u32 k = threadIdx.x; k < purkinje_n; k += blockDim.x) at.post[k] = pairs.post[k];
        if (postsynaptic) atomicAdd(&at.head->postsynaptic, (u64)postsynaptic);
        if (threadIdx.x == 0) {
            if (by_spike) at.head->now = at.head->step + a.steps - 1;
            at.head->step += a.steps;
            at.head->presynaptic += presynaptic;
            at.head->settled_early += *pairs.early;
            at.head->head = head;
        }
    }
    atomicAdd(&sums[RESULT_MOSSY], mossy_spikes);
    atomicAdd(&sums[RESULT_GRANULE], granule_spikes);
    atomicAdd(&sums[RESULT_GOLGI], golgi_spikes);
    atomicAdd(&sums[RESULT_PURKINJE], purkinje_spikes);
    atomicAdd(&sums[RESULT_NUCLEAR], nuclear_spikes);
    atomicAdd(&sums[RESULT_UP], up);
    atomicAdd(&sums[RESULT_DOWN], down);
    atomicAdd(&sums[RESULT_KEPT], kept_sum);
    atomicAdd(&sums[RESULT_ELIGIBLE], eligible);
    for (u32 k = threadIdx.x; k < a.state_floats; k += blockDim.x) state[k] = cells[k];
    __syncthreads();
    for (u32 k = threadIdx.x; k < RESULT_WORDS + purkinje_n; k += blockDim.x) results[k] = sums[k];
}

KERNEL(cerebellum_cycle, CycleArgument, 1024) {
    SHARED(shared);
    run_cycle<false>(a, Pairs{}, shared);
}

struct PairedCycleArgument {
    CycleArgument cycle;
    Pairs pairs;
};

// With as many threads as 1,024 its numbers would not find registers.
KERNEL(cerebellum_paired_cycle, PairedCycleArgument, 512) {
    SHARED(shared);
    run_cycle<true>(a.cycle, a.pairs, shared);
}

// An outcome: whose weights it changes, the cycle's counts that it acts on, and what the traces weigh in it.
struct Outcome {
    u32 set, instrument, slot;
    float slow, fast;
};

// What an outcome finds of a granule cell's spikes.
DEVICE float eligibility(const Memory& m, const Outcome& o, u32 granule) {
    if (m.traces == 0) {
        return (float)((const u8*)m.counts)[((u64)o.instrument * m.pending + o.slot) * m.granules + granule];
    }
    const float* trace = (const float*)m.traces + (u64)o.instrument * 2 * m.granules + granule;
    float e = o.slow * trace[0] - o.fast * trace[m.granules];
    return e > 0.0f ? e : 0.0f;
}

struct EligibilityArgument {
    // Tick; outcomes; what each finds: a Total.
    u64 tick, outcomes, totals;
    Memory memory;
};

// The sum of all granule cells' eligibility, and how many have any.
struct Total {
    float sum;
    u32 cells;
};

// Sums up what each outcome finds, in the order of the granule cells. Blocks are outcomes.
KERNEL(cerebellum_eligibility, EligibilityArgument, 128) {
    SHARED(shared);
    const Tick tick = *(const Tick*)a.tick;
    if (blockIdx.x >= tick.outcomes) return;
    const Outcome o = ((const Outcome*)a.outcomes)[blockIdx.x];
    float* found = (float*)shared;
    Total total = {0.0f, 0};
    for (u32 first = 0; first < a.memory.granules; first += blockDim.x) {
        u32 k = first + threadIdx.x;
        found[threadIdx.x] = k < a.memory.granules ? eligibility(a.memory, o, k) : 0.0f;
        __syncthreads();
        for (u32 i = 0; i < blockDim.x && threadIdx.x == 0; i++) {
            total.sum += found[i];
            total.cells += found[i] > 0.0f;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) ((Total*)a.totals)[blockIdx.x] = total;
}

struct SettleArgument {
    // Tick; outcomes; weights as in CycleArgument.
    u64 tick, outcomes, weights;
    Memory memory;
    Pairs pairs;
    u32 purkinje_cells, unused;
};

// Rows of a block but the first.
#define SETTLE_ROWS 32

// The first outcome of a set that finds a spike of a granule cell, or their number.
DEVICE u32 first_outcome(const SettleArgument& a, const Tick& tick, u32 set, u32 granule) {
    for (u32 n = 0; n < tick.outcomes; n++) {
        const Outcome o = ((const Outcome*)a.outcomes)[n];
        if (o.set == set && eligibility(a.memory, o, granule) != 0.0f) return n;
    }
    return tick.outcomes;
}

// Settles the rows that outcomes are about to change; a warp a row. Blocks in y are sets; in x, the first has the
// rows that are sampled, for whose sums it needs them as they were.
KERNEL(cerebellum_settle, SettleArgument, 256) {
    SHARED(shared);
    const Tick tick = *(const Tick*)a.tick;
    if (tick.outcomes == 0) return;
    const Pairs& p = a.pairs;
    u32 set = blockIdx.y, granules = a.memory.granules, purkinje_n = a.purkinje_cells;
    const PairPlaces at = pair_places(p, set, granules, purkinje_n);
    const Moment now = moment_of(p, at.head->now);
    u32 sampled = (granules + PAIR_SAMPLE - 1) / PAIR_SAMPLE;
    float* up = (float*)shared;
    u32* found = (u32*)(up + sampled);
    float* terms = (float*)(found + sampled);
    u32* rows = (u32*)(terms + PAIR_TERMS * sampled);
    u32 from = 0, to = sampled;
    if (blockIdx.x > 0) {
        from = (blockIdx.x - 1) * SETTLE_ROWS;
        to = from + SETTLE_ROWS < granules ? from + SETTLE_ROWS : granules;
    } else {
        for (u32 i = threadIdx.x; i < sampled; i += blockDim.x) {
            u32 row = i * PAIR_SAMPLE;
            float* weight = terms + i * PAIR_TERMS;
            put_terms(owed(p, at.row_at, now, at.settled[row], at.trace[row]), weight, rows + i * PAIR_TERMS);
            found[i] = first_outcome(a, tick, set, row);
            up[i] = found[i] < tick.outcomes ? owed_in_all(weight, rows + i * PAIR_TERMS, at.rows, purkinje_n) : 0.0f;
        }
        __syncthreads();
        for (u32 n = 0; n < tick.outcomes && threadIdx.x == 0; n++) {
            if (((const Outcome*)a.outcomes)[n].set != set) continue;
            for (u32 i = 0; i < sampled; i++) {
                if (found[i] == n) at.head->up += (double)up[i] * PAIR_SAMPLE;
            }
        }
    }
    for (u32 i = from + threadIdx.x / WARP; i < to; i += blockDim.x / WARP) {
        u32 row = blockIdx.x == 0 ? i * PAIR_SAMPLE : i;
        if (blockIdx.x > 0 && row % PAIR_SAMPLE == 0) continue;
        if (first_outcome(a, tick, set, row) == tick.outcomes) continue;
        // The first lane's, which changes them below.
        u32 settled = __shfl_sync(ALL_LANES, at.settled[row], 0);
        float trace = __shfl_sync(ALL_LANES, at.trace[row], 0);
        float* weights = (float*)a.weights + (u64)set * granules * purkinje_n;
        float kept = settle_row(p, at, now, row, settled, trace, weights, purkinje_n);
        if (threadIdx.x % WARP == 0) at.settled[row] = now.low, at.trace[row] = kept;
    }
}

struct LearnArgument {
    // Tick; outcomes; change by one spike [outcomes][purkinje]; weights as in CycleArgument.
    u64 tick, outcomes, changes, weights;
    Memory memory;
    float least, most;
    u32 purkinje_cells, unused;
};

// Lets each outcome in turn change every weight of its set. Blocks in y are sets; one synapse a thread.
KERNEL(cerebellum_learn, LearnArgument, 256) {
    const Tick tick = *(const Tick*)a.tick;
    const Outcome* outcomes = (const Outcome*)a.outcomes;
    const float* changes = (const float*)a.changes;
    u64 synapse = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (synapse >= (u64)a.memory.granules * a.purkinje_cells) return;
    u32 granule = (u32)(synapse / a.purkinje_cells), cell = (u32)(synapse % a.purkinje_cells);
    float* weight = (float*)a.weights + (u64)blockIdx.y * a.memory.granules * a.purkinje_cells + synapse;
    float w = *weight;
    bool changed = false;
    for (u32 n = 0; n < tick.outcomes; n++) {
        const Outcome o = outcomes[n];
        if (o.set != blockIdx.y) continue;
        float e = eligibility(a.memory, o, granule);
        if (e == 0.0f) continue;
        w = fminf(fmaxf(w + e * changes[(u64)n * a.purkinje_cells + cell], a.least), a.most);
        changed = true;
    }
    if (changed) *weight = w;
}
