/* Numerical libraries' kernels: solving a system of equations, a fast Fourier transform. */
#include <math.h>
#include <string.h>

#include "work.h"

#define RANK 100

static double matrix[RANK][RANK], right[RANK];
static int pivots[RANK];

/* y += factor * x */
static void add_multiple(int count, double factor, const double *x, double *y)
{
    for (int i = 0; i < count; i++)
        y[i] += factor * x[i];
}

/* LU decomposition with row pivots; each array is a column of the matrix. */
static void factorise(void)
{
    for (int k = 0; k < RANK - 1; k++) {
        int pivot = k;
        for (int i = k + 1; i < RANK; i++)
            if (fabs(matrix[k][i]) > fabs(matrix[k][pivot]))
                pivot = i;
        pivots[k] = pivot;
        double kept = matrix[k][pivot];
        matrix[k][pivot] = matrix[k][k];
        matrix[k][k] = kept;
        double factor = -1 / kept;
        for (int i = k + 1; i < RANK; i++)
            matrix[k][i] *= factor;
        for (int j = k + 1; j < RANK; j++) {
            double value = matrix[j][pivot];
            matrix[j][pivot] = matrix[j][k];
            matrix[j][k] = value;
            add_multiple(RANK - k - 1, value, &matrix[k][k + 1], &matrix[j][k + 1]);
        }
    }
}

static void solve(void)
{
    for (int k = 0; k < RANK - 1; k++) {
        double value = right[pivots[k]];
        right[pivots[k]] = right[k];
        right[k] = value;
        add_multiple(RANK - k - 1, value, &matrix[k][k + 1], &right[k + 1]);
    }
    for (int k = RANK - 1; k >= 0; k--) {
        right[k] /= matrix[k][k];
        add_multiple(k, -right[k], matrix[k], right);
    }
}

#define FLOPS (2u * RANK * RANK * RANK / 3 + 2u * RANK * RANK)

static uint64_t linpack(uint64_t scale, uint64_t *units)
{
    uint64_t seed = 1325, sum = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        memset(right, 0, sizeof right);
        for (int j = 0; j < RANK; j++)
            for (int i = 0; i < RANK; i++) {
                matrix[j][i] = (double)(int64_t)next_random(&seed) / 9.3e18;
                right[i] += matrix[j][i];
            }
        factorise();
        solve();
        for (int i = 0; i < RANK; i++)
            check(fabs(right[i] - 1) < 1e-6, "linpack: not the solution");
        sum = mixed(sum, (uint64_t)pivots[turn % (RANK - 1)]);
    }
    *units += scale * FLOPS;
    return sum;
}

#define POINTS 4096
#define LEVELS 12

static double real[POINTS], imaginary[POINTS], cosines[POINTS / 2], sines[POINTS / 2];

static void reorder(void)
{
    for (unsigned i = 0, j = 0; i < POINTS; i++) {
        if (i < j) {
            double re = real[i], im = imaginary[i];
            real[i] = real[j], imaginary[i] = imaginary[j];
            real[j] = re, imaginary[j] = im;
        }
        unsigned bit = POINTS >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j |= bit;
    }
}

/* In place; `direction` is 1, or -1 for the way back. */
static void transform(double direction)
{
    reorder();
    for (int half = 1; half < POINTS; half *= 2)
        for (int begin = 0; begin < POINTS; begin += 2 * half)
            for (int k = 0; k < half; k++) {
                int low = begin + k, high = low + half, angle = k * (POINTS / 2 / half);
                double c = cosines[angle], s = direction * sines[angle];
                double re = real[high] * c - imaginary[high] * s;
                double im = real[high] * s + imaginary[high] * c;
                real[high] = real[low] - re, imaginary[high] = imaginary[low] - im;
                real[low] += re, imaginary[low] += im;
            }
}

static uint64_t fft(uint64_t scale, uint64_t *units)
{
    uint64_t seed = 9, sum = 0;
    for (int i = 0; i < POINTS / 2; i++) {
        cosines[i] = cos(6.283185307179586 * i / POINTS);
        sines[i] = sin(6.283185307179586 * i / POINTS);
    }
    for (int i = 0; i < POINTS; i++)
        real[i] = (double)(next_random(&seed) % 1000), imaginary[i] = 0;
    for (uint64_t turn = 0; turn < scale; turn++) {
        transform(1);
        transform(-1);
        for (int i = 0; i < POINTS; i++)
            real[i] = floor(real[i] / POINTS + 0.5), imaginary[i] = 0;
        sum = mixed(sum, (uint64_t)real[turn % POINTS]);
    }
    *units += scale * 2 * 5 * POINTS * LEVELS;
    return sum;
}

const struct workload numeric_set[] = {
    {"linpack", "flop", linpack},
    {"fft", "flop", fft},
    {0},
};
