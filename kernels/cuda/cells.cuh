// What the cerebellum's modules share: random words, the exponential, cells that integrate and fire, and the rate at
// which a mossy fibre codes a feature. Each is the twin of a Rust function, operation for operation.

// Keeps silent currents out of the denormal range, as on the CPU.
#define TINY 1e-20f

// The exact solution of a membrane over one step.
struct Propagator {
    float keep_v, exc_to_v, inh_to_v, keep_exc, keep_inh, drive, unit, reset;
};

// Fields of the mossy fibres: span of values, width, and rates a step.
struct Fields {
    float low, high, sd, background, peak;
};

// Steele, Lea and Flood, OOPSLA 2014, as rng.rs has it.
DEVICE u64 scramble(u64 word) {
    u64 z = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

#define GOLDEN 0x9e3779b97f4a7c15ull

DEVICE u64 key_fork(u64 key, u64 tag) { return scramble(key ^ scramble(tag * GOLDEN + 1)); }

DEVICE u64 key_word(u64 key, u64 counter) { return scramble(key + counter * GOLDEN); }

DEVICE float key_uniform(u64 key, u64 counter) {
    return (float)(u32)(key_word(key, counter) >> 40) * (1.0f / 16777216.0f);
}

// e^x for x <= 0, operation for operation as exp.rs.
DEVICE float exp_negative(float x) {
    const float round = 12582912.0f;
    float held = x > -87.0f ? x : -87.0f;
    float rounded = held * 1.44269504088896340736f + round;
    float whole = rounded - round;
    float f = (held - whole * 0.6933594f) - whole * -2.1219444e-4f;
    float p = 1.0f + f * (1.0f + f * (0.5f + f * (0.16666667f + f * (0.041666668f + f * (0.008333334f + f * 0.001388889f)))));
    u32 exponent = bits_of(rounded) - bits_of(round) + 127u;
    return x < -87.0f ? 0.0f : p * float_of(exponent << 23);
}

// One step of a cell from its currents at the step's start.
DEVICE float advanced(const Propagator& p, float v, float exc, float inhibition) {
    return p.keep_v * v + p.exc_to_v * exc - inhibition + p.drive;
}

// Steps from one spike of a fibre to its next, at least one: its feature has `value`, or none where that is no
// number, and its field's centre lies at `centre`.
DEVICE float fibre_interval(const Fields& c, float value, float centre) {
    float field = 0.0f;
    if (value == value) {
        float low = c.low - c.sd, high = c.high + c.sd;
        float here = value < low ? low : (value > high ? high : value);
        float far = (here - centre) / c.sd;
        field = exp_negative(-0.5f * (far * far));
    }
    float interval = 1.0f / (c.background + c.peak * field);
    return interval > 1.0f ? interval : 1.0f;
}
