// Philox against the published answers, and the noise against the values that torch.randn gives on CUDA.
#include "base/philox.h"

#include <math.h>

#include "test.h"

// Known answers of the authors' library Random123 (kat_vectors, philox4x32-10).
static void known_answers(struct test *t)
{
    static const uint32_t cases[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
         0x24126ea1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t counter[4];
        memcpy(counter, cases[i], sizeof(counter));
        vks_philox(counter, cases[i] + 4);
        EXPECT(t, memcmp(counter, cases[i] + 6, sizeof(counter)) == 0, "case %zu gives %08x", i, counter[0]);
    }
}

static void image_noise(struct test *t)
{
    // torch.manual_seed(0); torch.randn(12, device="cuda")
    static const double wanted[12] = {-0.92466259, -0.42534415, -2.6438457,  0.14518388,  -0.12086647, -0.57972564,
                                      -0.62285122, -0.32838709, -1.07454231, -0.36314407, -1.67105067, 2.26550497};
    float values[12];
    vks_noise_normal(&(struct vks_noise){.seed = 0}, values, 12);
    for (int i = 0; i < 12; i++)
        EXPECT(t, fabs(values[i] - wanted[i]) < 1e-6, "value %d is %.8f, not %.8f", i, values[i], wanted[i]);
}

static void moments(struct test *t)
{
    enum { COUNT = 100000 };
    static float a[COUNT], b[COUNT];
    vks_noise_normal(&(struct vks_noise){.seed = 7, .domain = VKS_NOISE_TARGET, .stream = 3}, a, COUNT);
    vks_noise_normal(&(struct vks_noise){.seed = 7, .domain = VKS_NOISE_SOURCE, .stream = 3}, b, COUNT);
    double sum = 0, square = 0, fourth = 0, both = 0;
    for (int i = 0; i < COUNT; i++) {
        sum += a[i];
        square += (double)a[i] * a[i];
        fourth += pow(a[i], 4);
        both += (double)a[i] * b[i];
    }
    EXPECT(t, fabs(sum / COUNT) < 0.013, "mean %g", sum / COUNT);
    EXPECT(t, fabs(square / COUNT - 1) < 0.02, "variance %g", square / COUNT);
    EXPECT(t, fabs(fourth / COUNT - 3) < 0.15, "fourth moment %g", fourth / COUNT);
    EXPECT(t, fabs(both / COUNT) < 0.013, "correlation of two domains %g", both / COUNT);
}

static void shuffle(struct test *t)
{
    enum { COUNT = 37 };
    uint32_t order[COUNT], again[COUNT];
    int seen[COUNT] = {0}, moved = 0;
    const struct vks_noise noise = {.seed = 5, .domain = VKS_NOISE_SHUFFLE, .offset = 2};
    vks_noise_shuffle(&noise, order, COUNT);
    vks_noise_shuffle(&noise, again, COUNT);
    CHECK(t, memcmp(order, again, sizeof(order)) == 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        CHECK(t, order[i] < COUNT);
        seen[order[i]]++;
        moved += order[i] != i;
    }
    for (int i = 0; i < COUNT; i++)
        EXPECT(t, seen[i] == 1, "%d comes %d times", i, seen[i]);
    EXPECT(t, moved > COUNT / 2, "only %d of %d moved", moved, COUNT);
}

int main(void)
{
    struct test t = {0};
    TEST(&t, known_answers);
    TEST(&t, image_noise);
    TEST(&t, moments);
    TEST(&t, shuffle);
    return test_summary(&t);
}
