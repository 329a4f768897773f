// A libcuda.so.1 without a GPU, for tests of what talks to the driver: device memory is host memory, work is done at
// once, and the kernels are those of kernels.cu compiled for the CPU (KERNELS names that file). It has the functions
// that PyCUDA and cuda-bindings need for our purposes, checks what a real driver would check, and counts what has not
// been given back.

#include <dlfcn.h>
#include <math.h>
#include <mutex>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- kernels.cu on the CPU ---

struct Three { unsigned x, y, z; };
static struct Three blockIdx, blockDim, threadIdx;
#define __device__ static
#define __global__
#include KERNELS

typedef void (*Kernel)(uint64_t *);
#define K(name, ...) extern "C" void run_##name(uint64_t *p) { name(__VA_ARGS__); }
K(views_of_bytes, p[0], p[1], p[2], p[3], p[4], p[5], p[6])
K(views_of_floats, p[0], p[1], p[2], p[3], p[4], p[5], p[6])
K(mean_as_bytes, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8])
K(mean_as_floats, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8])

extern "C" {

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500,
       CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, CAPTURE_UNJOINED = 904, UNSUPPORTED = 801 };

// --- what is open ---

enum Kind { MEMORY, PINNED, STREAM, EVENT, MODULE, GRAPH, RETAINED, KINDS };
static long live[KINDS];
static uint64_t limit = 1ull << 40, used;
long emulated_live(int kind) { return live[kind]; }
void emulated_limit(uint64_t bytes) { limit = bytes; }

struct Block { uint64_t size, check; }; // in front of every allocation, which is aligned to 256 bytes
enum { HEADER = 256, CHECK = 0x600dcafe };

// --- contexts: one, a stack of it per thread ---

static __thread int depth;
static int context; // its address is the handle
int emulated_depth(void) { return depth; }

int cuInit(unsigned) { return OK; }
int cuDriverGetVersion(int *v) { *v = 13000; return OK; }
int cuDeviceGetCount(int *n) { *n = 1; return OK; }
int cuDeviceGet(int *d, int i) { *d = 0; return i == 0 ? OK : 101; }
int cuDeviceGetName(char *name, int n, int) { snprintf(name, n, "Emulated"); return OK; }
int cuDeviceTotalMem_v2(size_t *n, int) { *n = limit; return OK; }
int cuDeviceGetAttribute(int *value, int attribute, int) { *value = attribute == 75 ? 8 : attribute == 76 ? 9 : 0; return OK; }
int cuDeviceComputeCapability(int *a, int *b, int) { *a = 8; *b = 9; return OK; }
int cuDevicePrimaryCtxRetain(void **c, int) { *c = &context; live[RETAINED]++; return OK; }
int cuDevicePrimaryCtxRelease_v2(int) { if (!live[RETAINED]) return INVALID_CONTEXT; live[RETAINED]--; return OK; }
int cuCtxPushCurrent_v2(void *c) { if (c != &context) return INVALID_CONTEXT; depth++; return OK; }
int cuCtxPopCurrent_v2(void **c) { if (!depth) return INVALID_CONTEXT; depth--; if (c) *c = &context; return OK; }
int cuCtxGetCurrent(void **c) { *c = depth ? &context : 0; return OK; }
int cuCtxSynchronize(void) { return depth ? OK : INVALID_CONTEXT; }
int cuCtxGetDevice(int *d) { *d = 0; return depth ? OK : INVALID_CONTEXT; }
int cuCtxGetApiVersion(void *, unsigned *v) { *v = 13000; return OK; }
#define NEEDS_CONTEXT if (!depth) return INVALID_CONTEXT

// --- memory ---

static void *get(uint64_t n) {
    Block *b = (Block *)aligned_alloc(256, HEADER + (n + 255) / 256 * 256);
    b->size = n;
    b->check = CHECK;
    memset((char *)b + HEADER, 0xa5, n);
    return (char *)b + HEADER;
}
static int drop(void *p, uint64_t *size) {
    Block *b = (Block *)((char *)p - HEADER);
    if (b->check != CHECK) return INVALID_VALUE;
    b->check = 0;
    *size = b->size;
    free(b);
    return OK;
}
int cuMemAlloc_v2(uint64_t *p, size_t n) {
    NEEDS_CONTEXT;
    if (!n) return INVALID_VALUE;
    if (used + n > limit) return OUT_OF_MEMORY;
    used += n;
    live[MEMORY]++;
    *p = (uint64_t)get(n);
    return OK;
}
int cuMemFree_v2(uint64_t p) {
    NEEDS_CONTEXT;
    uint64_t n;
    if (drop((void *)p, &n)) return INVALID_VALUE;
    used -= n;
    live[MEMORY]--;
    return OK;
}
int cuMemHostAlloc(void **p, size_t n, unsigned) { NEEDS_CONTEXT; live[PINNED]++; *p = get(n); return OK; }
int cuMemFreeHost(void *p) { NEEDS_CONTEXT; uint64_t n; if (drop(p, &n)) return INVALID_VALUE; live[PINNED]--; return OK; }
int cuMemGetInfo_v2(size_t *free, size_t *total) { NEEDS_CONTEXT; *free = limit - used; *total = limit; return OK; }

// --- streams, events, graphs ---

struct Op { int kind; uint64_t to, from, size; Kernel kernel; Three grid, block; uint64_t p[16]; Op *next; };
struct Graph { Op *first, **last; int invalid; };
struct Stream { uint64_t check; Graph *noting; int forked; Stream *next; }; // forked: and not joined again
struct Event { uint64_t check; Graph *noting; Stream *stream; };
static Stream *streams;
static Stream *of(void *s) { Stream *x = (Stream *)s; return x && x->check == 0x57 ? x : 0; }

static std::mutex working; // the kernels' indices are global
static void perform(Op *op) {
    std::lock_guard<std::mutex> alone(working);
    if (!op->kernel) {
        memcpy((void *)op->to, (void *)op->from, op->size);
        return;
    }
    blockDim = op->block;
    for (blockIdx.z = 0; blockIdx.z < op->grid.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < op->grid.y; blockIdx.y++)
    for (blockIdx.x = 0; blockIdx.x < op->grid.x; blockIdx.x++)
    for (threadIdx.y = 0; threadIdx.y < op->block.y; threadIdx.y++)
    for (threadIdx.x = 0; threadIdx.x < op->block.x; threadIdx.x++)
        op->kernel(op->p);
}
static int submit(Op op, void *s) {
    NEEDS_CONTEXT;
    Stream *stream = of(s);
    if (!stream) return INVALID_HANDLE;
    if (!stream->noting) { perform(&op); return OK; }
    Op *copy = (Op *)malloc(sizeof op);
    *copy = op;
    copy->next = 0;
    *stream->noting->last = copy;
    stream->noting->last = &copy->next;
    return OK;
}
int cuMemcpyHtoDAsync_v2(uint64_t d, const void *h, size_t n, void *s) { Op op = {0, d, (uint64_t)h, n}; return submit(op, s); }
int cuMemcpyDtoHAsync_v2(void *h, uint64_t d, size_t n, void *s) { Op op = {0, (uint64_t)h, d, n}; return submit(op, s); }

int cuStreamCreate(void **s, unsigned flags) {
    NEEDS_CONTEXT;
    if (flags != 1) return INVALID_VALUE; // only non-blocking ones here
    Stream *x = (Stream *)calloc(1, sizeof(Stream));
    x->check = 0x57;
    x->next = streams;
    streams = x;
    live[STREAM]++;
    *s = x;
    return OK;
}
int cuStreamDestroy_v2(void *s) {
    NEEDS_CONTEXT;
    if (!of(s)) return INVALID_HANDLE;
    of(s)->check = 0; // stays in the list, so that a second time is noticed
    live[STREAM]--;
    return OK;
}
int cuStreamSynchronize(void *s) { return of(s) ? OK : INVALID_HANDLE; }
int cuStreamQuery(void *s) { return of(s) ? OK : INVALID_HANDLE; }
int cuEventCreate(void **e, unsigned) {
    NEEDS_CONTEXT;
    Event *x = (Event *)calloc(1, sizeof(Event));
    x->check = 0xe7;
    live[EVENT]++;
    *e = x;
    return OK;
}
static Event *mark(void *e) { Event *x = (Event *)e; return x && x->check == 0xe7 ? x : 0; }
int cuEventDestroy_v2(void *e) { NEEDS_CONTEXT; if (!mark(e)) return INVALID_HANDLE; mark(e)->check = 0; live[EVENT]--; return OK; }
int cuEventRecord(void *e, void *s) { if (!mark(e) || !of(s)) return INVALID_HANDLE; mark(e)->noting = of(s)->noting; mark(e)->stream = of(s); return OK; }
int cuEventSynchronize(void *e) { return !mark(e) ? INVALID_HANDLE : mark(e)->noting ? CAPTURE_UNSUPPORTED : OK; }
int cuEventQuery(void *e) { return cuEventSynchronize(e); }
int cuStreamWaitEvent(void *s, void *e, unsigned) {
    if (!mark(e) || !of(s)) return INVALID_HANDLE;
    Graph *g = mark(e)->noting;
    if (g && of(s)->noting == g) mark(e)->stream->forked = 0;
    if (g && !of(s)->noting) { of(s)->noting = g; of(s)->forked = 1; }
    return OK;
}
int cuStreamBeginCapture_v2(void *s, int mode) {
    NEEDS_CONTEXT;
    if (!of(s) || of(s)->noting || mode != 2) return INVALID_VALUE;
    Graph *g = (Graph *)calloc(1, sizeof(Graph));
    g->last = &g->first;
    of(s)->noting = g;
    return OK;
}
int cuStreamEndCapture(void *s, void **graph) {
    NEEDS_CONTEXT;
    *graph = 0;
    if (!of(s) || !of(s)->noting) return INVALID_VALUE;
    Graph *g = of(s)->noting;
    int unjoined = 0;
    for (Stream *x = streams; x; x = x->next)
        if (x->noting == g) { unjoined |= x->forked; x->noting = 0; x->forked = 0; }
    if (g->invalid) return CAPTURE_INVALIDATED;
    if (unjoined) return CAPTURE_UNJOINED;
    live[GRAPH]++;
    *graph = g;
    return OK;
}
void emulated_spoil(void *s) { of(s)->noting->invalid = 1; } // as a call does that cannot be noted
int cuGraphInstantiateWithFlags(void **ready, void *graph, unsigned long long) {
    Graph *g = (Graph *)calloc(1, sizeof(Graph));
    *g = *(Graph *)graph;
    live[GRAPH]++;
    *ready = g;
    return OK;
}
int cuGraphDestroy(void *g) { free(g); live[GRAPH]--; return OK; }
int cuGraphExecDestroy(void *g) { free(g); live[GRAPH]--; return OK; } // its operations leak, which does not matter here
int cuGraphLaunch(void *g, void *s) {
    NEEDS_CONTEXT;
    if (!of(s)) return INVALID_HANDLE;
    for (Op *op = ((Graph *)g)->first; op; op = op->next) perform(op);
    return OK;
}

// --- kernels ---

int cuModuleLoadData(void **m, const void *image) {
    NEEDS_CONTEXT;
    if (!strstr((const char *)image, ".target sm_")) return INVALID_VALUE; // not PTX
    live[MODULE]++;
    *m = &live[MODULE];
    return OK;
}
int cuModuleLoadDataEx(void **m, const void *image, unsigned, int *, void **) { return cuModuleLoadData(m, image); }
int cuModuleUnload(void *) { NEEDS_CONTEXT; live[MODULE]--; return OK; }
int cuModuleGetFunction(void **f, void *, const char *name) {
    char symbol[100];
    snprintf(symbol, sizeof symbol, "run_%s", name);
    Dl_info me;
    dladdr((void *)cuInit, &me);
    *f = dlsym(dlopen(me.dli_fname, RTLD_LAZY), symbol);
    return *f ? OK : NOT_FOUND;
}
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned,
                   void *s, void **parameters, void **extra) {
    Op op = {};
    op.kernel = (Kernel)f;
    op.grid = {gx, gy, gz};
    op.block = {bx, by, bz};
    int count = f == (void *)run_mean_as_bytes || f == (void *)run_mean_as_floats ? 9 : 7;
    if (extra) { // {1: pointer, address, 2: size, address of it, 0}
        if (*(size_t *)extra[3] != (size_t)count * 8) return INVALID_VALUE;
        memcpy(op.p, extra[1], count * 8);
    } else
        for (int i = 0; i < count; i++) op.p[i] = *(uint64_t *)parameters[i];
    return submit(op, s);
}

// --- errors, and how cuda-bindings finds all this ---

int cuFuncSetBlockShape(void *, int, int, int) { return OK; }
int cuGetErrorName(int code, const char **name) { *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : code == CAPTURE_INVALIDATED ? "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED" : "CUDA_ERROR"; return OK; }
int cuGetErrorString(int, const char **text) { *text = "an error of the emulated driver"; return OK; }
int cuGetProcAddress_v2(const char *symbol, void **f, int, uint64_t, int *status) {
    static void *self;
    if (!self) {
        Dl_info me;
        dladdr((void *)cuInit, &me);
        self = dlopen(me.dli_fname, RTLD_LAZY);
    }
    char name[200];
    snprintf(name, sizeof name, "%s_v2", symbol);
    *f = dlsym(self, name);
    if (!*f) *f = dlsym(self, symbol);
    if (status) *status = *f ? 0 : 1;
    return *f ? OK : NOT_FOUND;
}
int cuGetProcAddress(const char *symbol, void **f, int version, uint64_t flags) { return cuGetProcAddress_v2(symbol, f, version, flags, 0); }
}
