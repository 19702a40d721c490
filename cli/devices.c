// vksteer devices: what is there, what would be taken, which fast paths it gets.
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { MOST = 16 };

struct report {
    bool json;
    unsigned failed, count;
};

static void print_row(const struct vksteer_device_info *d)
{
    print_line("%c %u: %s (%s, %s)", d->chosen ? '*' : ' ', d->index, d->name, d->type, d->driver);
    print_line("     Vulkan %u.%u, %.1f GiB memory, buffers to %.0f MiB, workgroups to %u, %u KiB shared",
               d->api_version >> 22, d->api_version >> 12 & 0x3ff, (double)d->memory / (1 << 30),
               (double)d->max_range / (1 << 20), d->max_invocations, d->max_shared >> 10);
    const bool cpu = strcmp(d->type, "cpu") == 0;
    if (!cpu)
        print_line("     fast: matrix products in tiles of shared memory");
    else if (d->subgroup_size)
        print_line("     fast: broadcast matrix products in subgroups of %u", d->subgroup_size);
    else
        print_line("     no fast matrix products: the device has no usable subgroups");
    if (d->wide_loads)
        print_line("     fast: loads of %s", d->addresses ? "64 bits from addresses"
                                             : d->texels  ? "128 bits from texel buffers"
                                                          : "64 bits");
    else if (cpu)
        print_line("     no loads of 64 bits: the driver has no 64-bit integers, or they are switched off");
    print_line("     has %s, %s, %s, %s (not needed, and not used at exact precision)", d->fp16 ? "fp16" : "no fp16",
               d->storage16 ? "16-bit storage" : "no 16-bit storage", d->int8 ? "int8" : "no int8",
               d->cooperative_matrix ? "matrix units" : "no matrix units");
}

static void json_row(const struct vksteer_device_info *d)
{
    json_open(NULL, '{');
    json_integer("index", d->index);
    json_text("name", d->name);
    json_text("driver", d->driver);
    json_text("type", d->type);
    json_integer("memory", d->memory);
    json_integer("max_range", d->max_range);
    json_integer("max_alloc", d->max_alloc);
    json_integer("subgroup_size", d->subgroup_size);
    json_integer("max_invocations", d->max_invocations);
    json_integer("max_shared", d->max_shared);
    json_bool("fp16", d->fp16);
    json_bool("int8", d->int8);
    json_bool("int64", d->int64);
    json_bool("wide_loads", d->wide_loads);
    json_bool("texels", d->texels);
    json_bool("addresses", d->addresses);
    json_bool("storage16", d->storage16);
    json_bool("storage8", d->storage8);
    json_bool("cooperative_matrix", d->cooperative_matrix);
    json_bool("chosen", d->chosen);
    json_close();
}

static void on_line(void *priv, const char *family, bool ok, double error)
{
    struct report *report = priv;
    report->count++;
    report->failed += !ok;
    if (report->json) {
        json_open(NULL, '{');
        json_text("family", family);
        json_bool("ok", ok);
        json_number("error", error);
        json_close();
    } else {
        print_line("%-4s %-24s error %.2g", ok ? "ok" : "BAD", family, error);
    }
}

static int selftest(const struct common *common)
{
    vksteer_session *session;
    struct report report = {.json = common->json};
    const int code = open_session(common, &session);
    if (code != EXIT_DONE)
        return code;
    const double start = vksteer_seconds();
    const struct vksteer_device_info *device = vksteer_session_device(session);
    if (common->json)
        json_open("selftest", '[');
    else
        print_line("vksteer " VKSTEER_VERSION " self-test on %s, %s, Vulkan %u.%u", device->name, device->driver,
                   device->api_version >> 22, device->api_version >> 12 & 0x3ff);
    const bool ok = vksteer_selftest(session, on_line, &report);
    if (common->json)
        json_close();
    else
        print_line("%u of %u kernel families are right (%.1f s)", report.count - report.failed, report.count,
                   vksteer_seconds() - start);
    vksteer_session_close(&session);
    return ok && !report.failed ? EXIT_DONE : EXIT_FAILED;
}

int command_devices(int argc, char **argv)
{
    bool test = false;
    struct common common = {0};
    struct arguments arguments;
    const struct option options[] = {
        {0, "selftest", OPT_FLAG, &test, 0, 0, NULL, "check every kernel family against its reference"},
    };
    const struct command command = {"devices", "[--selftest]",
                                    "Lists the Vulkan devices; * is the one that is taken.", options,
                                    COUNT_OF(options), 0, 0, NULL};
    int code = parse_arguments(&command, &common, argc, argv, &arguments);
    if (code != EXIT_DONE || common.help)
        return code;
    struct vksteer_device_info *devices = calloc(MOST, sizeof(*devices));
    if (!devices) {
        say_error(NO_MEMORY);
        return EXIT_FAILED;
    }
    const struct vksteer_session_params params = {.log = *cli_log(), .own_process = true};
    const int count = vksteer_devices(&params, devices, MOST);
    if (common.json) {
        json_open(NULL, '{');
        json_open("devices", '[');
    }
    for (int i = 0; i < count && i < MOST; i++)
        common.json ? json_row(&devices[i]) : print_row(&devices[i]);
    if (common.json)
        json_close();
    free(devices);
    if (count <= 0) {
        if (count == 0)
            say_error("no Vulkan device: install a driver (on Debian and Ubuntu mesa-vulkan-drivers)");
        code = EXIT_NO_DEVICE;
    } else if (test) {
        code = selftest(&common);
    } else if (common.device) {  // is it one of them?
        vksteer_session *session = NULL;
        code = open_session(&common, &session);
        vksteer_session_close(&session);
    }
    if (common.json && !json_finish())
        return EXIT_FAILED;
    return code;
}
