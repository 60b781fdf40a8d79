/* cmd.c - the table of commands, and the texts that are made of it. See cmd.h. */
#include "cli/cmd.h"

#include <string.h>

#include "kernels/base/err.h"

/* ---- what the first argument may be ---- */

static const char *const tasks[] = {"segment", "refer", "describe", "vqa", "act", "pixels", NULL};
static const char *const modes[] = {"pvp",      "rec",     "seg",  "vqa", "game",
                                    "ablation", "battery", "gate", NULL};
static const char *const measurements[] = {"pix4096", "ops", "mix", "train", "replicas", NULL};
static const char *const key_actions[] = {"new", "list", "revoke", NULL};
static const char *const job_actions[] = {"list",   "recipes", "show",   "create", "upload",
                                          "events", "pause",   "resume", "cancel", NULL};
static const char *const adapter_actions[] = {"list",     "load",    "unload", "promote",
                                              "rollback", "history", NULL};

static const struct cmd commands[] = {
    {"serve", CMD_SERVE, cmd_serve, "[OPTIONS]", NULL, "answer HTTP requests until SIGTERM",
     "Loads a model and answers HTTP requests until SIGTERM or Ctrl-C. A web page is at the root "
     "of\n"
     "the address; openapi.yaml describes the requests. Sockets that systemd hands over are used\n"
     "instead of --listen.",
     NULL,
     "lammd serve\n"
     "lammd serve --listen 127.0.0.1:9000 --model /srv/models/lamm --threads 8"},
    {"reconstruct", CMD_RECONSTRUCT, cmd_reconstruct, "PHOTO -o SEEN.png [OPTIONS]", NULL,
     "write the picture that the model sees in a photo",
     "Asks the model for the colour of every place of a photo (PNG, JPEG or WebP; - is standard "
     "input)\n"
     "and writes the answers as a PNG file.",
     NULL,
     "lammd reconstruct photo.jpg -o seen.png\n"
     "lammd reconstruct photo.jpg -o corner.png --region 0,0,16,16 --estimate median"},
    {"ask", CMD_ASK, cmd_ask, "TASK PHOTO... [NAME=VALUE...] [OPTIONS]", tasks,
     "ask about photos: a mask, a box, a description, an answer, an action",
     "Asks one question about one or more photos (PNG, JPEG or WebP; - is standard input). "
     "NAME=VALUE\n"
     "gives a field of the request; openapi.yaml lists the fields of each task.",
     cmd_ask_arguments,
     "lammd ask segment photo.jpg sentence='the red ball' -o mask.png\n"
     "lammd ask vqa photo.jpg question='is it raining?' 'choices=[\"yes\",\"no\"]'"},
    {"batch", CMD_BATCH, cmd_batch, "IN.jsonl OUT.jsonl [OPTIONS]", NULL,
     "answer thousands of questions in a file, and go on where it was ended",
     "Asks each line of IN.jsonl, which has OpenAI's shape of a batch, and writes a line for it "
     "to\n"
     "OUT.jsonl. What stands in OUT.jsonl is done: a batch that was ended, however that came, "
     "goes\n"
     "on when the same command is given again. Status 0: every line has its answer. docs/batch.md\n"
     "describes it all.",
     NULL,
     "lammd batch questions.jsonl answers.jsonl\n"
     "lammd batch questions.jsonl answers-3.jsonl --part 3/8 --unordered"},
    {"eval", CMD_EVAL, cmd_eval,
     "MODE PATH [OPTIONS] | ablation [RUN] | battery FOLDER | gate [OPTIONS]", modes,
     "score the model on public data sets, by the paper's metrics",
     "Asks the questions of a data set and compares the answers with the truth. docs/eval.md\n"
     "describes the files and the scores.",
     cmd_eval_arguments,
     "lammd eval pvp photos/\n"
     "lammd eval rec refcoco/ --images coco/train2014 --limit 1000 --json scores.json\n"
     "lammd eval gate --adapter runs/own/adapter --data judge.jsonl --json gate.json"},
    {"train", CMD_TRAIN, cmd_train, "RECIPE.ini [OPTIONS]", NULL,
     "train a model, or an adapter for one, on pictures of your own",
     "Trains as a recipe says: stages, what learns, from which data. A run that was ended, "
     "however\n"
     "that came, goes on when the same command is given again. docs/training.md describes it all.",
     NULL,
     "lammd train recipes/own.ini --set PAIRS=pairs/\n"
     "lammd train recipes/own.ini --set PAIRS=pairs/ --plan\n"
     "lammd train --check pairs.tar --json\n"
     "lammd train --keys"},
    {"import", CMD_IMPORT, cmd_import, "ORIGINAL... -o DIR [OPTIONS]", NULL,
     "make a model folder of public checkpoints",
     "Reads LLaMA-2's folder, the tower's file and checkpoints of MiniGPT-v2 or PAE-LaMM, and "
     "writes\n"
     "a folder that lammd serve loads. Of what several have, the last one's counts. Nothing in a\n"
     "file is ever called. An import that was ended goes on when the same command is given again.\n"
     "docs/import.md describes it all.",
     cmd_import_arguments,
     "lammd import Llama-2-7b-chat-hf eva_vit_g.pth minigptv2.pth -o models/minigptv2\n"
     "lammd import Llama-2-7b-chat-hf eva_vit_g.pth stage2.pth stage3.pth -o models/pae --no-copy\n"
     "lammd import --probe photo.jpg -o models/pae"},
    {"bench", CMD_BENCH, cmd_bench,
     "pix4096 [PHOTO] | ops [PHOTO] | mix | train | replicas [FILE] [OPTIONS]", measurements,
     "measure how fast this machine answers, and learns",
     "Measures how fast the model answers, or learns, on this machine. Each figure is the median\n"
     "of --repeat runs.",
     cmd_bench_arguments,
     "lammd bench pix4096 --quick\n"
     "lammd bench ops --threads 1\n"
     "lammd bench pix4096 --shape pae-lamm-7b --weights random:1"},
    {"keys", CMD_KEYS, cmd_keys, "new NAME | list | revoke ID --keys FILE [OPTIONS]", key_actions,
     "make, list and revoke the keys that a server asks for",
     "Changes a file of keys. A server takes it as `lammd serve --keys FILE`, and reads it again\n"
     "at SIGHUP. The file holds no secret: a key is shown once, when it is made. docs/keys.md\n"
     "describes it all.",
     cmd_keys_arguments,
     "lammd keys new 'the notebook' --keys /etc/lammd/keys --days 90\n"
     "lammd keys new prometheus --keys /etc/lammd/keys --scopes metrics\n"
     "lammd keys revoke k3v9x2a4b5c6 --keys /etc/lammd/keys"},
    {"jobs", CMD_JOBS, cmd_jobs, "ACTION [ID | FILE] [OPTIONS]", job_actions,
     "have a server learn from your data, and watch it",
     "Asks a running server (with --state) to learn from pictures and texts, and shows how it "
     "gets\n"
     "on. A key needs the scope train. What comes of a job is an adapter: see lammd adapters.",
     cmd_jobs_arguments,
     "lammd jobs create pairs.tar --follow --key-file ~/lammd.key\n"
     "lammd jobs list --admin-socket /run/lammd/admin.sock\n"
     "lammd jobs events ftjob-0123456789ab --follow"},
    {"adapters", CMD_ADAPTERS, cmd_adapters, "ACTION [NAME] [OPTIONS]", adapter_actions,
     "load, promote and roll back what a server has learnt",
     "Asks a running server to load an adapter of its --state folder, to answer with it by "
     "default,\n"
     "or to go back to what was the default before. A key needs the scope promote; list and\n"
     "history need train.",
     cmd_adapters_arguments,
     "lammd adapters list --admin-socket /run/lammd/admin.sock\n"
     "lammd adapters load parts --key-file ~/lammd.key\n"
     "lammd adapters promote parts --key-file ~/lammd.key"},
};

const struct cmd *cmd_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    }
    return NULL;
}

const struct cmd *cmd_all(size_t *n) {
    *n = ARRAY_LEN(commands);
    return commands;
}

void cmd_overview(FILE *to) {
    fputs("lammd serves PAE-LaMM, a vision-language model that can be asked for the colour of any\n"
          "pixel of a photo.\n\n"
          "usage: lammd COMMAND [ARGUMENTS] [OPTIONS]\n\nCommands:\n",
          to);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fprintf(to, "  %-12s %s\n", "version", "print the version");
    fprintf(to, "  %-12s %s\n", "help", "print this text; with a command's name, its options");
    fputs("\nExamples:\n"
          "  lammd serve                                then open http://127.0.0.1:8080/\n"
          "  lammd reconstruct photo.jpg -o seen.png\n"
          "  lammd help ask\n",
          to);
}

/* Each line of `lines` behind two blanks. */
static void print_indented(const char *lines, FILE *to) {
    while (*lines) {
        int n = (int)strcspn(lines, "\n");
        fprintf(to, "  %.*s\n", n, lines);
        lines += n + (lines[n] == '\n');
    }
}

void cmd_help(const struct cmd *c, FILE *to) {
    fprintf(to, "usage: lammd %s %s\n\n%s\n", c->name, c->usage, c->about);
    if (c->arguments) {
        fputc('\n', to);
        c->arguments(to);
    }
    config_help(c->cmd, to);
    fputs("\nExamples:\n", to);
    print_indented(c->examples, to);
}

int cmd_fail(const struct err *e) {
    fprintf(stderr, "lammd: %s\n", e->text);
    return 1;
}

int cmd_misused(enum config_cmd cmd) {
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct cmd *c = &commands[i];
        if (c->cmd != cmd) continue;
        fprintf(stderr, "usage: lammd %s %s\n", c->name, c->usage);
        if (c->arguments) c->arguments(stderr);
        fprintf(stderr, "See lammd %s --help.\n", c->name);
    }
    return 2;
}
