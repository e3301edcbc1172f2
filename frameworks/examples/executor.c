/* A whole executor without a library: each task's data is a command for the shell. cc -o executor executor.c
   Why it says what it says is in docs/executor-protocol.md. Ids stay as they are written. It takes no groups. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define EACH_TASK for (struct task *task = tasks; task < tasks + 256; task++)
#define UPDATE "\"task_id\":\"%s\",\"state\":\"TASK_%s\",\"update_id\":\"%d\"}"
/* What the agent has not acknowledged is `state`: of several updates the last says all. */
static struct task { char id[1600]; int pid, heard, killed, update; const char *state; } tasks[256];
static int agent = -1, attempts, leaving, updates;
static FILE *from_agent; static char text[8 << 20]; /* of the longest line there is */

static char *field(const char *name, const char *line) { /* a text in a line: within a text every quote is escaped */
    const char *begin = strstr(line, name), *end = begin = begin ? begin + strlen(name) : "";
    while (*end && *end != '"') end += *end == '\\' ? 2 : 1;
    return snprintf(text, end - begin + 1, "%s", begin), text;
}
static struct task *find(const char *id) { EACH_TASK if (!strcmp(task->id, id)) return task; return NULL; }
static void tell(struct task *task, const char *state) { /* now, and on each connection until it is acknowledged */
    task->state = state, task->update = ++updates;
    dprintf(agent, "{\"type\":\"UPDATE\"," UPDATE "\n", task->id, state, task->update);
}
static void subscribe(void) { /* begins each connection with all that the agent may not know of */
    struct sockaddr_un to = {.sun_family = AF_UNIX}; const char *comma = "";
    snprintf(to.sun_path, sizeof to.sun_path, "%s", getenv("MESOS_DOMAIN_SOCKET")); /* an agent sets it */
    agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), attempts++, from_agent = fdopen(agent, "r");
    if (connect(agent, (struct sockaddr *)&to, sizeof to)) return;
    setvbuf(from_agent, NULL, _IONBF, 0), attempts = 0; /* `poll` does not know of lines in a buffer */
    dprintf(agent, "{\"type\":\"SUBSCRIBE\",\"unacknowledged_tasks\":[");
    EACH_TASK if (*task->id && !task->heard) dprintf(agent, "%s\"%s\"", comma, task->id), comma = ",";
    dprintf(agent, "],\"unacknowledged_updates\":["), comma = "";
    EACH_TASK if (task->state) dprintf(agent, "%s{" UPDATE, comma, task->id, task->state, task->update), comma = ",";
    dprintf(agent, "]}\n");
}
static void launch(struct task *task, const char *data) { /* in a session of its own; its shell undoes base64 */
    if (!(task->pid = fork())) setsid(), execlp("sh", "sh", "-c", "eval \"$(echo $0|base64 -d)\"", data, NULL), _exit(1);
    task->killed = 0, tell(task, "RUNNING");
}
static void end(struct task *task, int ms) { /* it is asked now, and made to after the grace */
    const char *how = "(kill -TERM -%1$d; sleep %2$d.%3$03d; kill -KILL -%1$d) 2>&- &";
    if (task->pid) snprintf(text, 200, how, task->pid, ms / 1000, ms % 1000), task->killed = !system(text);
}
static void obey(const char *line) {
    const char *kind = line + strlen("{\"type\":\""), *grace = strstr(line, "\"grace_ms\":"), *data = line, *next;
    struct task *here = find(field("\"task_id\":\"", line)), *room = find("");
    int ms = grace ? atoi(grace + strlen("\"grace_ms\":")) : 0;
    while ((next = strstr(data + 1, "\"data\":\""))) data = next; /* the last: a label may be called so */
    if (kind[6] == '"' && !here && room) strcpy(room->id, text), launch(room, field("\"data\":\"", data)); /* LAUNCH */
    else if (here && *kind == 'K') end(here, ms);
    else if (here && *kind == 'A' && here->update == atoi(field("\"update_id\":\"", line)))
        here->state = NULL, here->heard = here->pid > 0, *here->id *= here->heard; /* a heard end is forgotten */
    else if (!strncmp(kind, "SHUTDOWN", 8)) { leaving = 1; EACH_TASK end(task, ms); }
}
int main(void) { /* until no agent is there for 15 minutes, or one says SHUTDOWN and has heard of every end */
    char *line = NULL; size_t room = 0; int busy = 1;
    for (signal(SIGPIPE, SIG_IGN); attempts < 9000 && (busy || !leaving);) {
        if (agent < 0) subscribe();
        struct pollfd heard = {agent, POLLIN, 0};
        poll(&heard, 1, 100);
        for (int status, pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) EACH_TASK if (task->pid == pid)
            task->pid = 0, tell(task, task->killed ? "KILLED" : status ? "FAILED" : "FINISHED");
        if (heard.revents && getline(&line, &room, from_agent) > 0) obey(line);
        else if (heard.revents) fclose(from_agent), agent = -1, poll(NULL, 0, 100);
        busy = 0; EACH_TASK busy |= *task->id;
    }
    return !leaving;
}
