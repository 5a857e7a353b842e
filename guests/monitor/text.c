// Strings, numbers and formatted output: the part of a C library that the monitor needs.
#include "monitor.h"
#include <stdarg.h>

bool text_equal(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

bool text_starts(const char *text, const char *prefix) {
    while (*prefix)
        if (*text++ != *prefix++)
            return false;
    return true;
}

// Also freestanding C compilers call these two, for initializers and assignments of structures.
void *memset(void *start, int value, size_t size) {
    for (u8 *byte = start; size > 0; size--)
        *byte++ = (u8)value;
    return start;
}

void *memcpy(void *to, const void *from, size_t size) {
    u8 *target = to;
    for (const u8 *byte = from; size > 0; size--)
        *target++ = *byte++;
    return to;
}

// Decimal, or hexadecimal behind 0x. False for anything else and for what 64 bits cannot hold.
bool text_number(const char *text, u64 *value) {
    u64 base = 10, number = 0;
    if (text_starts(text, "0x")) {
        base = 16;
        text += 2;
    }
    if (!*text)
        return false;
    for (; *text; text++) {
        u64 digit = 99;
        if (*text >= '0' && *text <= '9')
            digit = (u64)(*text - '0');
        else if ((*text | 32) >= 'a' && (*text | 32) <= 'f')
            digit = (u64)((*text | 32) - 'a' + 10);
        if (digit >= base || number > (UINT64_MAX - digit) / base)
            return false;
        number = number * base + digit;
    }
    *value = number;
    return true;
}

struct layout {
    int width;
    bool left, zeros;
};

static void put_padded(const char *text, struct layout how) {
    int length = 0;
    while (text[length])
        length++;
    int padding = how.width > length ? how.width - length : 0;
    for (int i = 0; !how.left && i < padding; i++)
        console_putc(how.zeros ? '0' : ' ');
    for (int i = 0; i < length; i++)
        console_putc(text[i]);
    for (int i = 0; how.left && i < padding; i++)
        console_putc(' ');
}

static void put_number(u64 number, u64 base, bool negative, struct layout how) {
    char digits[24];
    char *at = digits + sizeof digits;
    *--at = 0;
    do
        *--at = "0123456789abcdef"[number % base];
    while (number /= base);
    if (negative)
        *--at = '-';
    put_padded(at, how);
}

static void put_one(char kind, struct layout how, va_list *arguments) {
    switch (kind) {
    case 's':
        put_padded(va_arg(*arguments, const char *), how);
        break;
    case 'c':
        console_putc((char)va_arg(*arguments, int));
        break;
    case 'd': {
        long number = va_arg(*arguments, long);
        put_number(number < 0 ? -(u64)number : (u64)number, 10, number < 0, how);
        break;
    }
    case 'u':
        put_number(va_arg(*arguments, u64), 10, false, how);
        break;
    case 'x':
        put_number(va_arg(*arguments, u64), 16, false, how);
        break;
    case 'p':
        console_putc('0'), console_putc('x');
        put_number(va_arg(*arguments, u64), 16, false, (struct layout){16, false, true});
        break;
    default: // %% and mistakes show themselves
        console_putc(kind);
    }
}

void print(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    console_lock();
    for (; *format; format++) {
        if (*format != '%') {
            console_putc(*format);
            continue;
        }
        struct layout how = {0, false, false};
        for (format++; *format == '-' || *format == '0'; format++)
            *format == '-' ? (how.left = true) : (how.zeros = true);
        for (; *format >= '0' && *format <= '9'; format++)
            how.width = how.width * 10 + (*format - '0');
        if (!*format)
            break;
        put_one(*format, how, &arguments);
    }
    console_unlock();
    va_end(arguments);
}
