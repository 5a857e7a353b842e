// The prompt: reads a line, finds the command, runs it so that whatever it does, we come back.
#include "monitor.h"

#define LINE_SIZE 100
#define MAX_WORDS 16

static command cmd_help;

static const struct entry {
    const char *name, *arguments, *what;
    command *run;
} commands[] = {
    {"help", "[COMMAND]", "this list", cmd_help},
    {"harts", "[stop]", "start all harts, list them; or stop them", cmd_harts},
    {"ipi", "", "interrupt the other harts", cmd_ipi},
    {"race", "[N]", "all harts count together, with and without atomics", cmd_race},
    {"dt", "[NODE]", "device tree, or the properties of nodes", cmd_dt},
    {"mem", "", "physical memory map", cmd_mem},
    {"pages", "", "what is mapped, with which rights", cmd_pages},
    {"walk", "ADDRESS", "page table walk of an address", cmd_walk},
    {"peek", "ADDRESS [N]", "64-bit words at an address", cmd_peek},
    {"fault", "", "a page fault repaired, and one reported", cmd_fault},
    {"trap", "[illegal|csr|ebreak|ecall|misaligned|amo|read|write|jump]", "take traps", cmd_trap},
    {"user", "", "programs in user mode, with system calls", cmd_user},
    {"timer", "[N [MS]]", "N timer interrupts", cmd_timer},
    {"irqs", "", "interrupts so far", cmd_irqs},
    {"virtio", "", "virtio-mmio slots", cmd_virtio},
    {"random", "[N]", "random bytes through a virtqueue", cmd_random},
    {"sbi", "[print TEXT]", "firmware and its extensions; its console", cmd_sbi},
    {"csrs", "", "control registers", cmd_csrs},
    {"run", "fib [N]", "compute, and count instructions", cmd_run},
    {"exit", "[STATUS]", "end, with a status for the host", cmd_exit},
    {"reboot", "", "start again", cmd_reboot},
    {"poweroff", "", "end", cmd_poweroff},
};

static const struct entry *find(const char *name) {
    for (u64 i = 0; i < ARRAY_LENGTH(commands); i++)
        if (text_equal(commands[i].name, name))
            return &commands[i];
    return NULL;
}

static void usage(const struct entry *entry) {
    print("usage: %s %s\n", entry->name, entry->arguments);
}

static bool cmd_help(int count, char **words) {
    if (count > 2)
        return false;
    if (count == 2) {
        const struct entry *entry = find(words[1]);
        if (!entry) {
            print("help: no command %s\n", words[1]);
            return true;
        }
        usage(entry);
        print("%s\n", entry->what);
        return true;
    }
    for (u64 i = 0; i < ARRAY_LENGTH(commands); i++) {
        const struct entry *entry = &commands[i];
        bool wide = entry->run == cmd_trap; // its arguments would push the table apart
        print("  %-9s%-13s %s\n", entry->name, wide ? "[KIND]" : entry->arguments, entry->what);
    }
    print("Numbers are decimal, or hexadecimal behind 0x. Ctrl-C ends a command, Ctrl-U a line.\n");
    return true;
}

// Cuts the line into words, in place. MAX_WORDS + 1 for a line that has more.
static int split(char *line, char **words) {
    int count = 0;
    for (;;) {
        while (*line == ' ')
            *line++ = 0;
        if (!*line)
            return count;
        if (count == MAX_WORDS)
            return MAX_WORDS + 1;
        words[count++] = line;
        while (*line && *line != ' ')
            line++;
    }
}

static struct {
    const struct entry *entry;
    int count;
    char *words[MAX_WORDS];
} now; // what run() shall run: a guarded call takes one argument

static void run(u64 unused) {
    (void)unused;
    if (!now.entry->run(now.count, now.words))
        usage(now.entry);
}

void shell(void) {
    static char line[LINE_SIZE];
    for (;;) {
        if (!line_read("lamina> ", line, sizeof line))
            continue;
        now.count = split(line, now.words);
        if (now.count == 0)
            continue;
        if (now.count > MAX_WORDS) {
            print("more than %d words\n", (long)MAX_WORDS);
            continue;
        }
        now.entry = find(now.words[0]);
        if (!now.entry) {
            print("no command %s: try help\n", now.words[0]);
            continue;
        }
        struct trap_record record;
        console_break(); // a Ctrl-C that came too late for the last command
        if (guarded(run, 0, &record))
            trap_report(&record);
    }
}
