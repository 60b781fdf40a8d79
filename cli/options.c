/* options.c - the table of options that config.c parses and prints.
 *
 * A row names the field that it fills by its offset. Bounds are the true ones, those of the door
 * that takes the number, so that nothing is loaded before a value is refused.
 */
#include "cli/config.h"

#include <stddef.h>

#include "jobs/jobs.h"
#include "kernels/base/err.h"

enum { ALL = CMD_SERVE | CMD_RECONSTRUCT | CMD_EVAL | CMD_BENCH | CMD_ASK | CMD_BATCH };
static const char *const comms[] = {"one", "mpi", NULL};
const char *const config_orders[] = {"auto", "yx", "xy", NULL};
static const char *const devices[] = {"auto", "cpu", "ref", "cuda", NULL};
static const char *const train_devices[] = {"cpu", "cuda", NULL};
static const char *const isas[] = {"auto", "avx512", "avx2", "portable", "avx512bf16",
                                   "amx",  "tile",   "flat", "strict",   NULL};
static const char *const weight_forms[] = {"auto", "f32",    "bf16",   "f16", "int8",
                                           "int4", "int8x8", "int4x8", "fp8", NULL};
static const char *const kv_forms[] = {"auto", "f32", "bf16", "int8", NULL};
static const char *const adapter_forms[] = {"auto", "f32", "bf16", NULL};

/* ---- what a text must be ---- */

static int check_net(const char *text, struct err *e) {
    struct peer_net net;
    return peer_net_read(text, &net, e);
}

/* ---- the rows: name, commands, field; bounds and default; the value's name, help ---- */

#define ROW(kind_, name_, cmds_, field_, value_, help_)                                    \
    .name = (name_), .kind = (kind_), .cmds = (cmds_), .value = (value_), .help = (help_), \
    .at = offsetof(struct config, field_)
#define TEXT(name, cmds, field, value, help) \
    { ROW(VALUE_TEXT, name, cmds, field, value, help) }
#define LIST(name, cmds, field, value, help) \
    { ROW(VALUE_LIST, name, cmds, field, value, help) }
#define FLAG(name, cmds, field, help) \
    { ROW(VALUE_FLAG, name, cmds, field, NULL, help) }
#define WORD(name, cmds, field, list, help) \
    { ROW(VALUE_WORD, name, cmds, field, "WORD", help), .words = (list) }
#define NUMBER(name, cmds, field, from, to, initial, value, help)                         \
    {                                                                                     \
        ROW(VALUE_NUMBER, name, cmds, field, value, help), .least = (from), .most = (to), \
                                                           .start = (initial)             \
    }
#define NUMBERS(name, cmds, field, from, to, value, help) \
    { ROW(VALUE_NUMBERS, name, cmds, field, value, help), .least = (from), .most = (to) }
/* A text that most often is one of a list: what stands there is checked by who takes it. */
#define OFTEN(name, cmds, field, list, value, help) \
    { ROW(VALUE_TEXT, name, cmds, field, value, help), .words = (list) }
#define SECTION(title) \
    { .help = (title) }

static const struct config_row rows[] = {
    SECTION("Output"),
    TEXT("output", CMD_RECONSTRUCT, out, "FILE",
         "Write the PNG to FILE; - is standard output. Short form: -o."),
    TEXT("output", CMD_ASK, out, "FILE",
         "Write the answer to FILE: a picture if it is called NAME.png, else JSON. Default: -, "
         "which is standard output. Short form: -o."),
    TEXT("output", CMD_EVAL, out, "DIR",
         "pvp and seg: write truths and answers to DIR, as PNG files the size of the grid. gate: "
         "the "
         "scores of each question, as items.jsonl. Short form: -o."),
    TEXT("json", CMD_EVAL, json, "FILE",
         "Write scores and answers to FILE as one JSON object. With - they go to standard output, "
         "and no table is printed."),
    FLAG("json", CMD_BENCH, is_json, "Print JSON instead of a table."),
    FLAG("json", CMD_TRAIN, is_json, "check, plan: print JSON."),

    TEXT("out", CMD_TRAIN, out, "DIR",
         "Folder for checkpoints, losses and the result. Default: what the recipe says, or runs/ "
         "and the recipe's name. Short form: -o."),

    TEXT("output", CMD_IMPORT, out, "DIR",
         "The model's folder, which mustn't be there yet. Short form: -o."),
    FLAG("no-copy", CMD_IMPORT, is_pointing,
         "Leave the weights in the originals, and write where they are. The originals have to stay "
         "as and where they are. What a LoRA changes is written."),
    TEXT(
        "keep-adapter", CMD_IMPORT, keep_adapter, "DIR",
        "Write the LoRA to DIR, as an adapter for the model, instead of adding it to the weights."),

    SECTION("What the originals don't say"),
    TEXT("tokenizer", CMD_IMPORT, tokenizer, "FILE",
         "LLaMA-2's tokenizer.model. Default: that of the last folder with one."),
    FLAG("any-tokenizer", CMD_IMPORT, is_any_tokenizer,
         "Take a tokenizer that doesn't spell as LLaMA-2's, for a model that was trained with it."),
    TEXT("config", CMD_IMPORT, as_config, "FILE",
         "A config.json of lammd's, with all sizes. Default: they are found in the originals."),
    NUMBER(
        "image-size", CMD_IMPORT, image_size, 0, 4096, 0, "N",
        "Side of the tower's pictures. 0, the default: what a checkpoint's config says, else 448 "
        "for EVA ViT-g as published, else what the tower's positions are for."),
    NUMBER("vision-heads", CMD_IMPORT, vision_heads, 0, 512, 0, "N",
           "Attention heads of the tower, which no tensor tells. 0, the default: 16 for EVA ViT-g; "
           "a tower of another width needs it."),
    NUMBER("pixel-grid", CMD_IMPORT, pixel_grid, 0, 1024, 0, "N",
           "Side of the grid of pixels. 0, the default: 64."),
    WORD("coord-order", CMD_IMPORT, coord_order, config_orders,
         "Which number of loc: [a,b] is the row's: yx, the first; xy, the second. auto (default): "
         "yx."),
    NUMBER("inst-spaces", CMD_IMPORT, inst_spaces, 0, 2, 0, "N",
           "Blanks in front of [/INST]. 0, the default: 1."),
    NUMBER("bos-count", CMD_IMPORT, bos_count, 0, 2, 0, "N",
           "Tokens that begin a prompt. 0, the default: 1."),
    TEXT("rms-eps", CMD_IMPORT, rms_eps, "X",
         "The decoder's rms_norm_eps. Default: that of LLaMA's config.json."),
    TEXT("lora-alpha", CMD_IMPORT, lora_alpha, "X",
         "The LoRA's alpha. Default: that of the checkpoint's config, else 16."),
    FLAG("drop-unknown", CMD_IMPORT, is_dropping,
         "Leave tensors out that have no place in the model. Without it they are an error."),
    TEXT("probe", CMD_IMPORT, probe, "PHOTO",
         "Ask the model for a part of PHOTO's pixels, with each choice of the four above, and keep "
         "what is nearest to the truth. Without originals: of a folder that is there already."),

    SECTION("What is trained"),
    LIST("set", CMD_TRAIN, sets, "NAME=VALUE",
         "What ${NAME} in a path of the recipe stands for; or, as SECTION.KEY=VALUE, what a key of "
         "the recipe is: --set learn.rate=1e-4. May be repeated."),
    NUMBER("steps", CMD_JOBS, steps, 0, CONFIG_BIG, 0, "N",
           "Steps of the run. 0, the default: as the recipe and the data have it."),
    NUMBER("steps", CMD_TRAIN, steps, 0, CONFIG_BIG, 0, "N",
           "Shorten each stage to N steps, and its warm-up alike. 0, the default: as the recipe "
           "says."),
    FLAG("plan", CMD_TRAIN, is_plan,
         "Print what each stage takes in memory and asks in questions, and train nothing."),
    FLAG("export", CMD_TRAIN, is_export,
         "Write the result as the run's newest checkpoint has it, and learn nothing: to look at a "
         "run that is paused. The same command without --export goes on with it."),
    FLAG("idle", CMD_TRAIN, is_idle,
         "Compute only while nothing else wants the processor (SCHED_IDLE)."),
    TEXT("take", CMD_TRAIN, take, "DIR",
         "Instead of a recipe: the state folder of a lammd serve --launcher pull. Train the oldest "
         "job that waits there, and end. Also under mpirun, with --comm mpi."),
    FLAG(
        "check", CMD_TRAIN, is_check,
        "Look at the data at PATH, which stands in the recipe's place: each line, each picture. "
        "Prints what is wrong, and trains nothing. Status 0: all of it can be learnt; 1: not all."),
    FLAG("keys", CMD_TRAIN, is_keys, "Print every key of a recipe, and train nothing."),
    FLAG("gate", CMD_TRAIN, is_gated,
         "Compare the result with what it was trained from, and write gate.json beside it: as gate "
         "= "
         "yes in [run]."),
    TEXT("samples", CMD_TRAIN, samples, "FILE",
         "Write what each step would ask to FILE, as JSON lines with pictures beside it, and train "
         "nothing."),
    WORD(
        "comm", CMD_TRAIN, comm, comms,
        "one (default), or mpi: one of several processes that mpirun or srun started. The variable "
        "LAMMD_COMM may name its plugin, lammd-mpi.so."),

    TEXT("recipe", CMD_JOBS, recipe, "NAME",
         "create: one of the server's recipes. Default: own, for pairs of your own."),
    TEXT("validation", CMD_JOBS, validation, "FILE",
         "create: data to judge by, as FILE. Default: a tenth of the pictures is set aside."),
    TEXT("tasks", CMD_JOBS, tasks, "LIST",
         "create: what is learnt of the data, such as refer,vqa. Default: all that it has."),
    TEXT("suffix", CMD_JOBS, suffix, "WORD", "create: a part of the adapter's name."),
    NUMBER("epochs", CMD_JOBS, epochs, 0, 1000, 0, "N",
           "create: times that each picture is shown. 0, the default: the server's choice."),
    NUMBER("batch", CMD_JOBS, batch, 0, 16384, 0, "N",
           "create: pictures of a step. 0, the default: as the recipe says."),
    NUMBER("seed", CMD_JOBS, seed, 0, INT64_MAX, 0, "N",
           "create: of everything that is drawn. 0, the default: 1."),
    FLAG("vision", CMD_JOBS, is_vision, "create: the vision tower learns, too."),
    FLAG("follow", CMD_JOBS, is_followed, "create, events: until the job is over."),

    SECTION("What is asked"),
    TEXT("width", CMD_RECONSTRUCT, width, "N",
         "Columns of the answer. Default: those of the region."),
    TEXT("height", CMD_RECONSTRUCT, height, "N",
         "Rows of the answer. Default: those of the region."),
    TEXT("region", CMD_RECONSTRUCT, region, "X,Y,W,H",
         "Part of the model's grid, in grid places. Default: all of it."),
    TEXT("tiles", CMD_RECONSTRUCT, tiles, "N",
         "Cut the photo into N x N parts and paint each by itself: a picture N times as wide and "
         "high, in N * N times the time."),
    WORD("estimate", CMD_RECONSTRUCT | CMD_BENCH, estimate, eng_estimate_words,
         "How a colour is chosen: mode (default), median or mean."),
    NUMBER("limit", CMD_BENCH, limit, 0, CONFIG_BIG, 0, "N",
           "pix4096: ask N places; mix: N actions in a row; replicas: N pictures each. For slow "
           "machines. 0, the default: all places, 40 actions, 8 pictures."),
    NUMBER("limit", CMD_EVAL, limit, 0, CONFIG_BIG, 0, "N",
           "Use only the first N pictures or questions; battery: of each part; gate: any N of each "
           "task. 0, the default: "
           "all; gate: 300."),
    TEXT("images", CMD_EVAL, images, "DIR",
         "Folder of the pictures. Default: images/ beside the annotations if it exists, else their "
         "own folder."),
    FLAG("whole-grid", CMD_EVAL, is_whole_grid,
         "seg: ask every place of the grid, without asking for a box first."),
    FLAG("given-boxes", CMD_EVAL, is_given_boxes, "seg: ask the places inside the true boxes."),
    FLAG("refine", CMD_EVAL, is_refined,
         "seg: ask the mask of the part of the picture around the box, as a picture of its own."),
    NUMBER("tiles", CMD_EVAL, n_tiles, 1, 8, 1, "N",
           "pvp: cut each picture into N x N parts and ask each by itself."),
    TEXT("adapter", CMD_EVAL, adapter, "DIR",
         "gate: the adapter that is compared with --model, which it was trained from."),
    TEXT("against", CMD_EVAL, against, "DIR", "gate: another model in place of an adapter."),
    LIST("data", CMD_EVAL, data, "PATH",
         "gate: questions with right answers that were not learnt from, as docs/training-data.md "
         "has them. May be repeated."),
    TEXT("table", CMD_EVAL, table, "FILE",
         "battery: append a line for each figure to FILE, and print the last figures of the same "
         "exam beside the new ones."),
    TEXT("label", CMD_EVAL, label, "TEXT",
         "battery: what the table calls this model. Default: the name of its folder."),
    NUMBER("repeat", CMD_BENCH, repeat, 1, 1000, 5, "N", "Repeat each measurement N times."),
    FLAG("quick", CMD_BENCH, is_quick,
         "pix4096: only the default width. mix: only act. train: with the tower, no operations."),
    FLAG("train", CMD_BENCH, is_beside_train,
         "mix: act beside a run of lammd train, a process of its own at the lowest priority."),
    LIST("data", CMD_BENCH, data, "PATH",
         "mix --train: what the run learns from. Default: scenes that are drawn for it."),
    LIST("adapter", CMD_BENCH, with, "DIR",
         "mix: act also with these adapters in turn, beside whole pictures by the others, and "
         "compare. May be repeated."),
    TEXT("profile", CMD_BENCH, profile, "FILE",
         "Time each operation and write a table to FILE. This slows down what is measured."),

    FLAG("unordered", CMD_BATCH, is_unordered,
         "Write answers as they finish. Without it they stand in the order of the questions."),
    TEXT("part", CMD_BATCH, part, "I/N",
         "Only every N-th line, from the I-th on: 0/4, 1/4, 2/4 and 3/4 are all of them. Each part "
         "needs an OUT of its own. For the tasks of an array."),
    FLAG(
        "eager", CMD_BATCH, is_eager,
        "Compute like any other program. Without it a batch computes only while nothing else wants "
        "the processor (SCHED_IDLE)."),
    NUMBER("workers", CMD_BATCH, steppers, 1, 64, 2, "N",
           "Threads that decode pictures and write answers."),

    SECTION("Options from a file"),
    {ROW(VALUE_TEXT, "config", CMD_SERVE, file, "FILE",
         "Read options from FILE: lines NAME = VALUE, with the names of this list. What is said "
         "here "
         "wins over it. lammd.conf(5) describes the file."),
     .is_of_line = 1},
    {ROW(VALUE_FLAG, "check-config", CMD_SERVE, is_trial, NULL,
         "Say whether the options, and those of the file, are right, and end: status 0, or 2."),
     .is_of_line = 1},

    SECTION("Where to listen"),
    LIST("listen", CMD_SERVE, listen, "ADDR:PORT",
         "Address and port. Port 0 takes a free one. May be repeated. Default: 127.0.0.1:8080."),
    LIST("listen-tls", CMD_SERVE, listen_tls, "ADDR:PORT",
         "The same, with TLS 1.2 or 1.3. May be repeated. SIGHUP reads its files again."),
    TEXT("tls-cert", CMD_SERVE, tls_cert, "FILE",
         "Certificate for --listen-tls, as PEM; those that sign it behind it."),
    TEXT("tls-key", CMD_SERVE, tls_key, "FILE", "Its private key, as PEM, without a passphrase."),
    TEXT("tls-client-ca", CMD_SERVE, tls_client_ca, "FILE",
         "Take only clients that show a certificate signed by one of these, as PEM."),
    LIST("allow-host", CMD_SERVE, hosts, "NAME",
         "Accept requests whose Host header is NAME, or any name if it is *. localhost and IP "
         "addresses are always accepted. May be repeated."),
    LIST("allow-origin", CMD_SERVE, origins, "URL",
         "Accept requests from pages of URL, such as https://see.example. Pages that this server "
         "sent are always accepted, unless a proxy changes the Host header. May be repeated."),
    {ROW(VALUE_LIST, "trusted-proxy", CMD_SERVE, proxies, "NET",
         "Address or net of a proxy in front, such as 10.0.0.0/8. X-Forwarded-For of its requests "
         "says whom they are for; others than these and this machine can't connect. May be "
         "repeated."),
     .check = check_net},
    TEXT("admin-socket", CMD_SERVE, admin_socket, "PATH",
         "Also listen on a unix socket that only this user may connect to, for all scopes."),
    FLAG("verbose", CMD_SERVE, is_verbose,
         "Log every request, also those outside /v1, and what the HTTP library says."),

    SECTION("Who may ask"),
    TEXT("keys", CMD_SERVE | CMD_KEYS, key_file, "FILE",
         "File of keys. With it, each call needs a key whose scopes fit. SIGHUP reads it again."),
    FLAG("insecure", CMD_SERVE, is_insecure,
         "Listen to others than this machine without keys: whoever can connect may ask."),
    TEXT("audit", CMD_SERVE, audit, "FILE",
         "Record acts of administrators and refused keys, a line of JSON each. SIGHUP opens it "
         "again. While it can't be written, such acts are refused."),
    NUMBER(
        "key-requests", CMD_SERVE, key_requests, 0, HTTP_CONNECTIONS_MAX, 0, "N",
        "Requests that one key may have at once; without keys, one address. More are answered with "
        "status 429. 0, the default: 64 with keys, no limit without."),
    NUMBER(
        "key-tokens", CMD_SERVE, key_tokens, 0, INT64_C(1) << 50, 0, "N",
        "And work of these in the queue, in prompt tokens. 0, the default: half of the queue with "
        "keys, no limit without."),
    NUMBER("key-body-mib", CMD_SERVE, key_body_mib, 0, 65536, 0, "MIB",
           "And memory for their bodies. 0, the default: 64 with keys, no limit without."),
    NUMBER("key-images", CMD_SERVE, key_images, 0, API_IMAGES_MAX, 0, "N",
           "Pictures that one key may have stored; without keys, one address. Its oldest makes "
           "room. 0, the default: half of --stored-images."),
    NUMBER("key-sessions", CMD_SERVE, key_sessions, 0, API_SESSIONS_MAX, 0, "N",
           "Games that one key may play at once; without keys, one address. 0, the default: a "
           "quarter of --sessions with keys, half without."),
    NUMBER("key-uploads", CMD_SERVE, key_uploads, 0, HTTP_CONNECTIONS_MAX, 0, "N",
           "Files that one key may be sending at once. 0, the default: 2 with keys, no limit "
           "without."),
    TEXT("scopes", CMD_KEYS, scopes, "LIST",
         "new: what the key is for: some of ask, metrics, train, promote, admin, with commas "
         "between. Default: ask."),
    NUMBER("days", CMD_KEYS, days, 0, 36500, 0, "N",
           "new: the key expires after N days. 0, the default: never."),

    SECTION("Which server"),
    TEXT("url", CMD_ADAPTERS | CMD_JOBS, url, "URL",
         "Address of the server: http://HOST:PORT. Default: http://127.0.0.1:8080. Without TLS, so "
         "for this machine, or a network that you trust."),
    TEXT("admin-socket", CMD_ADAPTERS | CMD_JOBS, admin_socket, "PATH",
         "Ask by the unix socket of lammd serve --admin-socket instead, where no key is needed."),
    TEXT("key-file", CMD_ADAPTERS | CMD_JOBS, key_file, "FILE",
         "File with the key in its first line. Default: the key in the variable LAMMD_KEY, if it "
         "is set."),
    FLAG("force", CMD_ADAPTERS, is_forced,
         "promote: also what is worse than the present default, or was never compared with it."),

    SECTION("Model and device"),
    TEXT(
        "model", ALL, model, "DIR",
        "Folder with config.json, model.safetensors and tokenizer.model. Default: lamm-mini, which "
        "comes with the program."),
    TEXT("shape", CMD_BENCH, shape, "NAME",
         "Instead of --model: the sizes of a model without its weights, such as pae-lamm-7b. Needs "
         "--weights."),
    TEXT(
        "weights", CMD_BENCH, weights, "random:SEED",
        "Make the weights from a seed instead of reading them. The speed is true, the answers mean "
        "nothing."),
    OFTEN("device", ALL | CMD_IMPORT, device, devices, "NAME",
          "auto (default), cpu, ref, cuda or cuda:N. Several with commas between them, such as "
          "cuda:0,cuda:1, each get a copy of the model. auto takes the CPU for now. cuda needs "
          "lammd-cuda.so; the variable LAMMD_PLUGIN may name it."),
    TEXT("model", CMD_TRAIN, model, "DIR",
         "Folder of the model to begin with. Default: what the recipe says, or lamm-mini, which "
         "comes with the program."),
    OFTEN("device", CMD_TRAIN, device, devices, "NAME",
          "One of those that lammd serve takes. Default: what the recipe says, or auto."),
    OFTEN("isa", ALL | CMD_TRAIN | CMD_IMPORT, isa, isas, "NAME",
          "Which kernels compute. auto (default); on cpu: avx512, avx2 or portable, or avx512bf16 "
          "or amx, which round what they multiply to bf16: for training; on cuda: tile, flat or "
          "strict, "
          "and the same followed by +graphs."),
    NUMBER("threads", ALL | CMD_TRAIN | CMD_IMPORT, threads, 0, ENG_THREADS_MAX, 0, "N",
           "Threads that compute. 0, the default: one for each core."),
    OFTEN(
        "weights-as", ALL, weights_as, weight_forms, "FORM",
        "What weights are kept in. auto (default) loses nothing, nor does f32: on a processor wide "
        "matrices stay in the 16 bits that they are stored in, and others are f32, or where that "
        "finds no room in 16 bits, too. bf16 or f16, int8, "
        "int4, on a processor: about a half, a quarter and a seventh of the memory; int4 for the "
        "decoder, with a vision tower in int8. int8x8 and int4x8: the same, and products are of 8 "
        "bits, too: faster. fp8: the decoder's products, too, in e4m3, for GPUs "
        "of compute capability 8.9 and up. Forms change the answers, but for the one that a model "
        "is stored in."),
    OFTEN(
        "kv-as", ALL, kv_as, kv_forms, "FORM",
        "What the KV cache is kept in. auto, the default: f32 on a processor, bf16 on a GPU. f32 "
        "or bf16: that; int8, on a processor: whole numbers with a scale for each token and head. "
        "bf16 takes half and int8 about a quarter of the memory, and both change the answers a "
        "little."),

    SECTION("Memory and sizes"),
    NUMBER("memory-mib", ALL | CMD_TRAIN | CMD_IMPORT, memory_mib, 0, INT64_C(1) << 30, 0, "MIB",
           "Memory to use on each device, weights included. 0, the default: all that is free."),
    NUMBER("lanes", ALL, lanes, 0, ENG_ROWS_MAX, 0, "N",
           "Questions decoded at once, at most --rows. 0, the default: as many as --rows."),
    NUMBER("rows", ALL & ~CMD_BENCH, rows, 0, ENG_ROWS_MAX, 0, "N",
           "Token rows of a pass. 0, the default: 512 on a processor; on a GPU 1024, or 2048 where "
           "more than 60 GB are free; or --lanes if that is more. Each model has a least number; "
           "lamm-mini has 72."),
    NUMBERS("rows", CMD_BENCH, rows_of, 0, ENG_ROWS_MAX, "N",
            "Token rows of a pass, as elsewhere. pix4096 takes several with commas between them, "
            "and measures each."),
    NUMBER("kv-tokens", ALL, kv_tokens, 0, ENG_KV_TOKENS_MAX, 0, "N",
           "Slots of the KV cache. 0, the default: enough for the lanes and some pictures."),
    NUMBER(
        "cached-images", ALL, cached_images, -1, ENG_CACHED_IMAGES_MAX, 0, "N",
        "Pictures that stay in the KV cache after their questions. 0, the default: 32; -1: none."),
    NUMBER(
        "queue-tokens", CMD_SERVE, queue_tokens, 0, INT64_C(1) << 50, 0, "N",
        "Work that may wait, in prompt tokens; one job of each caller who has none there may come "
        "on top. 0, the default: 16 whole pictures."),
    NUMBER("queue-seconds", CMD_SERVE, queue_s, 0, 86400, 10, "S",
           "Longest wait for others, estimated from the speed that was measured. What would wait "
           "longer, or miss --request-timeout, is refused at once. 0: any wait."),

    SECTION("Limits of requests"),
    NUMBER("connections", CMD_SERVE, connections, 1, HTTP_CONNECTIONS_MAX, 1024, "N",
           "Connections at once. More are answered with status 503."),
    NUMBER("workers", CMD_SERVE, workers, 1, HTTP_WORKERS_MAX, 2, "N",
           "Threads that decode pictures and write answers. Games have one more."),
    NUMBER("json-mib", CMD_SERVE, json_mib, 1, 1024, 16, "MIB", "Largest JSON body."),
    NUMBER("picture-mib", CMD_SERVE, picture_mib, 1, 1024, 12, "MIB", "Largest file of a picture."),
    NUMBER("megapixels", CMD_SERVE, megapixels, 1, ENG_PICTURE_PIXELS_MAX / 1000000, 16, "MP",
           "Largest picture, in millions of pixels."),
    NUMBER(
        "megapixels-costly", CMD_SERVE, megapixels_costly, 1, ENG_PICTURE_PIXELS_MAX / 1000000, 4,
        "MP",
        "Largest picture of a kind that costs more: a progressive JPEG, a PNG that is interlaced "
        "or has 16 bits a colour, a lossless or transparent WebP."),
    NUMBER("bodies-mib", CMD_SERVE, bodies_mib, 1, 65536, 96, "MIB",
           "Memory for all request bodies together, of which one address may have half. At least "
           "--picture-mib and --json-mib."),
    NUMBER("upload-mib", CMD_SERVE, upload_mib, 1, 1 << 20, 1024, "MIB",
           "Largest file of training data, or of a batch. It may take as long as it comes at 16 "
           "KiB a second."),

    SECTION("What is kept between requests"),
    TEXT(
        "state", CMD_SERVE, state, "DIR",
        "Keep files, jobs, batches and adapters in DIR, which is made where it is missing. Without "
        "it there is no finetuning here, and no batch."),
    NUMBER("state-free-mib", CMD_SERVE, state_free_mib, 0, 1 << 30, 512, "MIB",
           "Room on the disk of DIR that files and answers leave for everything else."),
    WORD("launcher", CMD_SERVE, launcher, jobs_launcher_words,
         "Who starts the runs of jobs. local (default): this server, one at a time. pull: whoever "
         "runs lammd train --take DIR, on any machine that sees DIR."),
    TEXT("recipes", CMD_SERVE, recipes, "DIR",
         "Folder of the recipes that jobs may name. Default: those that come with the program."),
    OFTEN("train-device", CMD_SERVE, train_device, train_devices, "NAME",
          "What runs compute on: cpu (default), cuda, cuda:N."),
    NUMBER("train-threads", CMD_SERVE, train_threads, 1, ENG_THREADS_MAX, 1, "N",
           "Threads of a run. They compute while nothing else wants the processor."),
    NUMBER("train-memory-mib", CMD_SERVE, train_memory_mib, 0, INT64_C(1) << 30, 0, "MIB",
           "Memory that a run may take. One that needs more is refused. 0, the default: what is "
           "free when it is asked for."),
    FLAG("keep-checkpoints", CMD_SERVE, is_keeping_checkpoints,
         "Leave the checkpoints of a run in its folder when its job has succeeded or was "
         "cancelled. They take up to three times what is learnt with its moments."),
    NUMBER("jobs", CMD_SERVE, jobs, 1, 10000, 64, "N",
           "Jobs that have not ended, at most, and as many batches. More are answered with status "
           "503."),
    NUMBER("key-jobs", CMD_SERVE, key_jobs, 1, 10000, 16, "N",
           "And those of one key. More are answered with status 429."),
    NUMBER("key-batch-mib", CMD_SERVE, key_batch_mib, 0, INT64_C(1) << 30, 4096, "MIB",
           "What the files of one key's batches may take of the disk. Uploads beyond are answered "
           "with status 429. 0: any size."),
    NUMBER("decoded-mib", CMD_SERVE, decoded_mib, 0, 65536, 16, "MIB",
           "Memory for pictures that were decoded: who sends the same file again has it found by "
           "the digest of its bytes. 0: each is decoded anew."),
    NUMBER("stored-images", CMD_SERVE, stored_images, 1, API_IMAGES_MAX, 64, "N",
           "Pictures kept by PUT /v1/images."),
    NUMBER("image-ttl", CMD_SERVE, image_ttl_s, 1, CONFIG_BIG, 3600, "S",
           "Seconds that a picture is kept after its last use."),
    TEXT("replica", CMD_SERVE, replica, "NAME",
         "What the ids of pictures and games begin with, so that a proxy finds the server that has "
         "them: at most 16 small letters and digits. Default: nothing."),
    NUMBER("sessions", CMD_SERVE, sessions, 1, API_SESSIONS_MAX, 64, "N",
           "Games played at once through /v1/act/sessions."),
    NUMBER("session-ttl", CMD_SERVE, session_ttl_s, 1, CONFIG_BIG, 600, "S",
           "Seconds after its last step that a game may be forgotten."),

    TEXT("shared-adapters", CMD_SERVE, shared_adapters, "DIR",
         "Adapters and their history are in DIR, on a file system that all replicas of this model "
         "see: what is loaded, promoted or rolled back at one of them is so at all. With --state, "
         "adapters of this server's own runs are copied there when they are loaded."),
    NUMBER(
        "adapters", CMD_SERVE, adapters, -1, ENG_ADAPTERS_MAX, 0, "N",
        "Adapters that can be loaded at once; their memory is reserved at start. 0, the default: "
        "4 with --state or --shared-adapters, none without; -1: none."),
    NUMBER("adapter-rank", CMD_SERVE, adapter_rank, 0, 512, 0, "R",
           "Largest rank of a LoRA among them. 0, the default: 64."),
    OFTEN("adapters-as", CMD_SERVE | CMD_BENCH, adapters_as, adapter_forms, "FORM",
          "What their matrices are kept in. auto (default) is f32, which loses nothing; bf16, on a "
          "processor, "
          "takes half of the memory, and loses nothing of adapters that are stored so."),
    NUMBER("adapter-overlays", CMD_SERVE, adapter_overlays, -1, ENG_ADAPTERS_MAX, 0, "N",
           "How many of them may have a connector or tower of their own, for which each takes as "
           "much memory as the base's. 0, the default: all; -1: none."),

    SECTION("Time limits, in seconds"),
    NUMBER("header-timeout", CMD_SERVE, header_s, 1, 3600, 10, "S",
           "For the headers of a request to arrive."),
    NUMBER("body-timeout", CMD_SERVE, body_s, 1, 3600, 60, "S",
           "For its body to arrive. After 5 s it must come at 1 KiB a second or faster."),
    NUMBER("request-timeout", CMD_SERVE, request_s, 1, 86400, 120, "S",
           "From the whole request until its answer."),
    NUMBER("idle-timeout", CMD_SERVE, idle_s, 1, 86400, 75, "S",
           "For a connection to wait for its next request."),
    NUMBER("drain-delay", CMD_SERVE, delay_s, 0, 3600, 0, "S",
           "After SIGTERM, for proxies to see that /readyz says 503: requests are taken meanwhile. "
           "A second signal ends it."),
    NUMBER("drain-timeout", CMD_SERVE, drain_s, 0, 86400, 60, "S",
           "For running requests to finish after that."),
};

const struct config_row *config_rows(size_t *n) {
    *n = ARRAY_LEN(rows);
    return rows;
}
