/* A whole VST3 plug-in in one C file, for the tests of the plug-in bridge: gain with a parameter,
   and, by -DMODE=..., misbehaviour in mid-stream. Written from the interface's layout; it
   contains none of the SDK. Linux only (there the interface's identifiers are big-endian). */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WELL, CRASH, HANG, LEAVE, NOT_A_NUMBER, FLOOD, LIE, LEAK_STDOUT };
#ifndef MODE
#define MODE WELL
#endif
#define AFTER_CALLS 12 /* of process() with a long buffer: in the second block of a stream */

typedef int32_t result;
typedef unsigned char uid[16];
#define UID(a, b, c, d)                                                                          \
    {a >> 24, (a >> 16) & 255, (a >> 8) & 255, a & 255, b >> 24, (b >> 16) & 255,                \
     (b >> 8) & 255, b & 255, c >> 24, (c >> 16) & 255, (c >> 8) & 255, c & 255,                 \
     d >> 24, (d >> 16) & 255, (d >> 8) & 255, d & 255}
static const uid UNKNOWN = UID(0x00000000u, 0x00000000u, 0xC0000000u, 0x00000046u);
static const uid FACTORY = UID(0x7A4D811Cu, 0x52114A1Fu, 0xAED9D2EEu, 0x0B43BF9Fu);
static const uid BASE = UID(0x22888DDBu, 0x156E45AEu, 0x8358B348u, 0x08190625u);
static const uid COMPONENT = UID(0xE831FF31u, 0xF2D54301u, 0x928EBBEEu, 0x25697802u);
static const uid PROCESSOR = UID(0x42043F99u, 0xB7DA453Cu, 0xA569E79Du, 0x9AAEC33Du);
static const uid CONTROLLER = UID(0xDCD7BBE3u, 0x7742448Du, 0xA874AACCu, 0x979C759Eu);
static const uid OURS = UID(0x53746D77u, 0x72696768u, 0x74537475u, 0x62000001u);

typedef struct { int32_t media, direction, channels; int16_t name[128]; int32_t type; uint32_t flags; } BusInfo;
typedef struct { uint32_t id; int16_t title[128], brief[128], units[128]; int32_t steps; double def; int32_t unit, flags; } ParamInfo;
typedef struct { int32_t channels; uint64_t silent; float **data; } Bus;
typedef struct { int32_t mode, size, samples, ins, outs; Bus *in, *out; void *changes, *rest[4]; } Data;
typedef struct { uid cid; int32_t cardinality; char category[32], name[64]; } ClassInfo;
typedef struct { char vendor[64], url[256], email[128]; int32_t flags; } FactoryInfo;

typedef struct { void **component, **processor, **controller; double level; int calls; } Plug;
typedef void *self;
static void *component_table[], *processor_table[], *controller_table[];
static Plug *plug_of(self me) /* all three interfaces live in one static object */
{
    static Plug one = {component_table, processor_table, controller_table, 1.0, 0};
    (void)me;
    return &one;
}
static void wide(int16_t *to, const char *from)
{
    do *to++ = *from; while (*from++);
}
static uint32_t one_ref(self me) { (void)me; return 1; }
static result ok(self me) { (void)me; return 0; }
static result not_done(self me) { (void)me; return 3; }
static result query(self me, const uid iid, void **object)
{
    Plug *plug = plug_of(me);
    if (!memcmp(iid, UNKNOWN, 16) || !memcmp(iid, BASE, 16) || !memcmp(iid, COMPONENT, 16)) *object = &plug->component;
    else if (!memcmp(iid, PROCESSOR, 16)) *object = &plug->processor;
    else if (!memcmp(iid, CONTROLLER, 16)) *object = &plug->controller;
    else { *object = 0; return -1; }
    return 0;
}
static result initialize(self me, void *host) { (void)me; (void)host; return 0; }
static int32_t bus_count(self me, int32_t media, int32_t direction) { (void)me; (void)direction; return media == 0; }
static result bus_info(self me, int32_t media, int32_t direction, int32_t index, BusInfo *bus)
{
    (void)me;
    if (media || index) return 2;
    memset(bus, 0, sizeof *bus);
    bus->direction = direction; bus->channels = 2; bus->flags = 1;
    wide(bus->name, "main");
    return 0;
}
static result arrangement(self me, int32_t direction, int32_t index, uint64_t *speakers) { (void)me; (void)direction; (void)index; *speakers = 3; return 0; }
static result arrange(self me, uint64_t *in, int32_t ins, uint64_t *out, int32_t outs)
{
    (void)me;
    return ins == 1 && outs == 1 && *in == 3 && *out == 3 ? 0 : 1;
}
static uint32_t latency(self me)
{
    (void)me;
    return MODE == LIE ? 100 : 0;
}
static result process(self me, Data *data)
{
    Plug *plug = plug_of(me);
    if (data->samples < 1 || data->ins < 1 || data->outs < 1) return 0;
    plug->calls += data->samples == 8192;
    int now = plug->calls > AFTER_CALLS;
    if (now && MODE == CRASH) *(volatile int *)0 = 1;
    if (now && MODE == HANG) for (;;) ;
    if (now && MODE == LEAVE) exit(0);
    if (MODE == FLOOD) for (int i = 0; i < 20000; i++) fprintf(stderr, "stub: line %d of a flood\n", i);
    if (MODE == LEAK_STDOUT) { puts("{\"id\": 1, \"frames\": 7}"); fflush(stdout); }
    for (int c = 0; c < data->out->channels; c++)
        for (int i = 0; i < data->samples; i++)
            data->out->data[c][i] = now && MODE == NOT_A_NUMBER ? NAN : data->in->data[c][i] * (float)plug->level;
    return 0;
}
static int32_t param_count(self me) { (void)me; return 1; }
static result param_info(self me, int32_t index, ParamInfo *info)
{
    (void)me;
    if (index) return 2;
    memset(info, 0, sizeof *info);
    wide(info->title, "Level"); info->def = 1.0; info->flags = 1;
    return 0;
}
static result param_text(self me, uint32_t id, double value, int16_t *text)
{
    char line[32];
    (void)me; (void)id;
    snprintf(line, sizeof line, "%.3f", value);
    wide(text, line);
    return 0;
}
static result param_parse(self me, uint32_t id, int16_t *text, double *value)
{
    char line[32] = "";
    (void)me; (void)id;
    for (int i = 0; i < 31 && text[i]; i++) line[i] = (char)text[i];
    *value = atof(line);
    return 0;
}
static double same(self me, uint32_t id, double value) { (void)me; (void)id; return value; }
static double param_get(self me, uint32_t id) { (void)id; return plug_of(me)->level; }
static result param_set(self me, uint32_t id, double value) { (void)id; plug_of(me)->level = value; return 0; }
static void *no_view(self me, const char *name) { (void)me; (void)name; return 0; }
static uint32_t no_tail(self me) { (void)me; return 0; }

static void *component_table[] = {query, one_ref, one_ref, initialize, ok, not_done, not_done,
    bus_count, bus_info, not_done, ok, ok, ok, ok};
static void *processor_table[] = {query, one_ref, one_ref, arrange, arrangement, ok, latency, ok, ok, process, no_tail};
static void *controller_table[] = {query, one_ref, one_ref, initialize, ok, ok, ok, ok, param_count,
    param_info, param_text, param_parse, same, same, param_get, param_set, ok, no_view};

static result factory_info(self me, FactoryInfo *info)
{
    (void)me;
    memset(info, 0, sizeof *info);
    strcpy(info->vendor, "tests");
    return 0;
}
static int32_t class_count(self me) { (void)me; return 1; }
static result class_info(self me, int32_t index, ClassInfo *info)
{
    (void)me; (void)index;
    memset(info, 0, sizeof *info);
    memcpy(info->cid, OURS, 16);
    info->cardinality = 0x7FFFFFFF;
    strcpy(info->category, "Audio Module Class");
    strcpy(info->name, "Stub");
    return 0;
}
static result create(self me, const char *cid, const char *iid, void **object)
{
    (void)cid;
    return query(me, (const unsigned char *)iid, object);
}
static result factory_query(self me, const uid iid, void **object)
{
    *object = !memcmp(iid, UNKNOWN, 16) || !memcmp(iid, FACTORY, 16) ? me : 0;
    return *object ? 0 : -1;
}
static void *factory_table[] = {factory_query, one_ref, one_ref, factory_info, class_count, class_info, create};
static void **factory = factory_table;

int ModuleEntry(void *handle) { (void)handle; return 1; }
int ModuleExit(void) { return 1; }
void *GetPluginFactory(void)
{
#ifdef AT_LOAD
    AT_LOAD; /* what else a plug-in may do as soon as it is asked for anything */
#endif
    return &factory;
}
