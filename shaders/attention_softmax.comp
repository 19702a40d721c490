// Attention (arXiv 1706.03762): what happens between its matrix products, on the scores of a chunk of queries.
//
//     S = scale q kᵀ, or cap tanh(scale q kᵀ / cap);  P = softmax of S over the keys that a query sees;  o = P v
//     forward   S -> P in place; saves (max S, 1 / sum exp(S - max S)) of each row
//     backward  S -> P from what was saved, dP -> dS = P ∘ (dP - rowsum(P ∘ dP)), times 1 - tanh² under a cap
//
// rowsum(P ∘ dP) is rowsum(do ∘ o), here without another look at o. The products are matmul's: dP = do vᵀ, dv = Pᵀ do,
// dq = scale dS k, dk = scale dSᵀ q. A query sees the keys that are no padding and, if causal, those up to its own
// position, with a window only the last of them. P and dS of all others are 0, also where that leaves none.
//
// S, dP (rows, keys): row r is query r % queries of head r / queries % heads of sample r / per_sample of the chunk.
// With grouped heads `group` queries of a head of keys stand at one position: the query heads that share it.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/math.glsl"
#include "include/rows.glsl"
#include "include/wide.glsl"

layout(constant_id = 2) const uint BACKWARD = 0;
layout(constant_id = 3) const uint CAPPED = 0;
layout(constant_id = 4) const uint QUADS = 0;  // only where LANES is 1: four keys at a time, summed in their order
#include "include/row_quads.glsl"

VKS_BUF_QUADS(0, float, scores);   // S -> P
VKS_BUF_QUADS(1, float, slopes);   // dP -> dS, backward only
VKS_BUF(2, float, stats);    // (rows, 2)
VKS_BUF_IN(3, float, mask);  // (samples, keys), may be absent
VKS_BUF_IN(4, uint, positions);  // (samples, tokens), of a cache: each sample's first counts
VKS_PUSH(5, attention);

struct Row {
    uint at, mask_at;        // first elements
    uint first, end;         // keys that its position sees
};

// Whether the row's query sees key j.
bool sees(Row r, uint j)
{
    return j >= r.first && j < r.end && !((p.flags & 1u) != 0 && VKS_AT(3, mask, r.mask_at + j) == 0.0);
}

float capped(float s)
{
    return CAPPED != 0 ? p.softcap * vks_tanh(s / p.softcap) : s;
}

// Keys that the row's position sees, and perhaps some beside them.
#define EACH_SEEN for (uint j = VKS_ROW_FROM(r.first, lane); j < r.end; j += VKS_ROW_STEP)

void forward(uint row, Row r, bool live, uint lane)
{
    float top = -1e30;
    EACH_SEEN {
        const vec4 s = VKS_ROW_RELOAD(0, scores, r.at + j);
        VKS_ROW_EACH(i)
            if (sees(r, j + i))
                top = max(top, capped(s[i]));
    }
    top = vks_row_max(top);
    float sum = 0.0;
    EACH_SEEN {
        const vec4 s = VKS_ROW_RELOAD(0, scores, r.at + j);
        vec4 e = vec4(0.0);
        VKS_ROW_EACH(i) {
            e[i] = sees(r, j + i) ? vks_exp(capped(s[i]) - top) : 0.0;
            sum += e[i];
        }
        if (live)
            VKS_ROW_STORE(0, scores, r.at + j, e);
    }
    sum = vks_row_sum(sum);
    const float share = sum == 0.0 ? 0.0 : 1.0 / sum;
    if (!live)
        return;
    for (uint j = VKS_ROW_FROM(0, lane); j < p.cols; j += VKS_ROW_STEP) {
        vec4 e = VKS_ROW_RELOAD(0, scores, r.at + j);
        VKS_ROW_EACH(i)
            e[i] = j + i >= r.first && j + i < r.end ? e[i] * share : 0.0;
        VKS_ROW_STORE(0, scores, r.at + j, e);
    }
    if (lane == 0) {
        VKS_AT(2, stats, 2 * row) = top;
        VKS_AT(2, stats, 2 * row + 1) = share;
    }
}

void backward(uint row, Row r, bool live, uint lane)
{
    const float top = VKS_AT(2, stats, 2 * row), share = VKS_AT(2, stats, 2 * row + 1);
    float sum = 0.0;
    EACH_SEEN {
        const vec4 s = VKS_ROW_RELOAD(0, scores, r.at + j), d = VKS_ROW_RELOAD(1, slopes, r.at + j);
        vec4 e = vec4(0.0);
        VKS_ROW_EACH(i)
            if (sees(r, j + i)) {
                e[i] = vks_exp(capped(s[i]) - top) * share;
                sum = fma(e[i], d[i], sum);
            }
        if (live && CAPPED == 0)
            VKS_ROW_STORE(0, scores, r.at + j, e);
    }
    sum = vks_row_sum(sum);
    for (uint j = VKS_ROW_FROM(0, lane); live && j < p.cols; j += VKS_ROW_STEP) {
        vec4 e = VKS_ROW_RELOAD(0, scores, r.at + j), slope = VKS_ROW_RELOAD(1, slopes, r.at + j);
        VKS_ROW_EACH(i) {
            slope[i] -= sum;
            if (CAPPED != 0) {
                const float t = vks_tanh(e[i] / p.softcap);
                e[i] = sees(r, j + i) ? vks_exp(p.softcap * t - top) * share : 0.0;
                slope[i] *= fma(-t, t, 1.0);
            } else if (j + i < r.first || j + i >= r.end) {
                e[i] = 0.0;
            }
            slope[i] = e[i] == 0.0 ? 0.0 : e[i] * slope[i];
        }
        VKS_ROW_STORE(0, scores, r.at + j, e);
        VKS_ROW_STORE(1, slopes, r.at + j, slope);
    }
}

void main()
{
    const bool live = vks_row() < p.rows;
    const uint row = min(vks_row(), p.rows - 1), of_chunk = p.row_first + row;
    Row r;
    r.at = row * p.cols;
    const uint of_bound = vks_divide(of_chunk, p.per_sample).x - p.sample_first;
    r.mask_at = of_bound * p.cols;
    r.first = 0;
    r.end = p.cols;
    if ((p.flags & 2u) != 0) {
        const uint query = p.query_first + vks_divide(of_chunk, p.queries).y;
        const uint start = (p.flags & 4u) != 0 ? VKS_AT(4, positions, of_bound * p.tokens) : p.position;
        r.end = min(start + query / p.group + 1, p.cols);
        r.first = p.window != 0 && r.end > p.window ? r.end - p.window : 0;
    }
    if (BACKWARD == 0)
        forward(row, r, live, vks_row_lane());
    else
        backward(row, r, live, vks_row_lane());
}
