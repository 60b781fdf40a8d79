/* images.c - PUT /v1/images, DELETE /v1/images/{id}: send a picture once, then name it.
 *
 * What is kept and for how long: api/store/images.h. Thread: a worker.
 */
#include "api/endpoint.h"

static int put(struct api_call *c) {
    const char *id = eng_picture_digest(c->pictures[0]);
    int is_new = images_put(c->api->images, c->pictures[0]), w, h;
    eng_picture_size(c->pictures[0], &w, &h);
    buf_printf(&c->body, "{\"id\":\"%s\",\"width\":%d,\"height\":%d,\"ttl_s\":%u}\n", id, w, h,
               c->api->opt.image_ttl_s);
    call_header_printf(c, "Location", "/v1/images/%s", id);
    return call_answer(c, is_new ? 201 : 200, "application/json");
}

static int images_delete(struct api_call *c) {
    if (images_forget(c->api->images, c->in.arg)) return call_fail_as(c, PROBLEM_IMAGE_NOT_FOUND);
    return call_answer(c, 204, NULL);
}

static const char *const known[] = {NULL};
static const struct input_wants wants = {.picture = "image", .known = known};
const struct endpoint images_put_endpoint = {.wants = &wants, .answer = put};
const struct endpoint images_delete_endpoint = {.answer = images_delete};
