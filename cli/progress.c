// Standard error: messages and the progress line.
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static struct {
    struct vksteer_log log;
    bool quiet, terminal;
    bool line;               // a progress line stands on the terminal
    char stage[32];
    double started, shown;   // seconds
    uint32_t first;          // step at which the stage was first seen
} state;

static void clear_line(void)
{
    if (state.line)
        fputs("\r\033[K", stderr);
    state.line = false;
}

static void print(void *priv, enum vksteer_log_level level, const char *message)
{
    static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
    (void)priv;
    clear_line();
    fprintf(stderr, "vksteer: %s%s\n", words[level], message);
}

void cli_log_setup(const struct common *common)
{
    state.log.print = print;
    state.log.level = common->quiet ? VKSTEER_LOG_ERROR : common->verbose ? VKSTEER_LOG_DEBUG : VKSTEER_LOG_INFO;
    state.quiet = common->quiet;
    state.terminal = vksteer_is_terminal(2);
}

const struct vksteer_log *cli_log(void)
{
    return &state.log;
}

void say(const char *format, ...)
{
    va_list args;
    if (state.quiet)
        return;
    clear_line();
    va_start(args, format);
    fputs("vksteer: ", stderr);
    print_plain(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void say_error(const char *format, ...)
{
    va_list args;
    clear_line();
    va_start(args, format);
    fputs("vksteer: error: ", stderr);
    print_plain(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

static void time_text(double seconds, char *out, size_t size)
{
    const double whole = round(seconds);  // before it is parted, or 179.7 s would be 2 min 60 s
    if (whole < 100)
        snprintf(out, size, "%.0f s", whole);
    else if (whole < 3600)
        snprintf(out, size, "%.0f min %02.0f s", floor(whole / 60), fmod(whole, 60));
    else
        snprintf(out, size, "%.1f h", seconds / 3600);
}

void progress_show(const char *stage, uint32_t step, uint32_t steps, const char *note)
{
    const double now = vksteer_seconds();
    const bool fresh = strcmp(stage, state.stage) != 0, last = steps && step >= steps;
    if (state.quiet)
        return;
    if (fresh) {
        snprintf(state.stage, sizeof(state.stage), "%s", stage);
        state.started = now;
        state.shown = -1e9;
        state.first = step;
    }
    // A terminal sees ten lines a second, a file one every five seconds and the last.
    if (now - state.shown < (state.terminal ? 0.1 : 5) && !last)
        return;
    state.shown = now;
    char rate[96] = "", left[32];
    const double spent = now - state.started;
    if (step > state.first && spent > 0.05) {
        const double speed = (step - state.first) / spent;
        time_text(steps > step ? (steps - step) / speed : 0, left, sizeof(left));
        snprintf(rate, sizeof(rate), speed >= 1 ? ", %.1f/s, %s left" : ", %.2f/s, %s left", speed, left);
    }
    char line[512];
    snprintf(line, sizeof(line), "%s %u/%u%s%s%s", stage, step, steps, rate, *note ? ", " : "", note);
    if (steps == 0)
        snprintf(line, sizeof(line), "%s%s%s", stage, *note ? ", " : "", note);
    if (!state.terminal) {
        fprintf(stderr, "vksteer: %s\n", line);
        return;
    }
    const int width = vksteer_terminal_width();
    if (width > 1 && (size_t)width - 1 < strlen(line))
        line[width - 1] = 0;
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    state.line = true;
}

void progress_done(void)
{
    clear_line();
    state.stage[0] = 0;
}
