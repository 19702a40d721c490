// The sampler: cases by hand, what transformers' processors leave (golden/sampler.py), and the draws.
#include "models/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "test.h"

#ifndef VKS_TEST_DATA
#define VKS_TEST_DATA "tests/golden/data"
#endif
#define MOST 512

// ---- cases by hand

static const float five[] = {1, 3, -2, 3, 0};

static size_t filtered(struct test *t, const struct vks_sampler_params *params, const float *logits, uint32_t count,
                       const int32_t *history, size_t history_count, int32_t ids[])
{
    struct vks_sampler *sampler = vks_sampler_create(test_log(t), count);
    size_t left = 0;
    const struct vks_sampler_candidate *c =
        sampler ? vks_sampler_filter(sampler, params, logits, history, history_count, 2, &left) : NULL;
    for (size_t i = 0; c && i < left; i++)
        ids[i] = c[i].id;
    vks_sampler_destroy(&sampler);
    return c ? left : 0;
}

static void the_first_of_equals_wins(struct test *t)
{
    int32_t ids[5];
    CHECK(t, filtered(t, &(struct vks_sampler_params){0}, five, 5, NULL, 0, ids) == 1 && ids[0] == 1);
    CHECK(t, filtered(t, &(struct vks_sampler_params){.temperature = 1, .top_k = 3}, five, 5, NULL, 0, ids) == 3);
    CHECK(t, ids[0] == 1 && ids[1] == 3 && ids[2] == 0);
    // Half the mass and a little: the two largest are equal.
    CHECK(t, filtered(t, &(struct vks_sampler_params){.temperature = 1, .top_p = 0.45}, five, 5, NULL, 0, ids) == 1);
    CHECK(t, filtered(t, &(struct vks_sampler_params){.temperature = 1, .top_p = 0.5}, five, 5, NULL, 0, ids) == 2);
    CHECK(t, filtered(t, &(struct vks_sampler_params){.temperature = 1, .min_p = 1}, five, 5, NULL, 0, ids) == 2);
    // exp(-2) = 0.1353: the third is let in just below it.
    struct vks_sampler_params least = {.temperature = 1, .min_p = 0.1354};
    CHECK(t, filtered(t, &least, five, 5, NULL, 0, ids) == 2);
    least.min_p = 0.1353;
    CHECK(t, filtered(t, &least, five, 5, NULL, 0, ids) == 3);
    CHECK(t, filtered(t, &(struct vks_sampler_params){.temperature = 1}, five, 5, NULL, 0, ids) == 5 && ids[4] == 2);
}

static void the_penalty_counts_once_and_forgets(struct test *t)
{
    const int32_t history[] = {3, 1, 1, 1, 0};
    const struct vks_sampler_params all = {.repeat_penalty = 2}, last = {.repeat_penalty = 2, .repeat_last = 4};
    const float logits[] = {2, 3, -1, 3.5f, 1.6f};  // all: 1, 1.5, -1, 1.75, 1.6
    int32_t ids[5];
    CHECK(t, filtered(t, &all, logits, 5, history, 5, ids) == 1 && ids[0] == 3);
    CHECK(t, filtered(t, &last, logits, 5, history, 5, ids) == 1 && ids[0] == 3);
    const float closer[] = {2, 3, -1, 3.1f, 1.6f};  // all: 1, 1.5, -1, 1.55, 1.6; without the first: 3.1
    CHECK(t, filtered(t, &all, closer, 5, history, 5, ids) == 1 && ids[0] == 4);
    CHECK(t, filtered(t, &last, closer, 5, history, 5, ids) == 1 && ids[0] == 3);
    // Sixty-five tokens: the first is out of sight of the default of 64.
    int32_t many[65] = {3};
    CHECK(t, filtered(t, &all, closer, 5, many, 65, ids) == 1 && ids[0] == 3);
    CHECK(t, filtered(t, &all, closer, 5, many, 64, ids) == 1 && ids[0] == 1);
    const float negative[] = {-1, -1.5f};
    CHECK(t, filtered(t, &all, negative, 2, (const int32_t[]){0, 9, -1}, 3, ids) == 1 && ids[0] == 1);
}

static void nonsense_is_refused(struct test *t)
{
    float bad[] = {0, NAN, 1};
    int32_t ids[3];
    CHECK_REFUSED(t, filtered(t, &(struct vks_sampler_params){0}, bad, 3, NULL, 0, ids), "not a number");
    bad[1] = INFINITY;
    const struct vks_sampler_params plain = {.temperature = 1};
    CHECK_REFUSED(t, filtered(t, &plain, bad, 3, NULL, 0, ids), "not a number");
    CHECK_REFUSED(t, vks_sampler_check(test_log(t), &(struct vks_sampler_params){.temperature = -1}), "temperature");
    CHECK_REFUSED(t, vks_sampler_check(test_log(t), &(struct vks_sampler_params){.top_p = 1.5}), "top-p");
    CHECK_REFUSED(t, vks_sampler_check(test_log(t), &(struct vks_sampler_params){.min_p = NAN}), "min-p");
    CHECK_REFUSED(t, vks_sampler_check(test_log(t), &(struct vks_sampler_params){.repeat_penalty = 1e-4}), "penalty");
}

// ---- transformers

struct golden {
    struct vks_sampler_params params;
    uint32_t vocabulary, history_count, kept;
    float logits[MOST];
    int32_t history[MOST], ids[MOST];
    double p[MOST];
};

static bool read_case(FILE *file, struct golden *g)
{
    struct vks_sampler_params *p = &g->params;
    if (fscanf(file, "%lf %u %lf %lf %lf %u %u %u %u", &p->temperature, &p->top_k, &p->top_p, &p->min_p,
               &p->repeat_penalty, &p->repeat_last, &g->vocabulary, &g->history_count, &g->kept) != 9 ||
        g->vocabulary > MOST || g->history_count > MOST || g->kept > MOST)
        return false;
    int read = 0;
    for (uint32_t i = 0; i < g->vocabulary; i++)
        read += fscanf(file, "%f", &g->logits[i]);
    for (uint32_t i = 0; i < g->history_count; i++)
        read += fscanf(file, "%d", &g->history[i]);
    for (uint32_t i = 0; i < g->kept; i++)
        read += fscanf(file, "%d", &g->ids[i]);
    for (uint32_t i = 0; i < g->kept; i++)
        read += fscanf(file, "%lf", &g->p[i]);
    return read == (int)(g->vocabulary + g->history_count + 2 * g->kept);
}

static void filters_are_those_of_transformers(struct test *t)
{
    static struct golden g;
    FILE *file = fopen(VKS_TEST_DATA "/sampler.txt", "r");
    int cases = 0;
    CHECK(t, file);
    for (; read_case(file, &g); cases++) {
        struct vks_sampler *sampler = vks_sampler_create(test_log(t), g.vocabulary);
        size_t left = 0;
        const struct vks_sampler_candidate *c = sampler ? vks_sampler_filter(
            sampler, &g.params, g.logits, g.history, g.history_count, 2, &left) : NULL;
        EXPECT(t, c && left == g.kept, "case %d: %zu tokens are left, not %u", cases, left, g.kept);
        for (uint32_t i = 0; c && i < left && !t->bad; i++)
            EXPECT(t, c[i].id == g.ids[i] && fabs(c[i].p - g.p[i]) <= 1e-5 * g.p[i] + 1e-9,
                   "case %d, place %u: %d with %g, not %d with %g", cases, i, c[i].id, c[i].p, g.ids[i], g.p[i]);
        // The draw is the first token at which the sum of these exceeds u.
        for (uint32_t offset = 0; offset < 50 && c && !t->bad; offset++) {
            const struct vks_sampler_place place = {cases, 7, offset};
            double u = vks_sampler_uniform(&place), sum = 0;
            uint32_t i = 0;
            while (i + 1 < g.kept && (sum += g.p[i]) <= u)
                i++;
            const int32_t id = vks_sampler_draw(sampler, &g.params, g.logits, g.history, g.history_count, &place);
            EXPECT(t, id == g.ids[i] || fabs(sum - u) < 1e-5, "case %d: draw %u gives %d, not %d", cases, offset, id,
                   g.ids[i]);
        }
        vks_sampler_destroy(&sampler);
    }
    EXPECT(t, feof(file) && cases == 38, "%d cases", cases);
    fclose(file);
}

// ---- draws

// Nothing lies below a share of 1, so that no depth has to be looked into.
static void a_share_of_all_leaves_one(struct test *t)
{
    const float logits[] = {0.5f, 3, 1, 2.5f};
    const struct vks_sampler_params params = {.temperature = 1, .top_k = 3, .top_p = 0.95, .min_p = 1};
    struct vks_sampler *sampler = vks_sampler_create(test_log(t), 4);
    size_t left = 0;
    const struct vks_sampler_candidate *c = vks_sampler_filter(sampler, &params, logits, NULL, 0, 2, &left);
    CHECK(t, c && left == 1 && c[0].id == 1 && c[0].p == 1);
    vks_sampler_destroy(&sampler);
}

static void draws_follow_the_probabilities(struct test *t)
{
    enum { DRAWS = 4000 };
    const struct vks_sampler_params params = {.temperature = 1};
    double total = 0;
    int counts[5] = {0};
    struct vks_sampler *sampler = vks_sampler_create(test_log(t), 5);
    CHECK(t, sampler);
    for (uint32_t i = 0; i < DRAWS; i++) {
        const struct vks_sampler_place place = {11, i % 40, i / 40};
        const int32_t id = vks_sampler_draw(sampler, &params, five, NULL, 0, &place);
        EXPECT(t, id >= 0 && id < 5, "token %d", id);
        counts[id >= 0 && id < 5 ? id : 0]++;
    }
    for (int i = 0; i < 5; i++)
        total += exp(five[i]);
    for (int i = 0; i < 5; i++) {
        const double p = exp(five[i]) / total, deviation = sqrt(p * (1 - p) * DRAWS);
        EXPECT(t, fabs(counts[i] - p * DRAWS) < 4 * deviation, "token %d came %d times in %d, expected %g", i,
               counts[i], DRAWS, p * DRAWS);
    }
    vks_sampler_destroy(&sampler);
}

static void places_are_all_that_counts(struct test *t)
{
    const struct vks_sampler_place place = {1, 2, 3};
    const struct vks_sampler_place others[] = {{2, 2, 3}, {1, 3, 3}, {1, 2, 4}, {1 + (1ull << 32), 2, 3}};
    const double u = vks_sampler_uniform(&place);
    CHECK(t, u > 0 && u < 1 && u == vks_sampler_uniform(&place));
    for (int i = 0; i < 4; i++)
        EXPECT(t, vks_sampler_uniform(&others[i]) != u, "place %d has the number of another", i);
}

int main(void)
{
    struct test t = {0};
    TEST(&t, the_first_of_equals_wins);
    TEST(&t, the_penalty_counts_once_and_forgets);
    TEST(&t, nonsense_is_refused);
    TEST(&t, filters_are_those_of_transformers);
    TEST(&t, a_share_of_all_leaves_one);
    TEST(&t, draws_follow_the_probabilities);
    TEST(&t, places_are_all_that_counts);
    return test_summary(&t);
}
