/* What interpreters and objects do: dispatch over bytecode, calls through pointers. */
#include "work.h"

#define MILLION 1000000u

/* A stack machine. An operation is a number and its operand, if it has one, the next. */
enum op { PUSH, LOAD, STORE, ADD, MULTIPLY, HALVE, ODD, LESS, JUMP, UNLESS, HALT };
enum variable { NUMBER, VALUE, STEPS, LONGEST, LIMIT };

static int16_t code[128];
static int length;

static int emit(enum op op)
{
    code[length++] = (int16_t)op;
    return length;
}

/* The place of the operand, for `here` to fill in later. */
static int emit_with(enum op op, int operand)
{
    emit(op);
    code[length++] = (int16_t)operand;
    return length - 1;
}

static void here(int operand)
{
    code[operand] = (int16_t)length;
}

/* The most steps that a number below LIMIT takes to 1 by halving the even and 3n+1 of the odd. */
static void assemble(void)
{
    length = 0;
    emit_with(PUSH, 1), emit_with(STORE, NUMBER);
    int numbers = length;
    emit_with(LOAD, NUMBER), emit_with(LOAD, LIMIT), emit(LESS);
    int end = emit_with(UNLESS, 0);
    emit_with(LOAD, NUMBER), emit_with(STORE, VALUE);
    emit_with(PUSH, 0), emit_with(STORE, STEPS);
    int steps = length;
    emit_with(PUSH, 1), emit_with(LOAD, VALUE), emit(LESS);
    int arrived = emit_with(UNLESS, 0);
    emit_with(LOAD, VALUE), emit(ODD);
    int even = emit_with(UNLESS, 0);
    emit_with(LOAD, VALUE), emit_with(PUSH, 3), emit(MULTIPLY), emit_with(PUSH, 1), emit(ADD);
    int store = emit_with(JUMP, 0);
    here(even);
    emit_with(LOAD, VALUE), emit(HALVE);
    here(store);
    emit_with(STORE, VALUE);
    emit_with(LOAD, STEPS), emit_with(PUSH, 1), emit(ADD), emit_with(STORE, STEPS);
    emit_with(JUMP, steps);
    here(arrived);
    emit_with(LOAD, LONGEST), emit_with(LOAD, STEPS), emit(LESS);
    int shorter = emit_with(UNLESS, 0);
    emit_with(LOAD, STEPS), emit_with(STORE, LONGEST);
    here(shorter);
    emit_with(LOAD, NUMBER), emit_with(PUSH, 1), emit(ADD), emit_with(STORE, NUMBER);
    emit_with(JUMP, numbers);
    here(end);
    emit(HALT);
}

static __attribute__((noinline)) uint64_t interpret(uint64_t limit, uint64_t *operations)
{
    uint64_t stack[16], variables[8] = {[LIMIT] = limit}, done = 0;
    uint64_t *top = stack;
    for (const int16_t *at = code;; done++) {
        switch ((enum op)*at++) {
        case PUSH: *top++ = (uint64_t)*at++; break;
        case LOAD: *top++ = variables[*at++]; break;
        case STORE: variables[*at++] = *--top; break;
        case ADD: top--, top[-1] += *top; break;
        case MULTIPLY: top--, top[-1] *= *top; break;
        case HALVE: top[-1] /= 2; break;
        case ODD: top[-1] &= 1; break;
        case LESS: top--, top[-1] = top[-1] < *top; break;
        case JUMP: at = code + *at; break;
        case UNLESS: at = *--top ? at + 1 : code + *at; break;
        case HALT: *operations += done; return variables[LONGEST];
        }
    }
}

static uint64_t interp(uint64_t scale, uint64_t *units)
{
    uint64_t sum = 0;
    assemble();
    for (uint64_t turn = 0; turn < scale; turn++)
        sum = mixed(sum, interpret(opaque(600 + turn % 7), units));
    return sum;
}

typedef uint64_t method(uint64_t value);

#define METHOD(name, expression)                                                                 \
    static uint64_t name(uint64_t value)                                                         \
    {                                                                                            \
        return expression;                                                                       \
    }

METHOD(more, value + 12345)
METHOD(flip, value ^ 0x5555)
METHOD(triple, value * 3)
METHOD(down, value >> 1)
METHOD(up, value << 1 | 1)
METHOD(less, value - 99)
METHOD(fold, value ^ value >> 32)
METHOD(spread, value ^ value << 16)

static method *const methods[] = {more, flip, triple, down, up, less, fold, spread};

static uint64_t indirect_calls(uint64_t scale, uint64_t *units)
{
    method *const *table = methods;
    __asm__ volatile("" : "+r"(table));
    uint64_t value = 1, seed = 99;
    for (uint64_t turn = 0; turn < scale * MILLION; turn += 16) {
        uint64_t which = next_random(&seed);
        for (int call = 0; call < 16; call++, which >>= 3)
            value = table[which & 7](value);
    }
    *units += scale * MILLION;
    return value;
}

const struct workload interpreter_set[] = {
    {"interp", "operation", interp},
    {"icall", "call", indirect_calls},
    {0},
};
