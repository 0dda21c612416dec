// Runs kernels on the CPU: blocks one after another, the threads of a block as fibers of one OS thread.
//
// What meets where: a warp operation is a rendezvous of exactly the lanes of its mask, __syncthreads one of all
// threads of the block. Between two such points a thread runs alone. When none can run and not all have ended,
// the launch ends with a message that says which threads wait for which, so a divergent barrier is an error and
// never a hang. Stricter than a GPU: a thread that has ended is missed at a barrier too. What would hang is a loop
// that waits for another thread without a rendezvous, or for another block: kernels have none.
//
// Which thread runs next is the schedule's: in order of their numbers, or drawn from a seed, so that what a
// missing barrier lets happen happens. Shared memory is exactly as long as the launch says, so that
// AddressSanitizer sees what goes past it, and holds NaN (bytes 0xff) when a block begins.

#pragma once

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "fiber.hpp"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

struct uint3 {
    u32 x, y, z;
};
typedef uint3 dim3;

namespace emulated {

static constexpr u32 LANES = 32;
static constexpr u32 THREADS_MAX = 1024;
static constexpr u32 WARPS_MAX = THREADS_MAX / LANES;
// More than a test can wait for, and few enough to be put in another order in memory.
static constexpr u64 BLOCKS_MAX = 1 << 26;

// A kernel that KERNEL has declared, in a list of all.
struct Kernel {
    const char* name;
    size_t argument_bytes;
    void (*call)(const void* argument);
    const Kernel* next;

    static inline const Kernel* first = nullptr;

    Kernel(const char* name, size_t argument_bytes, void (*call)(const void*))
        : name(name), argument_bytes(argument_bytes), call(call), next(first) {
        first = this;
    }
};

template <class Argument, void (*body)(Argument)>
static void call_kernel(const void* bytes) {
    static_assert(std::is_trivially_copyable_v<Argument>, "an argument is copied as bytes");
    Argument argument;
    memcpy(&argument, bytes, sizeof argument);
    body(argument);
}

// Marsaglia's xorshift64*, seeded through splitmix64: what a schedule is drawn from.
class Random {
  public:
    explicit Random(u64 seed) {
        u64 z = seed + 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        state_ = (z ^ (z >> 31)) | 1;
    }
    u32 next() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return u32((state_ * 0x2545f4914f6cdd1d) >> 32);
    }
    // From 0 up to and without `end`.
    u32 below(u32 end) { return u32(u64(next()) * end >> 32); }
    // The number of one of the bits that are set.
    u32 bit(u32 bits) {
        for (u32 skip = below(u32(__builtin_popcount(bits))); skip > 0; skip--) bits &= bits - 1;
        return u32(__builtin_ctz(bits));
    }

  private:
    u64 state_;
};

enum class Order {
    // The lowest thread that can run.
    Ascending,
    // Any thread that can run.
    Random,
    // A random part of the threads goes as far as it can before the others do, and atomics let others go first.
    Adversarial,
};

enum class State : u8 { Ready, Warp, Block, Ended };

// What lanes or threads meet for.
enum class Meeting : u8 {
    Sync,
    Shuffle,
    Ballot,
    Match,
    Sum,
    LeastSigned,
    GreatestSigned,
    LeastUnsigned,
    GreatestUnsigned,
    And,
    Or,
    Xor,
};

struct Fiber {
    Context context;
    uint3 index;
    State state;
    // Of the rendezvous at which it waits: what for, under which name, with whom, what it brings, whose value it
    // wants (shuffles), and what it gets.
    Meeting meeting;
    const char* call;
    u32 mask;
    u32 source;
    u64 value;
    u64 result;
};

// Fibers and stacks of an OS thread.
struct Pool {
    Stacks stacks;
    std::unique_ptr<Fiber[]> fibers{new Fiber[THREADS_MAX]};
};

class Launch;

// What kernels read as blockIdx and its like, and who runs: of the OS thread.
struct Running {
    Fiber* fiber;
    Launch* launch;
    uint3 block;
    uint3 grid;
    uint3 threads;
    u8* shared;
};

static thread_local Running running __attribute__((tls_model("initial-exec")));

// One launch of a kernel.
class Launch {
  public:
    Launch(const Kernel& kernel, const void* argument, uint3 grid, u32 threads, Order order, u64 seed)
        : kernel_(kernel), argument_(argument), grid_(grid), threads_(threads), order_(order), random_(seed) {}

    // Runs all blocks. False where one failed; then `error` says why.
    bool run(u32 shared_bytes) {
        static thread_local Pool pool;
        if (!pool.stacks.reserve(threads_)) {
            error = "no memory for the threads' stacks";
            return false;
        }
        pool_ = &pool;
        std::unique_ptr<u8, void (*)(void*)> shared(static_cast<u8*>(malloc(shared_bytes)), free);
        if (shared_bytes > 0 && shared == nullptr) {
            error = "no memory for shared memory";
            return false;
        }
        running.launch = this;
        running.grid = grid_;
        running.threads = {threads_, 1, 1};
        running.shared = shared.get();
        const u64 count = u64(grid_.x) * grid_.y * grid_.z;
        std::vector<u32> blocks;
        if (order_ != Order::Ascending) {
            for (u32 k = 0; k < count; k++) blocks.push_back(k);
            for (u32 k = u32(count); k > 1; k--) std::swap(blocks[k - 1], blocks[random_.below(k)]);
        }
        for (u64 n = 0; n < count; n++) {
            const u64 k = blocks.empty() ? n : blocks[n];
            running.block = {u32(k % grid_.x), u32(k / grid_.x % grid_.y), u32(k / grid_.x / grid_.y)};
            if (shared_bytes > 0) memset(shared.get(), 0xff, shared_bytes);
            if (!run_block()) {
                pool.stacks.clean();
                return false;
            }
        }
        return true;
    }

    // A rendezvous of the lanes in `mask` of the calling thread's warp.
    u64 meet_warp(Meeting meeting, const char* call, u32 mask, u64 value, u32 source = 0) {
        Fiber& fiber = *running.fiber;
        const u32 warp = fiber.index.x / LANES, lane = fiber.index.x % LANES;
        if ((mask >> lane & 1) == 0) fail("%s with mask 0x%08x leaves its caller out", call, mask);
        fiber.state = State::Warp;
        fiber.meeting = meeting;
        fiber.call = call;
        fiber.mask = mask;
        fiber.value = value;
        fiber.source = source;
        waiting_[warp] |= 1u << lane;
        stop(warp, lane);
        if ((waiting_[warp] & mask) == mask && all_match(warp, fiber)) complete(warp, meeting, mask);
        leave(fiber);
        return fiber.result;
    }

    // A rendezvous of all threads of the block.
    u64 meet_block(Meeting meeting, const char* call, u64 value) {
        Fiber& fiber = *running.fiber;
        const u32 warp = fiber.index.x / LANES, lane = fiber.index.x % LANES;
        fiber.state = State::Block;
        fiber.meeting = meeting;
        fiber.call = call;
        fiber.value = value;
        stop(warp, lane);
        if (++at_barrier_ == threads_) complete_block();
        leave(fiber);
        return fiber.result;
    }

    // Under the adversarial schedule, lets others go first now and then.
    void perhaps_give_way() {
        if (order_ == Order::Adversarial && random_.below(4) == 0) leave(*running.fiber);
    }

    // Ends the launch with a message. The fibers stay where they are and are never gone on with.
    [[noreturn]] __attribute__((format(printf, 2, 3))) void fail(const char* format, ...) {
        char text[512];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        error = place() + ", thread " + std::to_string(running.fiber->index.x) + ": " + text;
        switch_context(running.fiber->context, main_, true);
        abort();
    }

    std::string error;

  private:
    static void enter() {
        Launch& launch = *running.launch;
        Fiber& fiber = *running.fiber;
        arrived(fiber.context, *launch.left_);
        launch.kernel_.call(launch.argument_);
        fiber.state = State::Ended;
        launch.ended_++;
        launch.stop(fiber.index.x / LANES, fiber.index.x % LANES);
        launch.leave(fiber, true);
        abort();
    }

    bool run_block() {
        ended_ = at_barrier_ = 0;
        ready_warps_ = 0;
        for (u32 w = 0; w * LANES < threads_; w++) {
            const u32 lanes = std::min(threads_ - w * LANES, LANES);
            ready_[w] = waiting_[w] = 0;
            go_on(w, lanes == LANES ? ~0u : (1u << lanes) - 1);
        }
        for (u32 t = 0; t < threads_; t++) {
            Fiber& fiber = pool_->fibers[t];
            fiber.index = {t, 0, 0};
            fiber.state = State::Ready;
            pool_->stacks.prepare(fiber.context, t, enter);
        }
        left_ = &main_;
        Context elsewhere;
        running.fiber = pick();
        switch_context(main_, running.fiber->context);
        arrived(main_, elsewhere);
        if (error.empty() && ended_ < threads_) error = place() + ": " + deadlock();
        return error.empty();
    }

    void stop(u32 warp, u32 lane) {
        ready_[warp] &= ~(1u << lane);
        if (ready_[warp] == 0) ready_warps_ &= ~(1u << warp);
    }

    void go_on(u32 warp, u32 lanes) {
        ready_[warp] |= lanes;
        ready_warps_ |= 1u << warp;
    }

    // Goes on with whichever thread is next, which may be the calling one.
    void leave(Fiber& fiber, bool ended = false) {
        Fiber* next = pick();
        if (next == &fiber) return;
        left_ = &fiber.context;
        running.fiber = next;
        switch_context(fiber.context, next == nullptr ? main_ : next->context, ended);
        arrived(fiber.context, *left_);
    }

    Fiber* pick() {
        u32 warps = ready_warps_;
        if (warps == 0) return nullptr;
        if (order_ == Order::Ascending) {
            const u32 warp = u32(__builtin_ctz(warps));
            return &pool_->fibers[warp * LANES + u32(__builtin_ctz(ready_[warp]))];
        }
        if (order_ == Order::Adversarial) {
            if (random_.below(64) == 0) {
                favoured_warps_ = random_.next();
                favoured_lanes_ = random_.next();
            }
            if ((warps & favoured_warps_) != 0) warps &= favoured_warps_;
        }
        const u32 warp = random_.bit(warps);
        u32 lanes = ready_[warp];
        if (order_ == Order::Adversarial && (lanes & favoured_lanes_) != 0) lanes &= favoured_lanes_;
        return &pool_->fibers[warp * LANES + random_.bit(lanes)];
    }

    // Whether all lanes that the caller wants to meet want to meet it, for the same.
    bool all_match(u32 warp, const Fiber& caller) const {
        for (u32 lanes = caller.mask; lanes != 0; lanes &= lanes - 1) {
            const Fiber& other = pool_->fibers[warp * LANES + u32(__builtin_ctz(lanes))];
            if (other.mask != caller.mask || other.meeting != caller.meeting) return false;
        }
        return true;
    }

    void complete(u32 warp, Meeting meeting, u32 mask) {
        Fiber* lane = &pool_->fibers[warp * LANES];
        u64 common = 0;
        if (meeting != Meeting::Sync && meeting != Meeting::Shuffle && meeting != Meeting::Match) {
            common = fold(lane, meeting, mask);
        }
        for (u32 lanes = mask; lanes != 0; lanes &= lanes - 1) {
            Fiber& to = lane[__builtin_ctz(lanes)];
            to.result = common;
            if (meeting == Meeting::Shuffle) {
                // Of a lane outside the mask the value is undefined: all bits set.
                to.result = (mask >> to.source & 1) != 0 ? lane[to.source].value : ~0ull;
            } else if (meeting == Meeting::Match) {
                for (u32 others = mask; others != 0; others &= others - 1) {
                    const u32 other = u32(__builtin_ctz(others));
                    to.result |= u64(lane[other].value == to.value) << other;
                }
            }
            to.state = State::Ready;
        }
        waiting_[warp] &= ~mask;
        go_on(warp, mask);
    }

    static u64 fold(const Fiber* lane, Meeting meeting, u32 mask) {
        u64 total = meeting == Meeting::Ballot ? 0 : lane[__builtin_ctz(mask)].value;
        for (u32 lanes = meeting == Meeting::Ballot ? mask : mask & (mask - 1); lanes != 0; lanes &= lanes - 1) {
            const u32 k = u32(__builtin_ctz(lanes));
            const u64 value = lane[k].value;
            switch (meeting) {
                case Meeting::Ballot: total |= u64(value != 0) << k; break;
                case Meeting::Sum: total = u32(total + value); break;
                case Meeting::LeastSigned: total = u32(std::min(i32(total), i32(value))); break;
                case Meeting::GreatestSigned: total = u32(std::max(i32(total), i32(value))); break;
                case Meeting::LeastUnsigned: total = std::min(total, value); break;
                case Meeting::GreatestUnsigned: total = std::max(total, value); break;
                case Meeting::And: total &= value; break;
                case Meeting::Or: total |= value; break;
                case Meeting::Xor: total ^= value; break;
                default: break;
            }
        }
        return total;
    }

    void complete_block() {
        u64 sum = 0, all = 1, any = 0;
        for (u32 t = 0; t < threads_; t++) {
            const Fiber& fiber = pool_->fibers[t];
            if (fiber.meeting != pool_->fibers[0].meeting) return;
            sum += fiber.value != 0;
            all &= u64(fiber.value != 0);
            any |= u64(fiber.value != 0);
        }
        for (u32 t = 0; t < threads_; t++) {
            Fiber& fiber = pool_->fibers[t];
            fiber.result = fiber.meeting == Meeting::Sum ? sum : fiber.meeting == Meeting::And ? all : any;
            fiber.state = State::Ready;
            go_on(t / LANES, 1u << t % LANES);
        }
        at_barrier_ = 0;
    }

    std::string place() const {
        const uint3 b = running.block;
        return "kernel " + std::string(kernel_.name) + ", block (" + std::to_string(b.x) + ", " +
               std::to_string(b.y) + ", " + std::to_string(b.z) + ")";
    }

    // Numbers of the threads that `which` holds of, as "0-31, 40".
    template <class Which>
    std::string threads(Which which) const {
        std::string text;
        for (u32 t = 0; t < threads_; t++) {
            if (!which(pool_->fibers[t])) continue;
            u32 last = t;
            while (last + 1 < threads_ && which(pool_->fibers[last + 1])) last++;
            if (text.size() > 160) return text + ", ...";
            text += (text.empty() ? "" : ", ") + std::to_string(t);
            if (last > t) text += "-" + std::to_string(last);
            t = last;
        }
        return text;
    }

    // Why nothing can go on: of the first thread that waits in a warp, or else in the block.
    std::string deadlock() const {
        const Fiber* fibers = pool_->fibers.get();
        const Fiber* end = fibers + threads_;
        const Fiber* first = std::find_if(fibers, end, [](auto& f) { return f.state == State::Warp; });
        if (first == end) first = std::find_if(fibers, end, [](auto& f) { return f.state == State::Block; });
        const bool warp = first->state == State::Warp;
        auto same = [=](const Fiber& f) {
            return f.state == first->state && f.meeting == first->meeting &&
                   (!warp || (f.index.x / LANES == first->index.x / LANES && f.mask == first->mask));
        };
        auto wanted = [=](const Fiber& f) {
            return !warp || (f.index.x / LANES == first->index.x / LANES && (first->mask >> f.index.x % LANES & 1));
        };
        std::string text = first->call;
        if (warp) {
            char mask[32];
            snprintf(mask, sizeof mask, " with mask 0x%08x", first->mask);
            text += mask;
        }
        text += ": threads " + threads(same) + " wait for ever";
        auto add = [&](const std::string& who, const std::string& what) {
            if (!who.empty()) text += "; threads " + who + " " + what;
        };
        add(threads([=](const Fiber& f) { return wanted(f) && f.state == State::Ended; }), "have ended");
        add(threads([=](const Fiber& f) { return wanted(f) && !same(f) && f.state == State::Block; }),
            warp ? "wait for the block" : "wait at another barrier");
        add(threads([=](const Fiber& f) { return wanted(f) && !same(f) && f.state == State::Warp; }),
            warp ? "wait at another operation of the warp or with another mask" : "wait for their warp");
        const u32 begin = first->index.x / LANES * LANES;
        if (warp && threads_ - begin < LANES && first->mask >> (threads_ - begin) != 0) {
            text += "; the block has " + std::to_string(threads_) + " threads, and the mask names lanes past them";
        }
        return text;
    }

    const Kernel& kernel_;
    const void* argument_;
    uint3 grid_;
    u32 threads_;
    Order order_;
    Random random_;
    Pool* pool_ = nullptr;
    Context main_{};
    // The context that was left last.
    Context* left_ = nullptr;
    u32 ended_ = 0;
    u32 at_barrier_ = 0;
    u32 favoured_warps_ = ~0u;
    u32 favoured_lanes_ = ~0u;
    // By warp, a bit a lane: can run; waits for its warp. And a bit a warp: has lanes that can run.
    u32 ready_warps_ = 0;
    u32 ready_[WARPS_MAX];
    u32 waiting_[WARPS_MAX];
};

}  // namespace emulated
