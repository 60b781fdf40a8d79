/* images.c - PUT /v1/images, DELETE /v1/images/{id}: send a picture once, then name it.
 *
 * What is kept and for how long: api/store/images.h. Thread: a worker.
 */
#include "api/endpoint.h"

/* The answer is the same whether the picture was there or not. */
static int put(struct api_call *c) {
    char id[IDS_BYTES];
    int w, h;
    ids_picture(c->api->ids, c->owner, eng_picture_digest(c->pictures[0]), id);
    if (images_put(c->api->images, c->owner, c->payer, id, c->pictures[0]))
        return call_fail_as(c, PROBLEM_STORE_FULL);
    eng_picture_size(c->pictures[0], &w, &h);
    buf_printf(&c->body, "{\"id\":\"%s\",\"width\":%d,\"height\":%d,\"ttl_s\":%u}\n", id, w, h,
               c->api->opt.image_ttl_s);
    call_header_printf(c, "Location", "/v1/images/%s", id);
    return call_answer(c, 201, "application/json");
}

static int images_delete(struct api_call *c) {
    if (images_forget(c->api->images, c->owner, c->in.arg))
        return call_fail_as(c, PROBLEM_IMAGE_NOT_FOUND);
    return call_answer(c, 204, NULL);
}

static const char *const known[] = {NULL};
static const struct input_wants wants = {.picture = "image", .known = known};
const struct endpoint images_put_endpoint = {.wants = &wants, .answer = put};
const struct endpoint images_delete_endpoint = {.answer = images_delete};
