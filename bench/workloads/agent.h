/* The guest's side of a measurement: see agent.c. */
#ifndef AGENT_H
#define AGENT_H

/* Serve the host on standard input and output until it closes the line; a status for `main`. */
int serve(void);

#endif
