// Fibers: stacks of one OS thread between which it switches.
//
// On x86-64 the switch is twenty instructions; elsewhere, and where EMULATE_UCONTEXT is defined, it is
// swapcontext, which costs two system calls. AddressSanitizer is told of every switch. A fiber never moves to
// another OS thread. Each stack has an inaccessible page below it, so that a kernel that overruns it stops there.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__) || defined(EMULATE_UCONTEXT)
#define EMULATE_SWAPCONTEXT
#include <ucontext.h>
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulated {

#ifdef __SANITIZE_ADDRESS__
static constexpr size_t STACK_BYTES = 256 << 10;
#else
static constexpr size_t STACK_BYTES = 64 << 10;
#endif

// Where a fiber, or the OS thread that runs them all, goes on when it is switched to.
struct Context {
#ifdef EMULATE_SWAPCONTEXT
    ucontext_t registers;
#else
    void* stack_pointer;
#endif
    // AddressSanitizer's, while this does not run, and the stack's bounds.
    void* fake_stack;
    const void* bottom;
    size_t bytes;
};

#ifndef EMULATE_SWAPCONTEXT
extern "C" void emulated_switch(void** from, void* to);
asm(R"(
    .text
    .p2align 4
    .type emulated_switch, @function
emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulated_switch, . - emulated_switch
)");
#endif

// First thing in a context that was switched to; `from` is the one that was left.
static inline void arrived([[maybe_unused]] Context& here, [[maybe_unused]] Context& from) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(here.fake_stack, &from.bottom, &from.bytes);
#endif
}

// Leaves `from` for `to`. Returns when something switches back, to be followed by `arrived`. `ended`: never.
static inline void switch_context(Context& from, Context& to, [[maybe_unused]] bool ended = false) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(ended ? nullptr : &from.fake_stack, to.bottom, to.bytes);
#endif
#ifdef EMULATE_SWAPCONTEXT
    swapcontext(&from.registers, &to.registers);
#else
    emulated_switch(&from.stack_pointer, to.stack_pointer);
#endif
}

// Memory for stacks: as many as were ever needed at once by one OS thread, kept until it ends.
class Stacks {
  public:
    Stacks() = default;
    Stacks(const Stacks&) = delete;
    Stacks& operator=(const Stacks&) = delete;
    ~Stacks() { release(); }

    // Makes room for so many stacks; those handed out before are gone. False where memory is short.
    bool reserve(size_t count) {
        if (count <= count_) return true;
        release();
        page_ = size_t(sysconf(_SC_PAGESIZE));
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void* map = mmap(nullptr, count * stride(), PROT_READ | PROT_WRITE, flags, -1, 0);
        if (map == MAP_FAILED) return false;
        base_ = static_cast<unsigned char*>(map);
        count_ = count;
        for (size_t k = 0; k < count; k++) {
            if (mprotect(base_ + k * stride(), page_, PROT_NONE) != 0) {
                release();
                return false;
            }
        }
        return true;
    }

    // Makes `context` begin at `entry` on the k-th stack.
    void prepare(Context& context, size_t k, void (*entry)()) {
        unsigned char* bottom = base_ + k * stride() + page_;
        context.fake_stack = nullptr;
        context.bottom = bottom;
        context.bytes = STACK_BYTES;
        // Tops at the same place of every page would share a few sets of the cache.
        const size_t room = STACK_BYTES - k % 64 * 64;
#ifdef EMULATE_SWAPCONTEXT
        getcontext(&context.registers);
        context.registers.uc_stack.ss_sp = bottom;
        context.registers.uc_stack.ss_size = room;
        context.registers.uc_link = nullptr;
        makecontext(&context.registers, entry, 0);
#else
        // What the switch pops: six registers, the address of `entry`, and for it a return address of none.
        void* frame[8] = {};
        frame[6] = reinterpret_cast<void*>(entry);
        context.stack_pointer = bottom + room - sizeof frame;
        memcpy(context.stack_pointer, frame, sizeof frame);
#endif
    }

    // To be called when fibers were given up before their end: AddressSanitizer's red zones of their frames are
    // still there.
    void clean() {
#ifdef __SANITIZE_ADDRESS__
        __asan_unpoison_memory_region(base_, count_ * stride());
#endif
    }

  private:
    size_t stride() const { return STACK_BYTES + page_; }

    void release() {
        if (base_ != nullptr) munmap(base_, count_ * stride());
        base_ = nullptr;
        count_ = 0;
    }

    unsigned char* base_ = nullptr;
    size_t count_ = 0;
    size_t page_ = 0;
};

}  // namespace emulated
