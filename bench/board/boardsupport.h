/* What Embench asks of a board: here a process, whose scale comes from its environment. */
#ifndef BOARDSUPPORT_H
#define BOARDSUPPORT_H

/* Stands where a board would have a number: so many times the work. */
#define GLOBAL_SCALE_FACTOR embench_scale
#define WARMUP_HEAT 0

extern int embench_scale;

#endif
