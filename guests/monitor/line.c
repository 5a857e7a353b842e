// One line of input, with the editing that hands expect: backspace, Ctrl-U (whole line), Ctrl-W
// (word), Ctrl-C (give up), cursor up (the line before). shell.c calls it.
#include "monitor.h"

enum { CTRL_C = 3, BACKSPACE = 8, NEWLINE = 10, RETURN = 13, CTRL_U = 21, CTRL_W = 23,
       ESCAPE = 27, DELETE = 127 };
#define LINE_MAX 128

static char last[LINE_MAX];
static bool after_return; // a line feed that follows a return belongs to it

static void erase(u32 *length, u32 until) {
    for (; *length > until; --*length)
        print("\b \b");
}

static u32 word_start(const char *line, u32 length) {
    while (length && line[length - 1] == ' ')
        length--;
    while (length && line[length - 1] != ' ')
        length--;
    return length;
}

// The rest of an escape sequence (ECMA-48, 5.4): ESC [ parameters, then a letter that is returned.
static char escape_sequence(void) {
    char c = console_getc();
    if (c != '[' && c != 'O')
        return 0;
    do
        c = console_getc();
    while (c >= 0x20 && c < 0x40);
    return c;
}

static void insert(char *line, u32 *length, u32 size, const char *text) {
    for (; *text; text++) {
        if (*length + 1 >= size) {
            print("\a");
            return;
        }
        line[(*length)++] = *text;
        print("%c", *text);
    }
}

// False when the line was given up. `line` is `size` bytes, at most LINE_MAX.
bool line_read(const char *prompt, char *line, u32 size) {
    u32 length = 0;
    print("%s", prompt);
    for (;;) {
        char c = console_getc();
        bool continued = c == NEWLINE && after_return;
        after_return = c == RETURN;
        if (continued)
            continue;
        char text[2] = {c, 0};
        switch (c) {
        case RETURN:
        case NEWLINE:
            print("\n");
            line[length] = 0;
            for (u32 i = 0; length && i <= length && i < LINE_MAX; i++)
                last[i] = line[i];
            return true;
        case CTRL_C:
            print("^C\n");
            return false;
        case BACKSPACE:
        case DELETE:
            erase(&length, length ? length - 1 : 0);
            break;
        case CTRL_U:
            erase(&length, 0);
            break;
        case CTRL_W:
            erase(&length, word_start(line, length));
            break;
        case ESCAPE:
            if (escape_sequence() == 'A') {
                erase(&length, 0);
                insert(line, &length, size, last);
            }
            break;
        default:
            if (c >= ' ' && c < DELETE)
                insert(line, &length, size, text);
        }
    }
}
