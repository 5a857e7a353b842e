/* The guest's side of a measurement. Over the console the host sends lines:
 *     run NAME SCALE     one workload of this program, in a process of its own
 *     sh COMMAND         a command for the shell
 *     off                power the machine off
 * The answer to the first two is the command's output, then a line `@end STATUS`. While it waits
 * the guest is idle, so the host takes the emulator's CPU time before it sends and after `@end`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "work.h"

#define LONGEST 1024
#define SHELL "/bin/dash"
#define OWN "/proc/self/exe"

static void become(char *line)
{
    char name[LONGEST], scale[LONGEST];
    if (!strncmp(line, "sh ", 3))
        execl(SHELL, "dash", "-c", line + 3, (char *)NULL);
    else if (sscanf(line, "run %1000s %1000s", name, scale) == 2)
        execl(OWN, "work", name, scale, (char *)NULL);
    else
        fprintf(stderr, "agent: what is %s?\n", line);
    _exit(127);
}

int serve(void)
{
    static char line[LONGEST];
    printf("@ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        if (!*line)
            continue;
        if (!strcmp(line, "off"))
            reboot(RB_POWER_OFF);
        pid_t child = fork();
        check(child >= 0, "fork");
        if (!child)
            become(line);
        int status = 0;
        waitpid(child, &status, 0);
        printf("@end %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        fflush(stdout);
    }
    return 0;
}
