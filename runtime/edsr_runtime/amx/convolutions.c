/* Networks of square convolutions on the matrix units (AMX) of a CPU: what edsr_runtime.amx.library calls.
 *
 * Activations are BF16, sums FP32. A plane holds one activation: H rows of W pixels of F values, with zeros around it
 * that are never written, so that a convolution needs no special case at the border. Sixteen neighbouring pixels of a
 * row, 32 of their values, are one tile; so are 32 values in by 16 out of a kernel at one of its places. Two by two tiles
 * are multiplied, because then one tile is loaded for each product, which is what the loading units can do. A kernel's
 * tiles are in the order in which they are used, for 32 results at a time: those of 64 in, 3x3, stay in the first cache
 * while a row is computed.
 *
 * Two convolutions of a residual block are computed row by row in turns: what is between them is a few rows in the second
 * cache and never a plane in main memory.
 *
 * Every function that computes is called by all threads at once, each for its share of the rows.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18 (AMX).
 */

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define DEPTH 32       /* values in, of a tile */
#define BREADTH 16     /* results, of a tile; also pixels */
#define PAIR 32        /* results of two tiles; also pixels of two tiles */
#define TILE 512       /* values of a tile of weights */
#define MOST_RESULTS 64 /* of a tail */
#define LINE 32         /* values of a line of the cache */
#define LONGEST_AHEAD (1 << 16) /* values of a row */
#define SPINS 20000

typedef struct {
  uint16_t *origin; /* of pixel (0, 0) */
  int64_t pitch;    /* values from one row to the next */
  int32_t mask;     /* row y lies at y & mask: -1, but between two convolutions one less than the number of rows there */
} Plane;

typedef struct {
  const uint16_t *weights; /* see packing.py */
  const float *bias;       /* one for each result of whole tiles */
  int32_t kernel;          /* side, odd */
  int32_t tiles;           /* of BREADTH results each */
  int32_t is_rectified;
  int32_t from, to, skip; /* planes; to: -1 for the picture; skip, which is added: -1 for none */
  int32_t is_paired;      /* with the next one, which alone reads its result: to is not used */
  int32_t top, bottom, left, right; /* where: rows top to bottom - 1, and so on */
} Layer;

typedef struct {
  int32_t features, height, width, scale, threads, count;
  const Layer *layers;
  const Plane *planes;
  const Plane *between;    /* for each thread, the rows between two convolutions */
  const float *lr;         /* (H + kernel - 1, W + kernel - 1, 3), zeros around it */
  const float *first;      /* (kernel, kernel, 3, F) */
  const float *first_bias; /* (F) */
  int32_t first_kernel, first_to;
  uint8_t *sr_bytes;  /* (scale H, scale W, 3), or NULL */
  float *sr_floats;   /* (3, scale H, scale W), or NULL */
  atomic_int arrived; /* at the ends of layers, all threads together */
  atomic_int is_not_finite;
} Network;

/* Sizes of what is passed, for whoever passes it to compare. */
int edsr_layout(int structure) {
  const int sizes[] = {sizeof(Plane), sizeof(Layer), sizeof(Network)};
  return sizes[structure];
}

static float widened(uint16_t value) {
  uint32_t bits = (uint32_t)value << 16;
  float wide;
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

static uint16_t rounded(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if (isnan(value)) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint16_t *row_of(const Plane plane, int y) { return plane.origin + (int64_t)(y & plane.mask) * plane.pitch; }

static int first_row(const Network *network, int thread) {
  return (int)((int64_t)network->height * thread / network->threads);
}

static int larger(int a, int b) { return a > b ? a : b; }
static int smaller(int a, int b) { return a < b ? a : b; }

static void wait_for_all(Network *network, int *round) {
  const int expected = ++*round * network->threads;
  atomic_fetch_add_explicit(&network->arrived, 1, memory_order_acq_rel);
  for (int spins = 0; atomic_load_explicit(&network->arrived, memory_order_acquire) < expected; spins++)
    if (spins > SPINS) sched_yield(); /* somebody else has the processor of a thread that is awaited */
}

/* One pixel of the picture, all its results; in the order (row, column, colour) of its scale x scale pixels. */
static void put_floats(const Network *network, const float *results, int y, int x) {
  const int scale = network->scale;
  const int64_t width = (int64_t)scale * network->width, size = width * scale * network->height;
  for (int row = 0; row < scale; row++)
    for (int column = 0; column < scale; column++)
      for (int colour = 0; colour < 3; colour++)
        network->sr_floats[colour * size + ((int64_t)y * scale + row) * width + (int64_t)x * scale + column] = *results++;
}

static inline __attribute__((always_inline)) void put_rows(const Network *network, const uint8_t *results, int y, int x,
                                                            const int scale) {
  const int64_t pitch = (int64_t)3 * scale * network->width;
  uint8_t *to = network->sr_bytes + (int64_t)y * scale * pitch + (int64_t)3 * scale * x;
  for (int row = 0; row < scale; row++) memcpy(to + row * pitch, results + 3 * scale * row, 3 * scale);
}

static void put_bytes(const Network *network, const uint8_t *results, int y, int x) {
  switch (network->scale) {
    case 2: put_rows(network, results, y, x, 2); break;
    case 3: put_rows(network, results, y, x, 3); break;
    case 4: put_rows(network, results, y, x, 4); break;
  }
}

/* The same as on the matrix units, one number after another: for tests where there are none. */

static void portable_first(const Network *network, int y0, int y1) {
  const int F = network->features, kernel = network->first_kernel;
  const int64_t pitch = (int64_t)3 * (network->width + kernel - 1);
  const Plane to = network->planes[network->first_to];
  for (int y = y0; y < y1; y++)
    for (int x = 0; x < network->width; x++)
      for (int f = 0; f < F; f++) {
        float sum = network->first_bias[f];
        for (int ky = 0; ky < kernel; ky++)
          for (int i = 0; i < 3 * kernel; i++)
            sum += network->lr[(y + ky) * pitch + 3 * x + i] * network->first[(int64_t)(ky * 3 * kernel + i) * F + f];
        to.origin[y * to.pitch + (int64_t)x * F + f] = rounded(sum);
      }
}

static float portable_sum(const Layer *layer, const Plane from, int y, int x, int result, const int F) {
  const int kernel = layer->kernel, slices = F / DEPTH;
  const int pair = result / PAIR, breadth = smaller(PAIR, layer->tiles * BREADTH - pair * PAIR);
  const uint16_t *weights = layer->weights + (int64_t)pair * PAIR * kernel * kernel * F;
  const int tile = result % PAIR / BREADTH, column = result % BREADTH;
  float sum = layer->bias[result];
  for (int place = 0; place < kernel * kernel; place++) {
    const int ky = place / kernel - kernel / 2, kx = place % kernel - kernel / 2;
    const uint16_t *pixel = row_of(from, y + ky) + (int64_t)(x + kx) * F;
    for (int slice = 0; slice < slices; slice++, weights += DEPTH * breadth)
      for (int i = 0; i < DEPTH; i++)
        sum += widened(pixel[slice * DEPTH + i]) * widened(weights[tile * TILE + i / 2 * 2 * BREADTH + column * 2 + i % 2]);
  }
  return sum;
}

static void portable_row(const Network *network, const Layer *layer, const Plane from, const Plane to, int y, void *unused) {
  const int F = network->features;
  (void)unused;
  for (int x = layer->left; x < layer->right; x++)
    for (int result = 0; result < F; result++) {
      float sum = portable_sum(layer, from, y, x, result, F);
      if (layer->skip >= 0) sum += widened(row_of(network->planes[layer->skip], y)[(int64_t)x * F + result]);
      if (layer->is_rectified && sum < 0) sum = 0;
      row_of(to, y)[(int64_t)x * F + result] = rounded(sum);
    }
}

static void portable_to_picture(Network *network, const Layer *layer, int y0, int y1) {
  float results[MOST_RESULTS];
  uint8_t bytes[MOST_RESULTS];
  for (int y = y0; y < y1; y++)
    for (int x = layer->left; x < layer->right; x++) {
      for (int result = 0; result < layer->tiles * BREADTH; result++) {
        const float sum = portable_sum(layer, network->planes[layer->from], y, x, result, network->features);
        if (!isfinite(sum)) atomic_store(&network->is_not_finite, 1);
        results[result] = sum;
        bytes[result] = (uint8_t)rintf(sum > 0 ? fminf(sum, 255) : 0);
      }
      if (network->sr_floats) put_floats(network, results, y, x);
      if (network->sr_bytes) put_bytes(network, bytes, y, x);
    }
}

#if defined(__x86_64__) && defined(__linux__)

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WITH_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bf16,avx512bw,avx512vl,avx512dq")))
#define INLINE static inline __attribute__((always_inline))

/* Results of one block, on their way from sums to a plane. That is done a few pixels at a time between the products of
 * the next block, because the matrix units leave the others idle. */
typedef struct {
  const float *sums, *bias;
  const uint16_t *skip;
  uint16_t *to;
  int left, is_rectified;
} Pending;

WITH_AMX INLINE void finish(Pending *pending, int count, const int F) {
  count = smaller(count, pending->left);
  pending->left -= count;
  for (; count > 0; count--) {
    __m512 low = _mm512_add_ps(_mm512_load_ps(pending->sums), _mm512_load_ps(pending->bias));
    __m512 high = _mm512_add_ps(_mm512_load_ps(pending->sums + BREADTH), _mm512_load_ps(pending->bias + BREADTH));
    if (pending->skip) {
      const __m512i skip = _mm512_load_si512(pending->skip);
      const __m512i first = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(skip));
      const __m512i second = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(skip, 1));
      low = _mm512_add_ps(low, _mm512_castsi512_ps(_mm512_slli_epi32(first, 16)));
      high = _mm512_add_ps(high, _mm512_castsi512_ps(_mm512_slli_epi32(second, 16)));
      pending->skip += F;
    }
    if (pending->is_rectified) { /* in this order NaN stays NaN */
      low = _mm512_max_ps(_mm512_setzero_ps(), low);
      high = _mm512_max_ps(_mm512_setzero_ps(), high);
    }
    _mm512_store_si512(pending->to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    pending->sums += PAIR;
    pending->to += F;
  }
}

/* Sums of up to PAIR pixels and up to PAIR results, (PAIR, stride) floats. Pixels ahead, if there are any, are brought into
 * the second cache meanwhile. */
WITH_AMX INLINE void block(const Plane from, const uint16_t *weights, int y, int x, float *sums, int stride, Pending *pending,
                           const uint16_t *ahead, const int F, const int kernel, const int is_wide, const int is_pair) {
  const int slices = F / DEPTH, steps = kernel * kernel * slices, share = (PAIR + steps - 1) / steps;
  const int lines = (PAIR * F / LINE + steps - 1) / steps; /* of those ahead, at each step */
  const int row_bytes = stride * (int)sizeof *sums;
  _tile_zero(0);
  if (is_pair) _tile_zero(1);
  if (is_wide) _tile_zero(2);
  if (is_wide && is_pair) _tile_zero(3);
  for (int ky = 0; ky < kernel; ky++) {
    const uint16_t *pixels = row_of(from, y + ky - kernel / 2) + (int64_t)(x - kernel / 2) * F;
    for (int kx = 0; kx < kernel; kx++, pixels += F)
      for (int slice = 0; slice < slices; slice++) {
        _tile_loadd(4, pixels + slice * DEPTH, F * 2);
        _tile_loadd(6, weights, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (is_pair) {
          _tile_loadd(7, weights + TILE, 64);
          _tile_dpbf16ps(1, 4, 7);
        }
        if (is_wide) {
          _tile_loadd(5, pixels + BREADTH * F + slice * DEPTH, F * 2);
          _tile_dpbf16ps(2, 5, 6);
          if (is_pair) _tile_dpbf16ps(3, 5, 7);
        }
        weights += is_pair ? 2 * TILE : TILE;
        finish(pending, share, F);
        if (ahead)
          for (int line = 0; line < lines; line++, ahead += LINE) _mm_prefetch((const char *)ahead, _MM_HINT_T1);
      }
  }
  finish(pending, PAIR, F);
  _tile_stored(0, sums, row_bytes);
  if (is_pair) _tile_stored(1, sums + BREADTH, row_bytes);
  if (is_wide) _tile_stored(2, sums + BREADTH * stride, row_bytes);
  if (is_wide && is_pair) _tile_stored(3, sums + BREADTH * stride + BREADTH, row_bytes);
}

/* What a thread has in hand from one row to the next. */
typedef struct {
  float sums[PAIR * PAIR] __attribute__((aligned(64))); /* of one block: those before are away when it is done */
  Pending pending;
} Hand;

WITH_AMX INLINE void row(const Network *network, const Layer *layer, const Plane from, const Plane to, int y, Hand *hand,
                         const int F, const int kernel) {
  const int64_t pair_values = (int64_t)kernel * kernel * F * PAIR;
  const uint16_t *skip = layer->skip < 0 ? NULL : row_of(network->planes[layer->skip], y);
  Pending *pending = &hand->pending;
  /* of planes; what is between two convolutions is there. Where rows are long, they would drive out what is needed first. */
  const int looks_ahead = from.mask == -1 && from.pitch <= LONGEST_AHEAD;
  for (int pair = 0; pair < F / PAIR; pair++)
    for (int x = layer->left; x < layer->right; x += PAIR) {
      const uint16_t *weights = layer->weights + pair * pair_values;
      const int64_t at = (int64_t)x * F + pair * PAIR;
      const uint16_t *ahead = pair == 0 && looks_ahead ? row_of(from, y + kernel / 2 + 2) + (int64_t)x * F : NULL;
      if (layer->right - x > BREADTH)
        block(from, weights, y, x, hand->sums, PAIR, pending, ahead, F, kernel, 1, 1);
      else
        block(from, weights, y, x, hand->sums, PAIR, pending, ahead, F, kernel, 0, 1);
      pending->sums = hand->sums;
      pending->bias = layer->bias + pair * PAIR;
      pending->skip = skip ? skip + at : NULL;
      pending->to = row_of(to, y) + at;
      pending->left = smaller(PAIR, layer->right - x);
      pending->is_rectified = layer->is_rectified;
    }
}

WITH_AMX static void amx_row(const Network *network, const Layer *layer, const Plane from, const Plane to, int y, void *hand) {
  if (network->features == 64 && layer->kernel == 3)
    row(network, layer, from, to, y, hand, 64, 3); /* the same, compiled for these numbers */
  else
    row(network, layer, from, to, y, hand, network->features, layer->kernel);
}

WITH_AMX static void amx_finish(const Network *network, void *hand) {
  finish(&((Hand *)hand)->pending, PAIR, network->features);
}

WITH_AMX static void amx_to_picture(Network *network, const Layer *layer, int y0, int y1) {
  const int F = network->features, kernel = layer->kernel, tiles = layer->tiles;
  const Plane from = network->planes[layer->from];
  float sums[PAIR * MOST_RESULTS] __attribute__((aligned(64)));
  uint8_t bytes[MOST_RESULTS] __attribute__((aligned(64)));
  Pending pending = {0};
  __mmask16 not_finite = 0;
  for (int y = y0; y < y1; y++)
    for (int x = layer->left; x < layer->right; x += PAIR) {
      const int count = smaller(PAIR, layer->right - x), is_wide = count > BREADTH;
      const uint16_t *weights = layer->weights;
      for (int tile = 0; tile < tiles; tile += 2) {
        const int is_pair = tile + 1 < tiles;
        float *own = sums + tile * BREADTH;
        if (is_wide && is_pair)
          block(from, weights, y, x, own, MOST_RESULTS, &pending, NULL, F, kernel, 1, 1);
        else if (is_wide)
          block(from, weights, y, x, own, MOST_RESULTS, &pending, NULL, F, kernel, 1, 0);
        else if (is_pair)
          block(from, weights, y, x, own, MOST_RESULTS, &pending, NULL, F, kernel, 0, 1);
        else
          block(from, weights, y, x, own, MOST_RESULTS, &pending, NULL, F, kernel, 0, 0);
        weights += (int64_t)kernel * kernel * F * PAIR;
      }
      for (int i = 0; i < count; i++) {
        float *results = sums + i * MOST_RESULTS;
        for (int tile = 0; tile < tiles; tile++) {
          const __m512 sum = _mm512_add_ps(_mm512_load_ps(results + tile * BREADTH), _mm512_load_ps(layer->bias + tile * BREADTH));
          not_finite |= _mm512_fpclass_ps_mask(sum, 0x99); /* NaN of both kinds, infinity of both signs */
          _mm512_store_ps(results + tile * BREADTH, sum);
          const __m512 clamped = _mm512_min_ps(_mm512_max_ps(sum, _mm512_setzero_ps()), _mm512_set1_ps(255));
          _mm_store_si128((__m128i *)(bytes + tile * BREADTH), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(clamped)));
        }
        if (network->sr_floats) put_floats(network, results, y, x + i);
        if (network->sr_bytes) put_bytes(network, bytes, y, x + i);
      }
    }
  if (not_finite) atomic_store(&network->is_not_finite, 1);
}

/* The first convolution, from three colours, is done in FP32: it is little work, and BF16 has too few bits for a colour
 * less its mean. */
WITH_AMX INLINE void first_pixels(const Network *network, int y, int x, int f, const int count) {
  const int F = network->features, kernel = network->first_kernel;
  const int64_t pitch = (int64_t)3 * (network->width + kernel - 1);
  const Plane to = network->planes[network->first_to];
  const __m512 low_bias = _mm512_loadu_ps(network->first_bias + f);
  const __m512 high_bias = _mm512_loadu_ps(network->first_bias + f + BREADTH);
  __m512 low[8], high[8];
  for (int i = 0; i < count; i++) low[i] = low_bias, high[i] = high_bias;
  for (int ky = 0; ky < kernel; ky++) {
    const float *values = network->lr + (y + ky) * pitch + 3 * x;
    const float *weights = network->first + (int64_t)ky * 3 * kernel * F + f;
    for (int j = 0; j < 3 * kernel; j++, values++, weights += F) {
      const __m512 first = _mm512_loadu_ps(weights), second = _mm512_loadu_ps(weights + BREADTH);
      for (int i = 0; i < count; i++) {
        const __m512 value = _mm512_set1_ps(values[3 * i]);
        low[i] = _mm512_fmadd_ps(value, first, low[i]);
        high[i] = _mm512_fmadd_ps(value, second, high[i]);
      }
    }
  }
  uint16_t *at = to.origin + y * to.pitch + (int64_t)x * F + f;
  for (int i = 0; i < count; i++, at += F) _mm512_store_si512(at, (__m512i)_mm512_cvtne2ps_pbh(high[i], low[i]));
}

WITH_AMX static void amx_first(const Network *network, int y0, int y1) {
  for (int y = y0; y < y1; y++)
    for (int f = 0; f < network->features; f += PAIR) {
      int x = 0;
      for (; x + 8 <= network->width; x += 8) first_pixels(network, y, x, f, 8);
      for (; x < network->width; x++) first_pixels(network, y, x, f, 1);
    }
}

typedef struct {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} TileShapes;

/* Not built up at run time: GCC 12 does not see that all of it is read. */
static const TileShapes whole_tiles = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

WITH_AMX static void configure(void) { _tile_loadconfig(&whole_tiles); }
WITH_AMX static void release(void) { _tile_release(); }

/* Linux gives the tiles' registers to processes that ask for them. Nonzero: it did. */
int edsr_amx_allowed(void) {
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* What the matrix units do at the most, for benchmarks: so many times four products of tiles that are loaded once, from
 * four tiles of values. */
WITH_AMX void edsr_amx_products(const uint16_t *values, int64_t times) {
  configure();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, values, 64);
  _tile_loadd(5, values + TILE, 64);
  _tile_loadd(6, values + 2 * TILE, 64);
  _tile_loadd(7, values + 3 * TILE, 64);
  for (; times > 0; times--) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  release();
}

#else

int edsr_amx_allowed(void) { return 0; }
static void configure(void) {}
static void release(void) {}
typedef struct {
  int nothing;
} Hand;
static void amx_first(const Network *network, int y0, int y1) { portable_first(network, y0, y1); }
static void amx_to_picture(Network *network, const Layer *layer, int y0, int y1) { portable_to_picture(network, layer, y0, y1); }
static void amx_row(const Network *network, const Layer *layer, const Plane from, const Plane to, int y, void *hand) {
  portable_row(network, layer, from, to, y, hand);
}
static void amx_finish(const Network *network, void *hand) { (void)network, (void)hand; }

#endif

static void no_finish(const Network *network, void *hand) { (void)network, (void)hand; }

typedef struct {
  void (*first)(const Network *, int y0, int y1);
  void (*row)(const Network *, const Layer *, const Plane from, const Plane to, int y, void *hand);
  void (*finish)(const Network *, void *hand); /* what is pending of the last rows */
  void (*to_picture)(Network *, const Layer *, int y0, int y1);
} Unit;

static const Unit matrix_units = {amx_first, amx_row, amx_finish, amx_to_picture};
static const Unit plain_c = {portable_first, portable_row, no_finish, portable_to_picture};

/* Rows y0 to y1 - 1 of what two convolutions give one after the other. The second is a row later than it could be, because
 * the end of a row of the first is pending while the next row is computed. */
static void pair_of(const Network *network, const Layer *layer, int y0, int y1, Plane between, const Unit *unit, void *hand) {
  const Layer *second = layer + 1;
  const Plane from = network->planes[layer->from], to = network->planes[second->to];
  const int reach = second->kernel / 2;
  between.mask = 1;
  while (between.mask < second->kernel) between.mask = between.mask << 1 | 1; /* one row more than the kernel needs */
  for (int y = y0 - reach; y <= y1 + reach; y++) {
    if (y >= 0 && y < network->height && y < y1 + reach) {
      unit->row(network, layer, from, between, y, hand);
    } else { /* outside of the picture, or one too many */
      unit->finish(network, hand);
      memset(row_of(between, y), 0, (size_t)network->width * network->features * sizeof *between.origin);
    }
    const int behind = y - reach - 1;
    if (behind >= y0) unit->row(network, second, between, to, behind, hand);
  }
  unit->finish(network, hand);
}

/* One picture, from network->lr to sr; called by each of network->threads threads with a number of its own from 0. The
 * planes' borders are zeros. Nothing is returned: see network->is_not_finite. */
void edsr_run(Network *network, int thread, int on_matrix_units) {
  const Unit *unit = on_matrix_units ? &matrix_units : &plain_c;
  const int y0 = first_row(network, thread), y1 = first_row(network, thread + 1);
  int round = 0;
  Hand hand;
  memset(&hand, 0, sizeof hand);
  if (on_matrix_units) configure();
  unit->first(network, y0, y1);
  wait_for_all(network, &round);
  for (int i = 0; i < network->count; i++) {
    const Layer *layer = network->layers + i;
    const int top = larger(y0, layer->top), bottom = smaller(y1, layer->bottom);
    if (layer->to < 0) {
      unit->to_picture(network, layer, top, bottom);
      continue; /* nobody reads the picture */
    }
    if (layer->is_paired) {
      if (top < bottom) pair_of(network, layer, top, bottom, network->between[thread], unit, &hand);
      i++;
    } else {
      for (int y = top; y < bottom; y++)
        unit->row(network, layer, network->planes[layer->from], network->planes[layer->to], y, &hand);
      unit->finish(network, &hand);
    }
    wait_for_all(network, &round);
  }
  if (on_matrix_units) release();
}
