/* Count words of made-up lines, and report progress from C.
 *
 *     cc -Inative/include -o report examples/report.c && taskmeter run -- ./report
 *     ./report 100000
 *
 * Runs by itself too: then nobody is told.
 */
#define _GNU_SOURCE
#include "taskmeter_report.h"

int main(int argc, char **argv) {
    long lines = argc > 1 ? atol(argv[1]) : 200000, words = 0;
    char line[200];
    tm_total(lines, 0);
    tm_status("counting words");
    tm_ready();
    for (long n = 0; n < lines; n++) {
        int bytes = snprintf(line, sizeof line, "this is line number %ld of %ld lines", n, lines);
        for (int at = 0; at < bytes; at++) words += line[at] == ' ';
        words++;
        if (n % 1000 == 999) { /* a line that is too long, say */
            tm_fail(1, bytes);
            tm_object(line);
        } else {
            tm_add(1, bytes);
        }
    }
    tm_count("words", words);
    printf("%ld words\n", words);
    return 0;
}
