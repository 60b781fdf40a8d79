/* completion.c - manual_completion of manual.h: a script for bash, made of the tables.
 *
 * The script has a case for each command and option that takes a value: words where they are a set,
 * names of files or folders where the value is called FILE, DIR or PATH, nothing for anything else.
 * bash cuts a word at its equals sign, so `--name=value` comes as three.
 */
#include <string.h>

#include "cli/manual.h"
#include "kernels/base/err.h"

/* A shell's function that has the words, or the names, that begin as `cur` does. */
static const char *values_of(const struct config_row *r) {
    if (r->words) return "words";
    if (strcmp(r->value, "DIR") == 0) return "folders";
    if (strcmp(r->value, "FILE") == 0 || strcmp(r->value, "PATH") == 0 ||
        strcmp(r->value, "PHOTO") == 0)
        return "files";
    return "nothing";
}

static void completion_words(const char *const *words, FILE *to) {
    for (int i = 0; words && words[i]; i++)
        fprintf(to, "%s%s", i ? " " : "", words[i]);
}

static void put_values(const struct cmd *c, FILE *to) {
    size_t n;
    const struct config_row *rows = config_rows(&n);
    for (size_t i = 0; i < n; i++) {
        if (!(rows[i].cmds & (int)c->cmd) || rows[i].kind == VALUE_FLAG) continue;
        const char *call = values_of(&rows[i]);
        fprintf(to, "        %s:--%s) _lammd_%s", c->name, rows[i].name, call);
        if (strcmp(call, "words") == 0) {
            fputs(" '", to);
            completion_words(rows[i].words, to);
            fputc('\'', to);
        }
        fputs("; return ;;\n", to);
    }
}

static void put_options(const struct cmd *c, FILE *to) {
    size_t n;
    const struct config_row *rows = config_rows(&n);
    fprintf(to, "        %s) options='", c->name);
    for (size_t i = 0; i < n; i++)
        if (rows[i].cmds & (int)c->cmd) fprintf(to, "--%s ", rows[i].name);
    fputs("--help' actions='", to);
    completion_words(c->words, to);
    fputs("' ;;\n", to);
}

void manual_completion(FILE *to) {
    size_t n;
    const struct cmd *all = cmd_all(&n);
    fputs("# bash completion for lammd -*- shell-script -*-\n"
          "# Made of the tables of commands and options when lammd was built.\n\n"
          "_lammd_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$cur\"); }\n"
          "_lammd_files() {\n"
          "    compopt -o filenames 2>/dev/null\n"
          "    mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
          "}\n"
          "_lammd_folders() {\n"
          "    compopt -o filenames 2>/dev/null\n"
          "    mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")\n"
          "}\n"
          "_lammd_nothing() { COMPREPLY=(); }\n\n"
          "_lammd() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
          "    local command=${COMP_WORDS[1]} options='' actions=''\n"
          "    local commands='",
          to);
    for (size_t i = 0; i < n; i++)
        fprintf(to, "%s ", all[i].name);
    fputs("version help'\n"
          "    COMPREPLY=()\n"
          "    if ((COMP_CWORD == 1)); then _lammd_words \"$commands\"; return; fi\n"
          "    if [[ $cur == = ]]; then cur=''\n"
          "    elif [[ $before == = ]]; then before=${COMP_WORDS[COMP_CWORD - 2]}; fi\n"
          "    case $command:$before in\n"
          "        help:help) _lammd_words \"$commands\"; return ;;\n",
          to);
    for (size_t i = 0; i < n; i++)
        put_values(&all[i], to);
    fputs("    esac\n"
          "    case $command in\n",
          to);
    for (size_t i = 0; i < n; i++)
        put_options(&all[i], to);
    fputs("        *) return ;;\n"
          "    esac\n"
          "    if [[ $cur == -* ]]; then _lammd_words \"$options\"\n"
          "    elif ((COMP_CWORD == 2)) && [[ $actions ]]; then _lammd_words \"$actions\"\n"
          "    else _lammd_files; fi\n"
          "}\n"
          "complete -F _lammd lammd\n",
          to);
}
