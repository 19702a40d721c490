// Attention (arXiv 1706.03762) in one walk, on CPU drivers: scores never reach memory. For queries q, keys k and
// values v of one head:
//
//     S = scale q kᵀ;  P = exp(S - max S) / sum exp(S - max S);  o = P v
//     FORWARD   o, and (max S, 1 / sum) of each query
//     QUERIES   dq = scale (sum_j P_j dP_j k_j - D sum_j P_j k_j), where dP = do vᵀ and D = sum_j P_j dP_j, which is
//               kept. The difference loses hardly more digits than dP - D would, and a second walk is saved
//     KEYS      dv = Pᵀ do;  dk = scale dSᵀ q, where dS = P ∘ (dP - D)
//
// The softmax is taken as the walk goes: when a larger score comes, what is summed so far shrinks by the exponential
// of the difference (arXiv 1805.02867, algorithm 3; arXiv 2205.14135).
//
// A subgroup owns LANES WIDTH rows of one head, queries or in KEYS keys, whose vectors and sums lie in each lane's
// registers (what does not fit spills to the first cache), and walks along the rows of the other side, STEP a turn. A
// lane loads four channels of a walked row and hands them to all by subgroupBroadcast with literal lane numbers, for
// the reasons in include/matmul_cpu.glsl.
//
// q, k, v, o: (samples, rows, heads, CHANNELS). No result depends on WIDTH, on LANES or on how samples are cut.
//
// Without mask; or, FORWARD alone, over a cache of keys and values (CACHED): a query sees the keys up to its position,
// with a window only the last of them, and `group` query heads share a head of keys: query r of that is the one of
// token r / group and head r % group among them. What a subgroup's rows do not see is not walked.
//
// Forward, four heads, two cores with AVX-512, Mesa 25.0, in milliseconds; by products and softmax (attention.c):
//     32 samples, 64 queries and keys of 16 channels     0.43    1.5
//     2 samples, 256 queries and keys of 64 channels     0.93    3.1
// With a walked row's channels side by side in the lanes: 0.49 and 1.3, as all sums go to memory and back for each row.
// One row a lane in place of four: 0.8 and more. The next rows loaded before the products of these: no gain.
#version 450
#extension GL_GOOGLE_include_directive : enable
#define VKS_LOCAL LANES
#include "include/vks.glsl"
#include "include/math.glsl"
#include "include/wide.glsl"
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require

#define FORWARD 0
#define QUERIES 1
#define KEYS 2
#define STEP 4  // rows a turn

layout(constant_id = 1) const uint MODE = FORWARD;
layout(constant_id = 2) const uint CHANNELS = 16;  // of a head, a multiple of four
layout(constant_id = 3) const uint WIDTH = 4;      // rows a lane
#define TAIL 1u    // the walked rows are no multiple of STEP
#define CACHED 2u
#define HALVES 4u  // the walked rows are of fp16
#define AGAIN 8u   // sums go on from a dispatch before, which walked the rows before these
#define MORE 16u   // and to one that comes
layout(constant_id = 4) const uint FLAGS = TAIL;

VKS_BUF_QUADS_IN(0, float, own1);   // q; KEYS: k
VKS_BUF_QUADS_IN(1, float, own2);   // QUERIES: do; KEYS: v; CACHED: positions, (samples, tokens) of uint
VKS_BUF_QUADS_IN(2, float, walk1);  // k; KEYS: q
VKS_BUF_HALVES_IN(2, walk1);
VKS_BUF_QUADS_IN(3, float, walk2);  // v; KEYS: do
VKS_BUF_HALVES_IN(3, walk2);
VKS_BUF(4, float, stats);           // (samples, heads, queries, 2)
VKS_BUF(5, float, sums);            // D (samples, heads, queries), backward
VKS_BUF_QUADS(6, float, out1);      // o; QUERIES: dq; KEYS: dk
VKS_BUF_QUADS(7, float, out2);      // KEYS: dv; QUERIES, where sums go on: the second sum
VKS_PUSH(8, attention_cpu);

#if LANES == 4
#define EACH(DO) DO(0) DO(1) DO(2) DO(3)
#elif LANES == 8
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#else
#define EACH(DO) \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#endif

#define UNROLL(i, count) [[unroll]] for (int i = 0; i < int(count); i++)

const uint LOADS = (CHANNELS + LANES - 1) / LANES;  // of four channels a lane, for STEP rows
#define STRETCH (4 * LANES)  // walked rows that are touched together

// Each [channel * WIDTH + row]: the lane's rows, and what they sum.
float own_a[CHANNELS * WIDTH], own_b[CHANNELS * WIDTH], sum_a[CHANNELS * WIDTH], sum_b[CHANNELS * WIDTH];
// Of each row. Scores, and so the maximum that is saved, are times log2 e: powers of 2 cost less than those of e.
float top[WIDTH], share[WIDTH], sum[WIDTH];
vec4 walk_a[LOADS], walk_b[LOADS];       // the lane's part of STEP walked rows
float s[STEP * WIDTH], t[STEP * WIDTH];  // [walked row * WIDTH + row]: scores and dP, then weights in sum_a and sum_b

// Load n of lane i are four channels, from CHANNEL(PART(n, i)) on, of walked row ROW(PART(n, i)). Rows come first, so
// that what four rows of a channel meet is in registers for all of them.
#define PART(n, i) ((n) * LANES + (i))
#define ROW(part) ((part) % STEP)
#define CHANNEL(part) ((part) / STEP * 4)

uint end[WIDTH], start[WIDTH];              // CACHED: keys that each row sees

uint row_of(int r) { return (vks_group() * WIDTH + r) * LANES + gl_SubgroupInvocationID; }

// First element of an owned row of the workgroup's head.
uint own_at(uint row)
{
    const uint head = gl_WorkGroupID.z % p.heads, batch = gl_WorkGroupID.z / p.heads;
    if ((FLAGS & CACHED) == 0)
        return ((batch * p.owned + row) * p.heads + head) * CHANNELS;
    const uint token = row / p.group;  // among p.owned / p.group
    return batch * p.owned * p.heads * CHANNELS + ((token * p.heads + head) * p.group + row % p.group) * CHANNELS;
}

// What load_own will read, and finish write.
uint touch_own()
{
    uint touched = 0;
    UNROLL(r, WIDTH) {
        const uint at = own_at(min(row_of(r), p.owned - 1));
        VKS_TOUCH_RUN(touched, 0, at, CHANNELS);
        VKS_TOUCH_RUN(touched, 6, at, CHANNELS);
        if (MODE != FORWARD)
            VKS_TOUCH_RUN(touched, 1, at, CHANNELS);
        if (MODE == KEYS)
            VKS_TOUCH_RUN(touched, 7, at, CHANNELS);
    }
    return touched;
}

// Walked rows [k, end), row 0 at element `at`.
uint touch_walked(uint at, uint stride, uint k, uint end)
{
    const uint each = (FLAGS & HALVES) != 0 ? 2 : 1;  // elements of a word
    uint touched = 0;
    for (k += gl_SubgroupInvocationID; k < end; k += LANES) {
        VKS_TOUCH_RUN(touched, 2, (at + k * stride) / each, CHANNELS / each);
        VKS_TOUCH_RUN(touched, 3, (at + k * stride) / each, CHANNELS / each);
    }
    return touched;
}

// Queries are scaled, whoever owns them, so that scores have the same bits in all modes: the maximum bounds them.
void load_own(uint query_at)
{
    const float scale = MODE == KEYS ? 1.0 : p.scale * 1.44269504;
    UNROLL(r, WIDTH) {
        const uint row = min(row_of(r), p.owned - 1), at = own_at(row);
        const bool again = (FLAGS & AGAIN) != 0;
        UNROLL(c, CHANNELS / 4) {
            const vec4 a = VKS_LOAD4(0, own1, at + 4 * c);
            const vec4 b = MODE == FORWARD ? vec4(0) : VKS_LOAD4(1, own2, at + 4 * c);
            const vec4 from_a = again ? VKS_RELOAD4(6, out1, at + 4 * c) : vec4(0);
            const vec4 from_b = again && MODE != FORWARD ? VKS_RELOAD4(7, out2, at + 4 * c) : vec4(0);
            UNROLL(j, 4) {
                const uint e = (4 * c + j) * WIDTH + r;
                own_a[e] = scale * a[j];
                own_b[e] = b[j];
                sum_a[e] = from_a[j];
                sum_b[e] = from_b[j];
            }
        }
        const uint query = query_at + p.own_first + row;
        top[r] = MODE == QUERIES || (MODE == FORWARD && again) ? VKS_AT(4, stats, 2 * query) : -1e30;
        share[r] = MODE == QUERIES ? VKS_AT(4, stats, 2 * query + 1) : 0.0;
        sum[r] = !again || MODE == KEYS ? 0.0 : MODE == FORWARD ? VKS_AT(4, stats, 2 * query + 1)
                                                                : VKS_AT(5, sums, query);
    }
}

// The keys that a row of a cache sees: [start, end).
void find_keys(uint row, out uint start, out uint end)
{
    const uint at = floatBitsToUint(VKS_AT(1, own2, gl_WorkGroupID.z / p.heads * p.tokens));
    end = min(at + (p.own_first + min(row, p.owned - 1)) / p.group + 1, p.walked);
    start = p.window != 0 && end > p.window ? end - p.window : 0;
}

vec4 load_walked(bool second, uint at)
{
    if ((FLAGS & HALVES) != 0)
        return second ? VKS_LOAD4_HALVES(3, walk2, at) : VKS_LOAD4_HALVES(2, walk1, at);
    return second ? VKS_LOAD4(3, walk2, at) : VKS_LOAD4(2, walk1, at);
}

// Whether a row sees the one that is walked.
bool sees(int r, uint k)
{
    return (FLAGS & CACHED) != 0 ? k >= start[r] && k < end[r] : (FLAGS & TAIL) == 0 || k < p.walked;
}

// s and t: products of own rows with walked ones.
void multiply()
{
    UNROLL(i, STEP * WIDTH) {
        s[i] = 0.0;
        t[i] = 0.0;
    }
    UNROLL(n, LOADS) {
#define DO(i) { \
        const int of = ROW(PART(n, i)), c = CHANNEL(PART(n, i)); \
        if (c < CHANNELS) { \
            const vec4 a = subgroupBroadcast(walk_a[n], i), b = subgroupBroadcast(walk_b[n], i); \
            UNROLL(j, 4) \
                UNROLL(r, WIDTH) { \
                    s[of * WIDTH + r] = fma(own_a[(c + j) * WIDTH + r], a[j], s[of * WIDTH + r]); \
                    if (MODE != FORWARD) \
                        t[of * WIDTH + r] = fma(own_b[(c + j) * WIDTH + r], b[j], t[of * WIDTH + r]); \
                } \
        } }
        EACH(DO)
#undef DO
    }
}

// s: exp(S - max), of which the maximum so far may be new.
void weigh_forward(uint k)
{
    UNROLL(r, WIDTH) {
        float most = top[r];
        UNROLL(i, STEP) {
            most = sees(r, k + i) ? max(most, s[i * WIDTH + r]) : most;
        }
        const float shrink = vks_exp2(top[r] - most);
        top[r] = most;
        UNROLL(i, STEP) {
            s[i * WIDTH + r] = sees(r, k + i) ? vks_exp2(s[i * WIDTH + r] - most) : 0.0;
            sum[r] = fma(sum[r], i == 0 ? shrink : 1.0, s[i * WIDTH + r]);
        }
        UNROLL(c, CHANNELS)
            sum_a[c * WIDTH + r] *= shrink;
    }
}

// t: P. s: P dP in QUERIES, whose sum is D, and dS in KEYS.
void weigh_backward(uint k, uint query_at)
{
    vec4 of_query = vec4(0);  // KEYS: lane i has the statistics and D of walked row i
    if (MODE == KEYS) {
        const uint at = query_at + min(k + gl_SubgroupInvocationID % STEP, p.walked - 1);
        of_query = vec4(VKS_AT(4, stats, 2 * at), VKS_AT(4, stats, 2 * at + 1), VKS_AT(5, sums, at), 0);
    }
#define DO(i) { \
    const vec4 known = MODE == KEYS ? subgroupBroadcast(of_query, i) : vec4(0); \
    UNROLL(r, WIDTH) { \
        float e = MODE == KEYS ? vks_exp2(s[i * WIDTH + r] - known.x) * known.y \
                               : vks_exp2(s[i * WIDTH + r] - top[r]) * share[r]; \
        e = sees(r, k + i) ? e : 0.0; \
        const float slope = e == 0.0 ? 0.0 : t[i * WIDTH + r] - known.z; \
        s[i * WIDTH + r] = e * slope; \
        t[i * WIDTH + r] = e; \
        sum[r] = fma(e, slope, sum[r]); \
    } }
    DO(0) DO(1) DO(2) DO(3)
#undef DO
}

// sum_a and sum_b: walked rows by their weights.
void accumulate()
{
    UNROLL(n, LOADS) {
#define DO(i) { \
        const int of = ROW(PART(n, i)), c = CHANNEL(PART(n, i)); \
        if (c < CHANNELS) { \
            const vec4 a = subgroupBroadcast(MODE == FORWARD ? walk_b[n] : walk_a[n], i); \
            const vec4 b = subgroupBroadcast(MODE == KEYS ? walk_b[n] : walk_a[n], i); \
            UNROLL(j, 4) \
                UNROLL(r, WIDTH) { \
                    const int e = (c + j) * int(WIDTH) + r; \
                    sum_a[e] = fma(s[of * WIDTH + r], a[j], sum_a[e]); \
                    if (MODE != FORWARD) \
                        sum_b[e] = fma(t[of * WIDTH + r], b[j], sum_b[e]); \
                } \
        } }
        EACH(DO)
#undef DO
    }
}

void finish(int r, uint at, uint query)
{
    const bool more = (FLAGS & MORE) != 0;
    if (MODE == FORWARD) {
        share[r] = more ? sum[r] : sum[r] == 0.0 ? 0.0 : 1.0 / sum[r];
        VKS_AT(4, stats, 2 * query) = top[r];
        VKS_AT(4, stats, 2 * query + 1) = share[r];
    } else if (MODE == QUERIES) {
        VKS_AT(5, sums, query) = sum[r];
    }
    UNROLL(c, CHANNELS / 4) {
        vec4 a, b;
        UNROLL(j, 4) {
            const uint e = (4 * c + j) * WIDTH + r;
            a[j] = more              ? sum_a[e]
                   : MODE == FORWARD ? share[r] * sum_a[e]
                   : MODE == QUERIES ? p.scale * fma(-sum[r], sum_b[e], sum_a[e])
                                     : 0.69314718 * sum_a[e];
            b[j] = sum_b[e];
        }
        VKS_STORE4(6, out1, at + 4 * c, a);
        if (MODE == KEYS || (MODE == QUERIES && more))
            VKS_STORE4(7, out2, at + 4 * c, b);
    }
}

void main()
{
    if (vks_group() * LANES * WIDTH >= p.owned)
        return;
    const uint head = gl_WorkGroupID.z % p.heads, batch = gl_WorkGroupID.z / p.heads;
    const uint stride = p.heads * CHANNELS, query_at = gl_WorkGroupID.z * p.queries;
    uint touched = touch_own();
    uint from = p.walk_first, to = p.walk_end;
    if ((FLAGS & CACHED) != 0) {
        UNROLL(r, WIDTH)
            find_keys(row_of(r), start[r], end[r]);
        uint first, last, unused;
        find_keys(vks_group() * WIDTH * LANES, first, unused);
        find_keys((vks_group() + 1) * WIDTH * LANES - 1, unused, last);
        from = max(from, first & ~(STEP - 1));
        to = min(to, last);
    }
    const uint walked_at = (batch * p.walk_rows - p.walk_first) * stride + head * CHANNELS;
    uint part_row[LOADS], part_at[LOADS];
    UNROLL(n, LOADS) {
        const uint part = min(PART(n, gl_SubgroupInvocationID), CHANNELS - 1);
        part_row[n] = ROW(part);
        part_at[n] = walked_at + CHANNEL(part) + ((FLAGS & TAIL) == 0 ? part_row[n] * stride : 0);
    }
    touched |= touch_walked(walked_at, stride, from, min(from + STRETCH, to));
    load_own(query_at);
    for (uint k = from; k < to;) {
        const uint stretch = min(k + STRETCH, to);
        touched |= touch_walked(walked_at, stride, stretch, min(stretch + STRETCH, to));
        for (; k < stretch; k += STEP) {
            UNROLL(n, LOADS) {
                const uint row = (FLAGS & TAIL) == 0 ? k : min(k + part_row[n], p.walk_end - 1);
                const uint at = part_at[n] + row * stride;
                walk_a[n] = load_walked(false, at) * (MODE == KEYS ? p.scale * 1.44269504 : 1.0);
                walk_b[n] = load_walked(true, at);
            }
            multiply();
            if (MODE == FORWARD)
                weigh_forward(k);
            else
                weigh_backward(k, query_at);
            accumulate();
        }
    }
    UNROLL(r, WIDTH)
        if (row_of(r) < p.owned)
            finish(r, own_at(row_of(r)), query_at + p.own_first + row_of(r));
    VKS_TOUCHED(6, out1, touched);
}
