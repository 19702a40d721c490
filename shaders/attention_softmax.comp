// Attention (arXiv 1706.03762): what happens between its matrix products, on the scores of a chunk of queries.
//
//     S = scale q kᵀ, -1e30 where the key is padding or lies after a causal query;  P = softmax(S);  o = P v
//     forward   S -> P in place; saves (max S, 1 / sum exp(S - max S)) of each row
//     backward  S -> P from what was saved, dP -> dS = P ∘ (dP - rowsum(P ∘ dP)), 0 where S is a constant
//
// rowsum(P ∘ dP) is rowsum(do ∘ o), here without another look at o. The products are matmul's: dP = do vᵀ, dv = Pᵀ do,
// dq = scale dS k, dk = scale dSᵀ q. A row whose keys are all masked is the mean of v: the mask is finite.
//
// S, dP (rows, keys): row r is query r % queries of head r / queries % heads of sample r / per_sample of the chunk.
#version 450
#extension GL_GOOGLE_include_directive : enable
#include "include/vks.glsl"
#include "include/index.glsl"
#include "include/math.glsl"
#include "include/rows.glsl"

layout(constant_id = 2) const uint BACKWARD = 0;

VKS_BUF(0, float, scores);  // S -> P
VKS_BUF(1, float, slopes);  // dP -> dS, backward only
VKS_BUF(2, float, stats);   // (rows, 2)
VKS_BUF(3, float, mask);    // (samples, keys), may be absent
VKS_PUSH(4, attention);

struct Row {
    uint at, mask_at;       // first elements
    uint query;
};

bool masked(Row r, uint j)
{
    return ((p.flags & 2u) != 0 && j > r.query) || ((p.flags & 1u) != 0 && VKS_AT(3, mask, r.mask_at + j) == 0.0);
}

float score(Row r, uint j)
{
    return masked(r, j) ? -1e30 : VKS_AT(0, scores, r.at + j);
}

void forward(uint row, Row r, bool live, uint lane)
{
    float top = -1e30;
    for (uint j = lane; j < p.cols; j += LANES)
        top = max(top, score(r, j));
    top = vks_row_max(top);
    float sum = 0.0;
    for (uint j = lane; j < p.cols; j += LANES) {
        const float e = vks_exp(score(r, j) - top);
        sum += e;
        if (live)
            VKS_AT(0, scores, r.at + j) = e;
    }
    const float share = 1.0 / vks_row_sum(sum);
    if (!live)
        return;
    for (uint j = lane; j < p.cols; j += LANES)
        VKS_AT(0, scores, r.at + j) *= share;
    if (lane == 0) {
        VKS_AT(2, stats, 2 * row) = top;
        VKS_AT(2, stats, 2 * row + 1) = share;
    }
}

void backward(uint row, Row r, bool live, uint lane)
{
    const float top = VKS_AT(2, stats, 2 * row), share = VKS_AT(2, stats, 2 * row + 1);
    float sum = 0.0;
    for (uint j = lane; j < p.cols; j += LANES) {
        const float e = vks_exp(score(r, j) - top) * share;
        sum = fma(e, VKS_AT(1, slopes, r.at + j), sum);
        if (live)
            VKS_AT(0, scores, r.at + j) = e;
    }
    sum = vks_row_sum(sum);
    for (uint j = lane; live && j < p.cols; j += LANES)
        VKS_AT(1, slopes, r.at + j) = masked(r, j) ? 0.0 : VKS_AT(0, scores, r.at + j) * (VKS_AT(1, slopes, r.at + j) - sum);
}

void main()
{
    const bool live = vks_row() < p.rows;
    const uint row = min(vks_row(), p.rows - 1), of_chunk = p.row_first + row;
    Row r;
    r.at = row * p.cols;
    r.mask_at = (vks_divide(of_chunk, p.per_sample).x - p.sample_first) * p.cols;
    r.query = p.query_first + vks_divide(of_chunk, p.queries).y;
    if (BACKWARD == 0)
        forward(row, r, live, vks_row_lane());
    else
        backward(row, r, live, vks_row_lane());
}
