// Stands in for NVIDIA's driver where there is none, so that the code that calls it runs in tests: one device whose
// memory is the host's, whose streams only capture and copy, and which knows the two kernels of probe.cu by name.
// A saxpy by an infinite factor does not end: its stream is not ready from then on, and what would wait for it ends
// the process.
//
// It is strict where the driver is lenient: a call without a current context, a copy that leaves an allocation, a
// stream that is waited for while it captures, memory or a handle that is left when the context goes: each is an
// error, or ends the process. As with the driver, an illegal access is an error of every call from then on, until
// the last holder of the primary context releases it.

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint32_t Result;
enum {
    INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, CAPTURE_UNSUPPORTED = 900,
    CAPTURE_UNMATCHED = 903, CAPTURE_UNJOINED = 904
};
enum { DEVICE_BYTES = 1 << 30, BLOCKS_MAX = 256, NODES_MAX = 64, ARGUMENT_BYTES = 24 };

typedef struct { char* start; size_t bytes; } Block;
typedef struct { char name[64]; int shared_bytes_max; } Function;
typedef struct { enum { COPY, LAUNCH } kind; void* to; const void* from; size_t bytes; int in;
                 Function* function; unsigned grid[3], threads; char argument[ARGUMENT_BYTES]; } Node;
typedef struct { int count, open; Node nodes[NODES_MAX]; } Graph;
// A stream beside the capturing one captures too from the first event of that one that it waits for, until the
// capture ends, and is joined when that one waits for an event after its last node.
typedef struct { Graph* capturing; int is_beside, is_joined, hung; } Stream;
typedef struct { Stream* stream; Graph* graph; } Event;

static int started, holders, streams, events, graphs, modules;
static size_t used_bytes;
static Block device_blocks[BLOCKS_MAX], host_blocks[BLOCKS_MAX];
static Result sticky;
static int context;
static _Thread_local void* current;

#define READY if (current != &context || !holders) return INVALID_CONTEXT; if (sticky) return sticky

static int within(Block* blocks, const void* start, size_t bytes) {
    for (int k = 0; k < BLOCKS_MAX; k++) {
        const char *first = blocks[k].start, *from = start;
        if (first && from >= first && from + bytes <= first + blocks[k].bytes) return 1;
    }
    return 0;
}

static Result block_new(Block* blocks, void* start, size_t bytes) {
    for (int k = 0; k < BLOCKS_MAX; k++) {
        if (!blocks[k].start) { blocks[k] = (Block){start, bytes}; return 0; }
    }
    return OUT_OF_MEMORY;
}

// Bytes of the block that begins here, which is forgotten; 0 if there is none.
static size_t block_forget(Block* blocks, const void* start) {
    for (int k = 0; k < BLOCKS_MAX; k++) {
        if (start && blocks[k].start == start) {
            size_t bytes = blocks[k].bytes;
            blocks[k] = (Block){0, 0};
            free((void*)start);
            return bytes;
        }
    }
    return 0;
}

Result cuInit(unsigned flags) { started = flags == 0; return started ? 0 : INVALID_VALUE; }
Result cuDriverGetVersion(int* version) {
    const char* given = getenv("STAND_IN_VERSION");
    *version = given ? atoi(given) : 12040;
    return 0;
}
Result cuDeviceGetCount(int* count) { if (!started) return 3; *count = 1; return 0; }
Result cuDeviceGet(int* device, int index) { *device = 7; return index == 0 ? 0 : INVALID_DEVICE; }
Result cuDeviceGetName(char* name, int bytes, int device) {
    snprintf(name, (size_t)bytes, "stand-in");
    return device == 7 ? 0 : INVALID_DEVICE;
}
Result cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = DEVICE_BYTES; return device == 7 ? 0 : INVALID_DEVICE; }
Result cuDeviceGetAttribute(int* value, int attribute, int device) {
    switch (attribute) {
    case 16: *value = 2; break;       // multiprocessors
    case 75: *value = 9; break;       // compute capability, major
    case 76: *value = 0; break;       // and minor
    case 97: *value = 232448; break;  // shared memory of a block that opts in
    default: return INVALID_VALUE;
    }
    return device == 7 ? 0 : INVALID_DEVICE;
}

Result cuDevicePrimaryCtxRetain(void** out, int device) {
    if (!started || device != 7) return INVALID_DEVICE;
    holders++;
    *out = &context;
    return 0;
}
Result cuDevicePrimaryCtxRelease_v2(int device) {
    if (device != 7 || !holders) return INVALID_CONTEXT;
    if (--holders) return 0;
    int left = streams + events + graphs + modules;
    for (int k = 0; k < BLOCKS_MAX; k++) left += (device_blocks[k].start != 0) + (host_blocks[k].start != 0);
    if (left && !sticky) {
        fprintf(stderr, "stand-in: %d things are left when the context goes\n", left);
        abort();
    }
    for (int k = 0; k < BLOCKS_MAX; k++) {
        block_forget(device_blocks, device_blocks[k].start);
        block_forget(host_blocks, host_blocks[k].start);
    }
    streams = events = graphs = modules = 0;
    used_bytes = 0;
    sticky = 0;
    return 0;
}
Result cuCtxSetCurrent(void* given) { current = given; return given == 0 || given == &context ? 0 : INVALID_CONTEXT; }

Result cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    READY;
    *free_bytes = DEVICE_BYTES - used_bytes;
    *total = DEVICE_BYTES;
    return 0;
}
Result cuMemAlloc_v2(uint64_t* out, size_t bytes) {
    READY;
    if (!bytes) return INVALID_VALUE;
    if (bytes > DEVICE_BYTES - used_bytes) return OUT_OF_MEMORY;
    void* start = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!start) return OUT_OF_MEMORY;
    // As on a device, what was there before is there still.
    memset(start, 0xa5, bytes < 4096 ? bytes : 4096);
    used_bytes += bytes;
    *out = (uint64_t)start;
    return block_new(device_blocks, start, bytes);
}
Result cuMemFree_v2(uint64_t address) {
    READY;
    size_t bytes = block_forget(device_blocks, (void*)address);
    used_bytes -= bytes;
    return bytes ? 0 : INVALID_VALUE;
}
Result cuMemHostAlloc(void** out, size_t bytes, unsigned flags) {
    READY;
    if (!bytes || flags) return INVALID_VALUE;
    *out = malloc(bytes);
    memset(*out, 0xa5, bytes);
    return block_new(host_blocks, *out, bytes);
}
Result cuMemFreeHost(void* start) { READY; return block_forget(host_blocks, start) ? 0 : INVALID_VALUE; }

static Result node_new(Stream* stream, Node** out) {
    if (stream->is_joined) return CAPTURE_UNMATCHED;
    if (stream->capturing->count == NODES_MAX) return OUT_OF_MEMORY;
    *out = &stream->capturing->nodes[stream->capturing->count++];
    return 0;
}
static Result copy(void* to, const void* from, size_t bytes, int in, Stream* stream) {
    READY;
    if (!stream || !within(device_blocks, in ? to : from, bytes)) return INVALID_VALUE;
    if (!stream->capturing) { memcpy(to, from, bytes); return 0; }
    // A graph's copies must be from and to pinned memory.
    Node* node;
    if (!within(host_blocks, in ? from : to, bytes)) return INVALID_VALUE;
    if (node_new(stream, &node)) return OUT_OF_MEMORY;
    *node = (Node){.kind = COPY, .to = to, .from = from, .bytes = bytes, .in = in};
    return 0;
}
Result cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, Stream* stream) {
    return copy((void*)to, from, bytes, 1, stream);
}
Result cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, Stream* stream) {
    return copy(to, (void*)from, bytes, 0, stream);
}
Result cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, Stream* stream) {
    READY;
    if (!stream || stream->capturing || !within(device_blocks, (void*)to, bytes)) return INVALID_VALUE;
    memset((void*)to, value, bytes);
    return 0;
}

static void must_end(const Stream* stream) {
    if (!stream->hung) return;
    fprintf(stderr, "stand-in: waiting for what does not end\n");
    abort();
}
Result cuStreamCreate(Stream** out, unsigned flags) {
    READY;
    if (flags != 1) return INVALID_VALUE;
    streams++;
    *out = calloc(1, sizeof(Stream));
    return 0;
}
Result cuStreamDestroy_v2(Stream* stream) { READY; must_end(stream); streams--; free(stream); return 0; }
Result cuStreamQuery(Stream* stream) {
    READY;
    return stream->capturing ? CAPTURE_UNSUPPORTED : stream->hung ? NOT_READY : 0;
}
Result cuStreamSynchronize(Stream* stream) {
    READY;
    must_end(stream);
    return stream->capturing ? CAPTURE_UNSUPPORTED : 0;
}
Result cuStreamBeginCapture_v2(Stream* stream, int mode) {
    READY;
    if (stream->capturing || mode != 1) return INVALID_VALUE;
    graphs++;
    stream->capturing = calloc(1, sizeof(Graph));
    return 0;
}
Result cuEventCreate(Event** out, unsigned flags) {
    READY;
    if (flags != 2) return INVALID_VALUE;
    events++;
    *out = calloc(1, sizeof(Event));
    return 0;
}
Result cuEventDestroy_v2(Event* event) { READY; events--; free(event); return 0; }
Result cuEventRecord(Event* event, Stream* stream) {
    READY;
    if (!stream->capturing || stream->is_joined) return INVALID_VALUE;
    *event = (Event){.stream = stream, .graph = stream->capturing};
    return 0;
}
Result cuStreamWaitEvent(Stream* stream, Event* event, unsigned flags) {
    READY;
    if (flags || !event->graph) return INVALID_VALUE;
    if (!stream->capturing || stream->is_joined) {
        if (event->stream->is_beside) return CAPTURE_UNMATCHED;
        *stream = (Stream){.capturing = event->graph, .is_beside = 1};
        event->graph->open++;
    } else if (event->stream->is_beside && event->graph == stream->capturing) {
        event->stream->is_joined = 1;
        event->graph->open--;
    } else return CAPTURE_UNMATCHED;
    return 0;
}
Result cuStreamEndCapture(Stream* stream, Graph** out) {
    READY;
    if (!stream->capturing || stream->is_beside) return CAPTURE_UNMATCHED;
    *out = stream->capturing;
    stream->capturing = 0;
    return (*out)->open ? CAPTURE_UNJOINED : 0;
}
Result cuGraphDestroy(Graph* graph) { READY; graphs--; free(graph); return 0; }
Result cuGraphInstantiateWithFlags(Graph** out, const Graph* graph, unsigned long long flags) {
    READY;
    if (flags) return INVALID_VALUE;
    graphs++;
    *out = malloc(sizeof(Graph));
    **out = *graph;
    return 0;
}
Result cuGraphExecDestroy(Graph* graph) { return cuGraphDestroy(graph); }
Result cuGraphUpload(const Graph* graph, Stream* stream) { READY; return graph && stream ? 0 : INVALID_HANDLE; }

Result cuModuleLoadData(char** out, const char* image) {
    READY;
    if ((uintptr_t)image % 8 || memcmp(image, "\177ELF", 4)) return INVALID_IMAGE;
    modules++;
    *out = malloc(1);
    return 0;
}
Result cuModuleUnload(char* module) { READY; modules--; free(module); return 0; }
Result cuModuleGetFunction(Function** out, char* module, const char* name) {
    static Function known[] = {{"probe_saxpy", 0}, {"probe_block_statistics", 0}};
    READY;
    for (int k = 0; module && k < 2; k++) {
        if (!strcmp(known[k].name, name)) { known[k].shared_bytes_max = 49152; *out = &known[k]; return 0; }
    }
    return NOT_FOUND;
}
Result cuFuncSetAttribute(Function* function, int attribute, int value) {
    READY;
    if (attribute != 8 || value > 232448) return INVALID_VALUE;
    function->shared_bytes_max = value;
    return 0;
}
Result cuLaunchKernel(Function* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y,
                      unsigned threads_z, unsigned shared_bytes, Stream* stream, void** arguments, void** extra) {
    READY;
    if (!stream->capturing || threads_y != 1 || threads_z != 1 || extra) return INVALID_VALUE;
    if ((int)shared_bytes > function->shared_bytes_max) return INVALID_VALUE;
    Node* node;
    if (node_new(stream, &node)) return OUT_OF_MEMORY;
    *node = (Node){.kind = LAUNCH, .function = function, .grid = {x, y, z}, .threads = threads};
    memcpy(node->argument, arguments[0], ARGUMENT_BYTES);
    return 0;
}

static int saxpy(const Node* node) {
    struct { float *x, *y; uint32_t n; float factor; } a;
    memcpy(&a, node->argument, sizeof a);
    if (!within(device_blocks, a.x, 4 * a.n) || !within(device_blocks, a.y, 4 * a.n)) return 0;
    for (uint32_t k = 0; k < a.n; k++) a.y[k] = a.y[k] + a.factor * a.x[k];
    return 1;
}
static int block_statistics(const Node* node) {
    struct { float* x; uint32_t* out; uint32_t n, unused; } a;
    memcpy(&a, node->argument, sizeof a);
    uint32_t threads = node->threads;
    if (!within(device_blocks, a.x, 4 * a.n) || !within(device_blocks, a.out, 12 * node->grid[0])) return 0;
    for (uint32_t block = 0; block < node->grid[0]; block++) {
        float total = 0, top = -INFINITY;
        uint32_t above = 0;
        for (uint32_t warp = 0; warp < threads; warp += 32) {
            float lanes[32], before[32];
            for (uint32_t lane = 0; lane < 32; lane++) {
                uint32_t k = block * threads + warp + lane;
                lanes[lane] = k < a.n ? a.x[k] : 0;
                top = fmaxf(top, lanes[lane]);
                above += lanes[lane] > 0;
            }
            for (uint32_t apart = 16; apart; apart /= 2) {
                memcpy(before, lanes, sizeof lanes);
                for (uint32_t lane = 0; lane < 32; lane++) lanes[lane] = before[lane] + before[lane ^ apart];
            }
            total += lanes[0];
        }
        memcpy(&a.out[3 * block], &total, 4);
        memcpy(&a.out[3 * block + 1], &top, 4);
        a.out[3 * block + 2] = above;
    }
    return 1;
}
Result cuGraphLaunch(const Graph* graph, Stream* stream) {
    READY;
    if (!stream || stream->capturing) return INVALID_HANDLE;
    for (int k = 0; k < graph->count && !stream->hung; k++) {
        const Node* node = &graph->nodes[k];
        float factor;
        memcpy(&factor, node->argument + 20, sizeof factor);
        if (node->kind == LAUNCH && !strcmp(node->function->name, "probe_saxpy") && isinf(factor)) {
            stream->hung = 1;
            break;
        }
        if (node->kind == COPY) memcpy(node->to, node->from, node->bytes);
        else if (!(strcmp(node->function->name, "probe_saxpy") ? block_statistics(node) : saxpy(node))) {
            // The launch itself succeeds: the error is that of what waits for it.
            sticky = ILLEGAL_ADDRESS;
            return 0;
        }
    }
    return 0;
}

Result cuGetErrorName(Result error, const char** name) {
    *name = error == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : 0;
    return *name ? 0 : INVALID_VALUE;
}
