/* test_coco.c - COCO's masks: by hand, and against what pycocotools makes of the same polygons. */
#include "kernels/base/mem.h"
#include "media/coco.h"
#include "tests/check.h"

enum { SIDE = 100 };

/* Random polygons, some crossing themselves and some outside, and the run lengths and areas that
 * pycocotools 2.0.11 (frPyObjects, area) gives for them. */
static const struct {
    int w, h, n, area;
    const char *counts;
    double xy[48];
} polygons[] = {
    {53,
     37,
     3,
     220,
     "dd01S12N1O1O1O1O1O1O1O1O1O1O1O100O1O00N2N2N2N2N2N2Mg=",
     {33.13, 33.2, 41.11, 8.33, 15.91, 32.32}},
    {53,
     37,
     5,
     175,
     "W31]3000kN0lN000O0F2_ON?4AL>5AK`06_OJa06^OKb05^"
     "OJd05\\OKd06ZOKf05ZOJg06YOJh06VOKj05VOKj07101O0O101O0O10001N1000001N1000V<",
     {0.28, 30.39, 42.24, 17.31, 16.06, 10.3, 13.51, 16.47, 26.74, 20.48}},
    {40,
     64,
     9,
     1400,
     "398d0:]ODe0;\\OCg08]OEf0:nNH6Nn08mNL1NR15mN0MMW11lN11LS12lN15KP12kN19Mk01lN1;1l0MVO5Y13YOI@9<"
     "HE;6FK<1FO<ND3>JB7a0E_O<c0A_O>c0_OA>`0]OFa05FK80L32H2<K_O9d0EWO?l0]"
     "OSOe0U1O1O1O1O1O1O1O1O1O1O1O1O",
     {51.71, 61.97, 27.82, 82.07, 1.78, -2.79, 27.2, -14.7, -9.72, 33.52, 17.84, 74.72, 28.27,
      33.45, 19.8, 6.15, -11.25, 0.5}},
    {17,
     11,
     4,
     18,
     "f11900000000001O00000001O100",
     {15.03, -1.09, 4.06, -5.42, 19.72, -2.1, 0.6, 13.87}},
    {64,
     64,
     24,
     1401,
     "h81n12N2N1^NKX17hNIW18hNHW19iNH8O=;[OF7O==[OE7N=>\\OE6M=`0]OB5O=a0]OA5O<b0^O@5N<c0@_O3N<e0@^"
     "O3M=f0@\\O2O=f0A\\O1N>g0@\\O1M?h0@[O0Ma0h0^O\\OOMc0Q1]OoNd0V1JhND0Ng01\\OON?5F;N_OO0=3BL9="
     "JBN2=4AL`05EIM2<97G_O0MO=5BNg0NYO30K?5AL01f01^OO;2C0e0N]O0;2C1d0M^O0;0AN26c0K_O2;NBO26b0J^O4="
     "0B3b0I^O5>LB0O6b0I^O6?KDOL88LLLM6?KF7K33EL7`0IH2M90N`0L[OK6:OO<OBH29O2<MAH013703<LBKOO2614="
     "KBLN00534=KBNMO0336>JB0M333>ID6KG4:=ID7LD3<>HD8KD1=`0FE7IF12O;b0FG7HIO9b0GH7GH18`0II8EE58>"
     "IK7LO8JM5NO5LN4ON3M13NN1O22Y1Ol2",
     {32.63, 54.22, 40.94, 47.47, 5.86,  34.63, 32.5,  55.77, 23.12, 38.28, 3.79,  24.81,
      20.67, 9.61,  52.25, 24.28, 62.64, 37.76, 38.72, 40.83, 43.29, 9.65,  28.18, 15.33,
      25.76, 6.19,  61.94, 13.76, 42.99, 19.23, 55.94, 42.38, 8.42,  54.08, 60.48, 57.85,
      36.46, 9.31,  12.32, 59.39, 35.35, 11.56, 56.58, 41.06, 36.46, 24.08, 26.3,  15.33}},
    {5,
     90,
     6,
     131,
     ">k0R1WO4R1nNTO`1j0>B?@]N",
     {0.19, 78.86, 2.34, 49.29, 1.61, 67.62, 0.13, 33.5, 0.15, 11.06, 4.84, 59.2}},
    {31, 31, 4, 357, "Q3e0:0000000000000000000000000000000a:", {3, 4, 20, 4, 20, 25, 3, 25}},
};

TEST(eval_coco_polygons_like_pycocotools) {
    for (size_t i = 0; i < ARRAY_LEN(polygons); i++) {
        int w = polygons[i].w, h = polygons[i].h;
        uint8_t bits[SIDE * SIDE] = {0}, scratch[SIDE * SIDE], wanted[SIDE * SIDE];
        uint32_t counts[600];
        size_t n;
        CHECK_EQ(coco_counts(polygons[i].counts, counts, ARRAY_LEN(counts), &n, NULL), 0);
        CHECK_EQ(coco_from_counts(counts, n, w, h, wanted, NULL), 0);
        CHECK_EQ(coco_area(wanted, (size_t)w * (size_t)h), polygons[i].area);
        CHECK_EQ(coco_add_polygon(polygons[i].xy, (size_t)polygons[i].n, w, h, bits, scratch, NULL),
                 0);
        CHECK_MEM(bits, wanted, w * h);
    }
}

TEST(eval_coco_two_polygons_are_their_union) {
    const double left[] = {0, 0, 2, 0, 2, 4, 0, 4}, right[] = {1, 1, 4, 1, 4, 3, 1, 3};
    uint8_t bits[16] = {0}, scratch[16];
    CHECK_EQ(coco_add_polygon(left, 4, 4, 4, bits, scratch, NULL), 0);
    CHECK_EQ(coco_area(bits, 16), 8);
    CHECK_EQ(coco_add_polygon(right, 4, 4, 4, bits, scratch, NULL), 0);
    CHECK_MEM(bits, ((uint8_t[16]){1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0}), 16);
}

TEST(eval_coco_refuses_polygons) {
    uint8_t bits[16] = {0}, scratch[16];
    struct err e = {0};
    CHECK_EQ(coco_add_polygon((double[]){0, 0, 2e9, 0, 0, 1}, 3, 4, 4, bits, scratch, &e),
             E_FORMAT);
    CHECK_EQ(coco_add_polygon((double[]){0, 0, NAN, 0, 0, 1}, 3, 4, 4, bits, scratch, NULL),
             E_FORMAT);
    double *far = mem_must(200 * sizeof(*far)); /* to and fro, a million pixels each */
    for (int i = 0; i < 100; i++)
        far[2 * i] = i % 2 ? 1e6 : -1e6;
    CHECK_EQ(coco_add_polygon(far, 100, 4, 4, bits, scratch, NULL), E_TOO_BIG);
    mem_free(far);
}

/* 2 rows of 3: columns 0 1 | 1 1 | 0 0 */
TEST(eval_coco_counts_by_hand) {
    uint8_t bits[6];
    CHECK_EQ(coco_from_counts((uint32_t[]){1, 3, 2}, 3, 3, 2, bits, NULL), 0);
    CHECK_MEM(bits, ((uint8_t[6]){0, 1, 0, 1, 1, 0}), 6);
    CHECK_EQ(coco_from_counts((uint32_t[]){0, 6}, 2, 3, 2, bits, NULL), 0);
    CHECK_EQ(coco_area(bits, 6), 6);
    CHECK_EQ(coco_from_counts((uint32_t[]){6}, 1, 3, 2, bits, NULL), 0);
    CHECK_EQ(coco_area(bits, 6), 0);
    CHECK_EQ(coco_from_counts((uint32_t[]){1, 3, 1}, 3, 3, 2, bits, NULL), E_FORMAT);
    CHECK_EQ(coco_from_counts((uint32_t[]){1, 3, 3}, 3, 3, 2, bits, NULL), E_FORMAT);
    CHECK_EQ(coco_from_counts((uint32_t[]){UINT32_MAX, 7}, 2, 3, 2, bits, NULL), E_FORMAT);
}

TEST(eval_coco_text_by_hand) {
    uint32_t counts[8];
    size_t n;
    /* 5 bits a character, the lowest first, from '0'; from the fourth number on, differences */
    CHECK_EQ(coco_counts("132", counts, 8, &n, NULL), 0);
    CHECK_EQ(n, 3);
    CHECK(counts[0] == 1 && counts[1] == 3 && counts[2] == 2);
    CHECK_EQ(coco_counts("132OT1", counts, 8, &n, NULL), 0);
    CHECK_EQ(n, 5);
    CHECK(counts[3] == 2 && counts[4] == 2 + 4 + 32); /* 3 - 1; 'T' is 4 and goes on with 1 */
    CHECK_EQ(coco_counts("", counts, 8, &n, NULL), 0);
    CHECK_EQ(n, 0);
    CHECK_EQ(coco_counts("1 2", counts, 8, &n, NULL), E_FORMAT);
    CHECK_EQ(coco_counts("T", counts, 8, &n, NULL), E_FORMAT);           /* ends too early */
    CHECK_EQ(coco_counts("TTTTTTTTTT1", counts, 8, &n, NULL), E_FORMAT); /* too large */
    CHECK_EQ(coco_counts("O", counts, 8, &n, NULL), E_FORMAT);           /* -1 */
    CHECK_EQ(coco_counts("111111111", counts, 8, &n, NULL), E_TOO_BIG);
}

TEST(eval_coco_nearest) {
    /* 4 of 2: centres of the small lie at 1 and 3 of the large; 2 of 4: two each */
    CHECK(coco_nearest(0, 2, 4) == 1 && coco_nearest(1, 2, 4) == 3);
    CHECK(coco_nearest(0, 4, 2) == 0 && coco_nearest(1, 4, 2) == 0 && coco_nearest(2, 4, 2) == 1);
    CHECK(coco_nearest(0, 3, 5) == 0 && coco_nearest(1, 3, 5) == 2 && coco_nearest(2, 3, 5) == 4);
    uint8_t out[4];
    coco_resize((uint8_t[]){0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0}, 4, 4, out, 2, 2);
    CHECK_MEM(out, ((uint8_t[]){1, 1, 1, 0}), 4);
}

TEST(eval_coco_overlaps) {
    const uint8_t a[] = {1, 1, 0, 0}, b[] = {1, 0, 1, 0};
    struct coco_overlap o = coco_overlap(a, b, 4);
    CHECK(o.both == 1 && o.either == 3);
    /* 4 x 2 pixels against a grid of 2 x 2 whose left column is 1 */
    const uint8_t bits[] = {1, 1, 1, 0, 0, 0, 0, 1}, small[] = {1, 0, 1, 0};
    o = coco_overlap_full(bits, 4, 2, small, 2);
    CHECK(o.both == 2 && o.either == 6);
}
