/* command.h - `lammd eval gate`. Thread: main's. */
#ifndef CLI_GATE_COMMAND_H
#define CLI_GATE_COMMAND_H

#include "cli/config.h"

/* --model BASE, --adapter FOLDER or --against FOLDER, --data FILE...; prints the table, writes
 * --json and, with -o DIR, DIR/items.jsonl. E_INVALID: an option is missing, or one too many is
 * there. And those of gate_run. */
int gate_command(const struct config *cfg, struct err *e);

#endif
