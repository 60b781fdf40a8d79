/* sample.c - see sample.h. */
#include "engine/sample.h"

#include <stddef.h>

const char *const sample_task_words[] = {
    [SAMPLE_PIXELS] = "pixels",       [SAMPLE_MASK] = "mask",
    [SAMPLE_REFER] = "refer",         [SAMPLE_IDENTIFY] = "identify",
    [SAMPLE_CAPTION] = "caption",     [SAMPLE_GROUNDING] = "grounding",
    [SAMPLE_DETECTION] = "detection", [SAMPLE_VQA] = "vqa",
    [SAMPLE_CHAT] = "chat",           [SAMPLE_DRIVE] = "drive",
    [SAMPLE_SHOOT] = "shoot",         [SAMPLE_TASKS] = NULL};

/* Fig. 2 of the paper, with a space for each line break (docs/model.md section 4.3). */
const char sample_drive_text[] =
    "You are playing a Car Racing game. <Objective> Drive this red car as fast as possible and "
    "avoid leaving the road. <Tips> Control steering and avoid pressing the accelerator and "
    "turning at the same time. Action Space: [Steering, Gas, Brake]: [(0,20), (0,20), (0,20)]. "
    "[CarRacing] Please select a value for each action within their respective ranges, providing "
    "three values in total:";
const char sample_shoot_text[] =
    "You are playing a Space Invaders game. <Objective> Destroy the space invaders by shooting "
    "your laser cannon at them before they reach the Earth. Avoid getting hit by space invaders. "
    "<Tips> The invaders in the back rows are worth more points. <Action Space> [0: NOOP, 1: "
    "FIRE, 2: RIGHT, 3: LEFT, 4: RIGHTFIRE, 5: LEFTFIRE] [Space Invaders] Choose an action from "
    "the Action Space:";
