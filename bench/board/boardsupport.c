/* See boardsupport.h. CPU time is measured from outside, so the triggers do nothing. */
#include <stdlib.h>

#include "boardsupport.h"

int embench_scale = 1;

void initialise_board(void)
{
    const char *scale = getenv("SCALE");
    if (scale)
        embench_scale = atoi(scale);
}

void start_trigger(void)
{
}

void stop_trigger(void)
{
}
