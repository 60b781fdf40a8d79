/* recipes.c - which base recipes there are for jobs. Whoever looks reads the folder: recipes are
 * few, and may be changed while the daemon runs. Thread: any. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/recipe.h"
#include "jobs/state.h"

static const char usual[] = "own";

static int recipes_by_name(const void *a, const void *b) {
    const char *x = ((const struct jobs_recipe *)a)->how.recipe;
    const char *y = ((const struct jobs_recipe *)b)->how.recipe;
    int is_x = strcmp(x, usual) == 0, is_y = strcmp(y, usual) == 0;
    return is_x != is_y ? is_y - is_x : strcmp(x, y);
}

/* "own.ini" -> "own"; 0: it is no recipe. */
static int recipes_name(const char *file, char name[sizeof(((struct jobs_how *)0)->recipe)]) {
    static const char end[] = ".ini";
    size_t n = strlen(file), m = sizeof(end) - 1;
    if (n <= m || n - m >= sizeof(((struct jobs_how *)0)->recipe)) return 0;
    if (strcmp(file + n - m, end) != 0) return 0;
    memcpy(name, file, n - m);
    name[n - m] = '\0';
    return 1;
}

int jobs_recipes(struct jobs *j, struct jobs_recipe out[JOBS_RECIPES_MAX], int *n, struct err *e) {
    char name[sizeof(out->how.recipe)];
    const struct dirent *file;
    DIR *folder = opendir(j->recipes);
    *n = 0;
    if (!folder) return err_set(e, E_IO, "%s: %s", j->recipes, strerror(errno));
    while (*n < JOBS_RECIPES_MAX && (file = readdir(folder)) != NULL)
        if (recipes_name(file->d_name, name) && recipe_look(j->recipes, name, &out[*n], NULL) == 0)
            ++*n;
    closedir(folder);
    qsort(out, (size_t)*n, sizeof(*out), recipes_by_name);
    return 0;
}
