# rooms.awk - who may include whom: docs/design.md, "Rooms".
#
#     awk -v root=PREFIX -f rooms.awk FILES      PREFIX is cut off each file's name
#
# A file belongs to the room with the longest matching folder. It may include what the table grants
# its room, by the full path from the root. Headers from outside that are rationed have the files
# that may include them as a pattern. Prints one line per breach.

function grant(room, what) { may[room] = what }
function ration(header, files) { rations[++n_rations] = header; homes[n_rations] = files }

BEGIN {
    base = "kernels/base/"
    grant("kernels/base/", base)
    grant("kernels/ref/", base " kernels/kern.h kernels/op/ kernels/ref/")
    grant("kernels/cpu/", base " kernels/kern.h kernels/op/ kernels/cpu/")
    grant("kernels/cuda/", base " kernels/kern.h kernels/op/ kernels/cuda/")
    grant("kernels/op/", base " kernels/op/")
    grant("kernels/", base " kernels/kern.h kernels/moved.h kernels/op/ kernels/ref/ref.h kernels/cpu/cpu.h")

    grant("media/", base " media/")
    grant("data/", base " media/ data/ engine/sample.h")
    grant("data/source/", base " media/ engine/sample.h data/source.h data/annot.h data/files.h data/refs.h data/rounds.h data/source/")
    grant("data/draw/", base " media/ engine/sample.h data/features.h data/source.h data/sampler.h data/prefetch.h data/exam.h data/source/internal.h data/draw/")

    # unit -> ask -> run -> answer, picture, model -> files; train -> prompts, answer, model
    grant("engine/files/", base " engine/files/")
    grant("engine/model/", base " kernels/kern.h engine/files/ engine/model/")
    grant("engine/picture/", base " engine/engine.h engine/picture/")
    grant("engine/answer/", base " engine/engine.h engine/files/sptok.h engine/answer/")
    down = " engine/engine.h engine/model/model.h engine/model/berth.h engine/files/sptok.h engine/answer/ "
    grant("engine/run/", base down "engine/run/")
    grant("engine/ask/", base down "engine/sample.h engine/run/ engine/ask/")
    grant("engine/train/", base " kernels/kern.h engine/engine.h engine/sample.h engine/files/ engine/model/model.h engine/model/net.h engine/picture/resize.h engine/ask/prompt.h engine/answer/ engine/train/")
    # the readers of pickles: nothing that serves may include them
    grant("engine/import/", base " engine/files/ engine/model/model.h engine/import/")
    grant("engine/train/mpi/", base " engine/train/comm.h engine/train/mpi/")
    grant("engine/unit/", base down "engine/files/sums.h kernels/kern.h engine/picture/ engine/run/ engine/ask/ engine/unit/")
    grant("engine/", base " kernels/kern.h engine/engine.h engine/sample.h engine/picture/ engine/ask/prompt.h engine/run/job.h engine/unit/")

    # store and runner know no job: the keeper brings them together
    grant("jobs/", base " jobs/")

    # wire knows no call, store no request; task -> endpoint -> ask, stream -> call -> state ->
    # store
    grant("api/wire/", base " engine/engine.h api/api.h api/wire/")
    grant("api/store/", base " engine/engine.h engine/files/newfile.h engine/files/smallfile.h engine/files/smalljson.h api/api.h api/store/")
    grant("api/state.", down = base " engine/engine.h jobs/jobs.h jobs/batches.h media/ api/api.h api/wire/ api/store/ api/state.h")
    grant("api/call.", down = down " api/call.h")
    grant("api/ask.", down " api/ask.h")
    grant("api/stream.", down " api/stream.h")
    grant("api/endpoint.", down = down " api/ask.h api/stream.h api/endpoint.h")
    grant("api/task/", down " api/task/")
    grant("api/admin/", down " api/admin/")
    grant("api/", down " api/static.h")
    grant("server/keys/", base " api/api.h engine/files/newfile.h server/keys/")
    grant("server/http/", base " api/api.h server/http/ server/keys/keys.h server/keys/audit.h")
    grant("server/relay/", base " api/api.h server/http/http.h server/http/framing.h server/relay/")
    grant("server/", base " engine/engine.h jobs/jobs.h api/api.h batch/batches.h server/")
    # lines are asked through the API, as requests are; the command line and the server do it
    grant("batch/", base " engine/engine.h jobs/jobs.h jobs/batches.h api/api.h batch/")
    grant("cli/batch/", base " engine/engine.h api/api.h batch/ cli/")
    grant("cli/battery/", base " data/ engine/engine.h cli/")
    grant("cli/eval/", base " media/ data/ engine/engine.h cli/")
    grant("cli/gate/", base " media/ data/ engine/engine.h engine/sample.h engine/train/train.h engine/files/newfile.h cli/")
    grant("cli/import/", base " data/ engine/engine.h engine/files/newfile.h engine/files/sums.h engine/import/import.h cli/")
    grant("cli/train/", base " media/ data/ engine/engine.h engine/sample.h engine/picture/resize.h engine/train/train.h engine/train/comm.h engine/files/newfile.h cli/")
    grant("cli/", base " media/ data/ kernels/kern.h engine/engine.h engine/train/train.h engine/sample.h jobs/jobs.h api/api.h server/serve.h server/keys/edit.h cli/")

    ration("^microhttpd[.]h$", "^server/http/(http|intake|answer)[.]c$|^server/http/loop[.]h$")
    ration("^(png|jpeglib|jerror)[.]h$|^webp/", "^media/picture_[a-z]*[.]c$")
    ration("^jansson[.]h$", "^(api/[a-z_0-9/]*[.][ch]|data/[a-z_/]*[.][ch]|jobs/[a-z]*[.]c|engine/(files|import)/[a-z_]*[.]c|engine/model/config[.]c|batch/[a-z]*[.]c|cli/(battery|eval|gate|import|train)/[a-z]*[.][ch]|cli/(adapters|jobs[a-z_]*|http_client_read)[.][ch])$")
    ration("^openssl/", "^(api/(wire/base64|meta|store/(decoded|ids)|admin/fine_tuning_write)|engine/picture/picture|engine/model/digest|engine/files/(adapter|sums)|engine/import/hasher|batch/turn|server/keys/(keyfile|keys|edit)|server/relay/tls|server/http/spool|data/source/(check|get|source)|cli/train/(recipe|mix))[.]c$")
    ration("^sqlite3[.]h$", "^jobs/(store(_batches)?[.]c|rows[.][ch])$")
    ration("^spawn[.]h$", "^(jobs/runner|cli/neighbour|cli/replicas)[.]c$")
    ration("^mpi[.]h$", "^engine/train/mpi/")
    ration("^(cuda|cublas|mma)[A-Za-z0-9_]*[.]h$", "^kernels/cuda/")
    ration("^(imm|x86)intrin[.]h$", "^kernels/cpu/")
    ration("^pthread[.]h$", "^(kernels/base/(queue|log)|data/draw/prefetch|kernels/cpu/pool|engine/unit/unit|engine/engine|engine/model/digest|engine/model/weights_seed|engine/import/hasher|engine/train/mpi/mpi|engine/run/(job|band)|jobs/(jobs|keeper|watch|state)|batch/(crew|batches)|cli/bench_replicas|api/state|api/store/(shelf|quotas|catalog[a-z_]*)|server/[a-z_/]*)[.][ch]$")
}

FNR == 1 {
    file = FILENAME
    if (root != "" && index(file, root) == 1) file = substr(file, length(root) + 1)
    room = ""
    for (r in may) if (index(file, r) == 1 && length(r) > length(room)) room = r
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, part, "\"")
    if (room == "") next
    ok = 0
    n = split(may[room], granted, " ")
    for (i = 1; i <= n; i++) {
        g = granted[i]
        if (part[2] == g || (g ~ /\/$/ && index(part[2], g) == 1)) ok = 1
    }
    if (!ok) print FILENAME ":" FNR ": " room " may not include " part[2]
}

/^[ \t]*#[ \t]*include[ \t]*</ {
    split($0, part, /[<>]/)
    for (i = 1; i <= n_rations; i++)
        if (part[2] ~ rations[i] && file !~ homes[i])
            print FILENAME ":" FNR ": <" part[2] "> belongs to " homes[i]
}
