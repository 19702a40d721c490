// Pictures as files and on terminals.
#include <stdlib.h>
#include <string.h>

#include "cli.h"

// Where a %d stands in a pattern, and how many digits it asks for; NULL: nowhere.
static const char *find_number(const char *pattern, int *digits, size_t *length)
{
    for (const char *p = strchr(pattern, '%'); p; p = strchr(p + 1, '%')) {
        const size_t run = strspn(p + 1, "0123456789");
        if (p[1 + run] == 'd' && run <= 2) {
            *digits = run ? atoi(p + 1) : 0;
            *length = run + 2;
            return p;
        }
    }
    return NULL;
}

bool pattern_is_good(const char *pattern)
{
    int digits;
    size_t length;
    const char *at = find_number(pattern, &digits, &length);
    return !at || (digits <= 20 && !find_number(at + length, &digits, &length));
}

char *numbered_path(const char *pattern, uint32_t index, bool many)
{
    int digits = 3;
    size_t length = 0;
    const size_t room = strlen(pattern) + 32;
    char *path = malloc(room);
    const char *at = find_number(pattern, &digits, &length);
    if (!path)
        return say_error(NO_MEMORY), NULL;
    if (at) {
        snprintf(path, room, "%.*s%0*u%s", (int)(at - pattern), pattern, digits, index, at + length);
    } else if (many) {
        const char *dot = strrchr(pattern, '.');
        const size_t stem = dot && !strpbrk(dot, "/\\") && dot != pattern ? (size_t)(dot - pattern) : strlen(pattern);
        snprintf(path, room, "%.*s_%03u%s", (int)stem, pattern, index, pattern + stem);
    } else {
        strcpy(path, pattern);
    }
    return path;
}

// ---- terminals ----------------------------------------------------------------------------------------------------

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put_base64(const unsigned char *data, size_t size)
{
    for (size_t i = 0; i < size; i += 3) {
        const unsigned b = i + 1 < size ? data[i + 1] : 0, c = i + 2 < size ? data[i + 2] : 0;
        const unsigned word = (unsigned)data[i] << 16 | b << 8 | c;
        putchar(base64[word >> 18 & 63]);
        putchar(base64[word >> 12 & 63]);
        putchar(i + 1 < size ? base64[word >> 6 & 63] : '=');
        putchar(i + 2 < size ? base64[word & 63] : '=');
    }
}

// Kitty's graphics protocol: raw RGB in pieces of at most 4096 characters.
static void show_kitty(const struct vksteer_image *image)
{
    const size_t size = (size_t)image->width * image->height * 3, piece = 3072;
    for (size_t at = 0; at < size; at += piece) {
        const size_t part = size - at < piece ? size - at : piece;
        const int more = at + part < size;
        if (at == 0)
            printf("\033_Gf=24,s=%u,v=%u,a=T,m=%d;", image->width, image->height, more);
        else
            printf("\033_Gm=%d;", more);
        put_base64(image->rgb + at, part);
        fputs("\033\\", stdout);
    }
    putchar('\n');
}

// iTerm2's inline pictures: the file itself.
static bool show_iterm(const char *path)
{
    FILE *file = fopen(path, "rb");
    unsigned char part[3072];
    size_t read;
    if (!file)
        return false;
    fputs("\033]1337;File=inline=1:", stdout);
    while ((read = fread(part, 1, sizeof(part), file)) > 0)
        put_base64(part, read);
    fputs("\a\n", stdout);
    fclose(file);
    return true;
}

static unsigned cube_color(const unsigned char *rgb)
{
    return ((unsigned)rgb[0] * 5 + 127) / 255 * 36 + ((unsigned)rgb[1] * 5 + 127) / 255 * 6 +
           ((unsigned)rgb[2] * 5 + 127) / 255;
}

// Sixel with a cube of 216 colours; a band is six rows.
static void show_sixel(const struct vksteer_image *image)
{
    printf("\033Pq\"1;1;%u;%u", image->width, image->height);
    for (unsigned c = 0; c < 216; c++)
        printf("#%u;2;%u;%u;%u", c, c / 36 * 20, c / 6 % 6 * 20, c % 6 * 20);
    for (uint32_t top = 0; top < image->height; top += 6) {
        for (unsigned c = 0; c < 216; c++) {
            bool used = false;
            for (uint32_t pass = 0; pass < 2 && (pass == 0 || used); pass++) {
                if (pass)
                    printf("#%u", c);
                for (uint32_t x = 0; x < image->width; x++) {
                    unsigned bits = 0;
                    for (uint32_t y = top; y < top + 6 && y < image->height; y++)
                        if (cube_color(image->rgb + 3 * ((size_t)y * image->width + x)) == c)
                            bits |= 1u << (y - top);
                    used |= bits != 0;
                    if (pass)
                        putchar((int)(63 + bits));
                }
            }
            if (used)
                putchar('$');
        }
        putchar('-');
    }
    fputs("\033\\\n", stdout);
}

static bool environment_has(const char *name, const char *part)
{
    const char *value = getenv(name);
    return value && (!part || strstr(value, part));
}

void show_picture(const char *path, const struct vksteer_image *image)
{
    bool shown = vksteer_is_terminal(1);
    if (shown && (environment_has("KITTY_WINDOW_ID", NULL) || environment_has("TERM", "kitty") ||
                  environment_has("TERM", "ghostty")))
        show_kitty(image);
    else if (shown && (environment_has("TERM_PROGRAM", "iTerm") || environment_has("TERM_PROGRAM", "WezTerm")))
        shown = show_iterm(path);
    else if (shown && (environment_has("TERM", "sixel") || environment_has("TERM", "mlterm") ||
                       environment_has("TERM", "foot")))
        show_sixel(image);
    else
        shown = false;
    fflush(stdout);
    if (!shown)
        say("this terminal is not known to show pictures: look at %s", path);
}
