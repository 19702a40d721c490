// vksteer bench: how fast this device is.
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static void on_row(void *priv, const struct vksteer_bench_row *row)
{
    if (*(const bool *)priv) {
        json_open(NULL, '{');
        json_text("name", row->name);
        json_integer("m", row->m);
        json_integer("n", row->n);
        json_integer("k", row->k);
        json_text("type", row->type);
        if (row->what)
            json_text("what", row->what);
        json_integer("count", row->count);
        json_number("ms", row->ms);
        json_number("gflops", row->gflops);
        if (row->gbytes > 0)
            json_number("gbytes", row->gbytes);
        if (row->planned_bytes) {
            json_number("load_seconds", row->load_seconds);
            json_integer("planned_bytes", row->planned_bytes);
            json_integer("device_bytes", row->device_bytes);
            json_integer("process_bytes", row->process_bytes);
        }
        json_close();
        return;
    }
    char shape[64] = "";
    if (row->m)
        snprintf(shape, sizeof(shape), row->k ? "%u x %u x %u" : "%u x %u", row->m, row->n, row->k);
    char memory[96] = "";
    if (row->planned_bytes)
        snprintf(memory, sizeof(memory), "; planned %.1f MiB, took %.1f, loaded in %.1f s",
                 (double)row->planned_bytes / (1 << 20), (double)row->device_bytes / (1 << 20), row->load_seconds);
    if (row->gbytes > 0)
        print_line("%-18s %-20s %-4s %10.3f ms %9.2f GB/s     %s", row->name, shape, row->type, row->ms, row->gbytes,
                   row->what ? row->what : "");
    else if (row->gflops > 0)
        print_line("%-18s %-20s %-4s %10.3f ms %9.2f GFLOP/s  %s%s", row->name, shape, row->type, row->ms,
                   row->gflops, row->what ? row->what : "", memory);
    else
        print_line("%-18s %-20s %-4s %10.3f ms %19s  %s", row->name, shape, row->type, row->ms, "",
                   row->what ? row->what : "");
}

static bool on_stop(void *priv)
{
    (void)priv;
    return vksteer_interrupted();
}

struct job {
    vksteer_session *session;
    vksteer_model *model;
    struct vksteer_bench_params params;
    bool tune, bench;
    char *table;     // the device's own, when it was tuned; else NULL
    bool written;
};

// All rows, as they come.
static bool measure(struct job *job)
{
    return (!job->tune || vksteer_tune(job->session, job->model, &job->params, &job->table, &job->written)) &&
           (!job->bench || vksteer_bench(job->session, job->model, &job->params));
}

static bool print_json(struct job *job)
{
    json_open(NULL, '{');
    json_text("device", vksteer_session_device(job->session)->name);
    json_text("driver", vksteer_session_device(job->session)->driver);
    json_open("results", '[');
    const bool ok = measure(job);
    json_close();
    if (job->table) {
        json_text("table", job->table);
        json_bool("written", job->written);
    }
    json_close();
    return json_finish() && ok;
}

static bool print_rows(struct job *job)
{
    print_line("%s, %s", vksteer_session_device(job->session)->name, vksteer_session_device(job->session)->driver);
    const bool ok = measure(job);
    if (job->table && job->written) {
        say("from now on used on this device; to go back to the built-in table, delete the file");
        print_line("%s", job->table);
    } else if (job->table) {
        print_line("the built-in table's choice is as good as any on this device: nothing to keep");
    }
    return ok;
}

int command_bench(int argc, char **argv)
{
    static const char *const known[] = {"matmul", "rows", "sort", "attention", "train", "apply", "all"};
    struct job job = {0};
    struct common common = {0};
    struct arguments arguments;
    const struct option options[] = {
        {0, "tune", OPT_FLAG, &job.tune, 0, 0, NULL, "time the kernels' variants on the model's shapes and keep the "
         "better ones for this device"},
    };
    const struct command command = {"bench", "[matmul|rows|sort|attention|train|apply|all] [--tune]",
                                    "Measures: the median of several runs, the first discarded.", options,
                                    COUNT_OF(options), 0, 1, NULL};
    int code = parse_arguments(&command, &common, argc, argv, &arguments);
    if (code != EXIT_DONE || common.help)
        return code;
    const char *what = arguments.count ? arguments.positionals[0] : "all";
    bool found = false;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        found |= strcmp(what, known[i]) == 0;
    if (!found) {
        const char *near = nearest_name(what, known, COUNT_OF(known));
        return usage_error("bench does not know %s: use %s", what,
                           near ? near : "matmul, rows, sort, attention, train, apply or all");
    }
    job.params = (struct vksteer_bench_params){.what = what, .row = on_row, .stop = on_stop, .priv = &common.json};
    job.bench = !job.tune || arguments.count;
    code = open_both(&common, NULL, NULL, &job.session, &job.model);
    if (code == EXIT_DONE) {
        vksteer_catch_interrupt();
        if (!(common.json ? print_json(&job) : print_rows(&job)))
            code = EXIT_FAILED;
        if (vksteer_interrupted())
            code = EXIT_INTERRUPTED;
    }
    free(job.table);
    vksteer_model_close(&job.model);
    vksteer_session_close(&job.session);
    return code;
}
