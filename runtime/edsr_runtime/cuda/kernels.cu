// What happens to pixels on the device before and after a network: flips and rotations, their mean, rounding, and a
// look for NaN and infinity. Compiled into kernels.ptx by compile_kernels.py; tests compile it for the CPU too, so it
// needs no header.
//
// All parameters are 64 bits wide, so that the host packs them without knowing their types. A picture is (H, W, 3)
// bytes, or three planes (3, H, W) of floats, which is also what a network takes and gives; pictures of a batch follow
// one another. View v of a picture, as in dihedral.py: transposed if v & 4, then rows reversed if v & 2, then columns
// if v & 1.
//
// One thread per pixel, x and y; z counts pictures or views.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

struct Place {
    u32 picture; // or view
    u64 y, x;
};

__device__ u64 at(const float *, Place p, u64 height, u64 width, u64 channel) {
    return ((p.picture * 3 + channel) * height + p.y) * width + p.x;
}

__device__ u64 at(const u8 *, Place p, u64 height, u64 width, u64 channel) {
    return ((p.picture * height + p.y) * width + p.x) * 3 + channel;
}

__device__ void store(float *target, u64 index, float value) { target[index] = value; }

__device__ void store(u8 *target, u64 index, float value) {
    target[index] = (u8)rintf(fminf(fmaxf(value, 0.0f), 255.0f)); // half to even
}

// Pixel (y, x) of a view that is height x width is this pixel of the upright picture, and the other way round.
__device__ Place upright(u32 view, Place p, u64 height, u64 width) {
    u64 y = view & 2 ? height - 1 - p.y : p.y;
    u64 x = view & 1 ? width - 1 - p.x : p.x;
    Place q = {p.picture, view & 4 ? x : y, view & 4 ? y : x};
    return q;
}

// Pixel (y, x) of the upright picture is this pixel of its view; the view is height x width.
__device__ Place turned(u32 view, Place p, u64 height, u64 width) {
    u64 y = view & 4 ? p.x : p.y;
    u64 x = view & 4 ? p.y : p.x;
    Place q = {p.picture, view & 2 ? height - 1 - y : y, view & 1 ? width - 1 - x : x};
    return q;
}

// `views` views from `first` on of each picture, of height x width, one after the other. Clears the flag if it is
// given.
template <typename Pixel>
__device__ void make_views(const Pixel *source, float *target, u32 *flag, u64 height, u64 width, u64 first, u64 views) {
    u64 x = (u64)blockIdx.x * blockDim.x + threadIdx.x, y = (u64)blockIdx.y * blockDim.y + threadIdx.y;
    u32 z = blockIdx.z, view = (u32)first + z % (u32)views;
    u64 view_height = view & 4 ? width : height, view_width = view & 4 ? height : width;
    if (flag && x == 0 && y == 0 && z == 0)
        *flag = 0;
    if (x >= view_width || y >= view_height)
        return;
    Place there = {z, y, x};
    Place here = upright(view, there, view_height, view_width);
    here.picture = z / (u32)views;
    for (u64 channel = 0; channel < 3; channel++)
        store(target, at(target, there, view_height, view_width, channel),
              (float)source[at(source, here, height, width, channel)]);
}

// The mean of 8 views of one picture, or pictures as they are (views = 1); height x width are those of the result.
// `straight` are the pictures or the views 0 to 3, `transposed` the views 4 to 7; `chunk` of them follow one another,
// then the next ones are `stride` floats behind the beginning of these. Sets the flag at a NaN or infinity.
template <typename Pixel>
__device__ void make_mean(const float *straight, const float *transposed, Pixel *target, u32 *flag, u64 height,
                          u64 width, u64 views, u64 chunk, u64 stride) {
    u64 x = (u64)blockIdx.x * blockDim.x + threadIdx.x, y = (u64)blockIdx.y * blockDim.y + threadIdx.y;
    u32 z = blockIdx.z;
    if (x >= width || y >= height)
        return;
    Place here = {z, y, x};
    for (u64 channel = 0; channel < 3; channel++) {
        float sum = 0.0f;
        for (u32 view = 0; view < views; view++) {
            u32 index = views == 1 ? z : view & 3;
            u64 view_height = view & 4 ? width : height, view_width = view & 4 ? height : width;
            const float *source = (view & 4 ? transposed : straight) + index / (u32)chunk * stride;
            Place there = turned(view, here, view_height, view_width);
            there.picture = index % (u32)chunk;
            sum += source[at(source, there, view_height, view_width, channel)];
        }
        if (!(fabsf(sum) <= 3.402823466e38f))
            *flag = 1;
        store(target, at(target, here, height, width, channel), sum / (float)views);
    }
}

extern "C" __global__ void views_of_bytes(u64 source, u64 target, u64 flag, u64 height, u64 width, u64 first,
                                          u64 views) {
    make_views((const u8 *)source, (float *)target, (u32 *)flag, height, width, first, views);
}

extern "C" __global__ void views_of_floats(u64 source, u64 target, u64 flag, u64 height, u64 width, u64 first,
                                           u64 views) {
    make_views((const float *)source, (float *)target, (u32 *)flag, height, width, first, views);
}

extern "C" __global__ void mean_as_bytes(u64 straight, u64 transposed, u64 target, u64 flag, u64 height, u64 width,
                                         u64 views, u64 chunk, u64 stride) {
    make_mean((const float *)straight, (const float *)transposed, (u8 *)target, (u32 *)flag, height, width, views,
              chunk, stride);
}

extern "C" __global__ void mean_as_floats(u64 straight, u64 transposed, u64 target, u64 flag, u64 height, u64 width,
                                          u64 views, u64 chunk, u64 stride) {
    make_mean((const float *)straight, (const float *)transposed, (float *)target, (u32 *)flag, height, width, views,
              chunk, stride);
}
