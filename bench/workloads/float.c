/* Floating point in double precision, round to nearest: planets, a spectral norm, a fractal, the C
 * library's functions, conversions. Contraction to fused operations is off, so results agree. */
#include <math.h>
#include <string.h>

#include "work.h"

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

#define BODIES 5
#define STEPS 1000u

struct body {
    double place[3], speed[3], mass;
};

static void attract(struct body *bodies, double step)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            double apart[3], square = 0.01;
            for (int k = 0; k < 3; k++) {
                apart[k] = bodies[i].place[k] - bodies[j].place[k];
                square += apart[k] * apart[k];
            }
            double pull = step / (square * sqrt(square));
            for (int k = 0; k < 3; k++) {
                bodies[i].speed[k] -= apart[k] * bodies[j].mass * pull;
                bodies[j].speed[k] += apart[k] * bodies[i].mass * pull;
            }
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            bodies[i].place[k] += step * bodies[i].speed[k];
}

static uint64_t nbody(uint64_t scale, uint64_t *units)
{
    struct body bodies[BODIES];
    uint64_t seed = 77, sum = 0;
    for (int i = 0; i < BODIES; i++) {
        for (int k = 0; k < 3; k++) {
            bodies[i].place[k] = (double)(next_random(&seed) % 2000) / 100 - 10;
            bodies[i].speed[k] = (double)(next_random(&seed) % 200) / 100 - 1;
        }
        bodies[i].mass = i ? 0.05 * i : 40;
    }
    for (uint64_t n = 0; n < scale * STEPS; n++)
        attract(bodies, 0.001);
    for (int i = 0; i < BODIES; i++)
        sum = mixed(sum, bits_of(bodies[i].place[0]));
    *units += scale * STEPS;
    return sum;
}

#define RANK 160

static double element(int row, int column)
{
    int diagonal = row + column;
    return 1.0 / (double)(diagonal * (diagonal + 1) / 2 + row + 1);
}

static void times(const double *vector, double *result, int transposed)
{
    for (int i = 0; i < RANK; i++) {
        double sum = 0;
        for (int j = 0; j < RANK; j++)
            sum += (transposed ? element(j, i) : element(i, j)) * vector[j];
        result[i] = sum;
    }
}

static uint64_t spectral(uint64_t scale, uint64_t *units)
{
    double u[RANK], v[RANK], middle[RANK], product = 0, square = 0;
    for (int i = 0; i < RANK; i++)
        u[i] = 1;
    for (uint64_t turn = 0; turn < scale; turn++) {
        times(u, middle, 0), times(middle, v, 1);
        times(v, middle, 0), times(middle, u, 1);
        double largest = u[0];
        for (int i = 0; i < RANK; i++)
            u[i] /= largest;
    }
    for (int i = 0; i < RANK; i++)
        product += u[i] * v[i], square += v[i] * v[i];
    *units += scale * 4 * RANK * RANK;
    return bits_of(sqrt(product / square));
}

#define SIDE 64
#define DEEPEST 200

static uint64_t mandelbrot(uint64_t scale, uint64_t *units)
{
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        double shift = (double)(turn % 16) / 1000;
        for (int row = 0; row < SIDE; row++)
            for (int column = 0; column < SIDE; column++) {
                double cx = -2 + shift + 2.5 * column / SIDE, cy = -1.25 + 2.5 * row / SIDE;
                double x = 0, y = 0;
                int depth = 0;
                while (depth < DEEPEST && x * x + y * y <= 4) {
                    double kept = x * x - y * y + cx;
                    y = 2 * x * y + cy;
                    x = kept;
                    depth++;
                }
                *units += (uint64_t)depth;
                sum = mixed(sum, (uint64_t)depth);
            }
    }
    return sum;
}

#define ROUNDS 1000u

static uint64_t libm(uint64_t scale, uint64_t *units)
{
    double sum = 0;
    for (uint64_t n = 0; n < scale * ROUNDS; n++) {
        double x = 0.001 + (double)(opaque(n) % 5000) / 700;
        sum += sin(x) + cos(x) + exp(-x) + log(x) + pow(x, 1.7) + atan(x) + cbrt(x) + tanh(x);
        sum += fmod(x * 100, 3.3) + sqrt(x);
    }
    *units += scale * ROUNDS * 10;
    return digits_of(sum);
}

#define CONVERSIONS 100000u

static uint64_t conversions(uint64_t scale, uint64_t *units)
{
    uint64_t sum = 1;
    for (uint64_t n = scale * CONVERSIONS; n; n--) {
        double wide = (double)(int64_t)(sum >> 11);
        float narrow = (float)wide;
        int32_t whole = (int32_t)(narrow * 1e-8f);
        sum = sum * 3 + (uint64_t)(int64_t)(wide * 0.5) + (uint32_t)whole + n;
        sum += (uint64_t)((double)narrow * 0.25);
    }
    *units += scale * CONVERSIONS;
    return sum;
}

const struct workload float_set[] = {
    {"nbody", "step", nbody},
    {"spectral", "mac", spectral},
    {"mandel", "iteration", mandelbrot},
    {"libm", "call", libm},
    {"fpcvt", "iteration", conversions},
    {0},
};
