// Scores texts with two lists of words. The contract is wit/predict.wit.

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/guest.h"

static const char *const POSITIVE[] = {
    "amazing",   "beautiful", "best", "brilliant", "charming", "delight", "delightful", "enjoyed",
    "excellent", "fantastic", "fun",  "funny",     "good",     "great",   "happy",      "love",
    "loved",     "lovely",    "nice", "perfect",   "superb",   "warm",    "wonderful",  NULL};
static const char *const NEGATIVE[] = {
    "annoying", "awful",    "bad",  "boring", "broke",  "broken", "disappointing", "dull",
    "hate",     "hated",    "horrible", "lazy", "mess",   "poor",   "refund", "sad",
    "slow",     "terrible", "ugly", "waste",  "wastes", "worst",  NULL};

static bool contains(const char *const *list, const char *word, size_t length) {
  for (; *list; list++)
    if (strlen(*list) == length && memcmp(*list, word, length) == 0) return true;
  return false;
}

typedef exports_fastsentiment_predict_predictor_score_t score_t;
typedef exports_fastsentiment_predict_predictor_list_score_t scores_t;

// Sets every label of a text, highest score first.
static void score(const guest_string_t *text, scores_t *scores) {
  // One of each is added, so that a text without known words is a tie.
  float good = 1, bad = 1;
  char word[32];
  size_t length = 0;
  for (size_t at = 0; at <= text->len; at++) {
    int letter = at < text->len ? tolower(text->ptr[at]) : 0;
    if (letter >= 'a' && letter <= 'z') {
      // No word of the lists is as long.
      if (length < sizeof word) word[length++] = (char)letter;
      continue;
    }
    good += contains(POSITIVE, word, length);
    bad += contains(NEGATIVE, word, length);
    length = 0;
  }
  bool is_good = good >= bad;
  scores->len = 2;
  scores->ptr = malloc(2 * sizeof(score_t));
  guest_string_dup(&scores->ptr[is_good ? 0 : 1].label, "POSITIVE");
  scores->ptr[is_good ? 0 : 1].score = good / (good + bad);
  guest_string_dup(&scores->ptr[is_good ? 1 : 0].label, "NEGATIVE");
  scores->ptr[is_good ? 1 : 0].score = bad / (good + bad);
}

// Answers every text, in order. The bindings free what this allocates.
bool exports_fastsentiment_predict_predictor_predict(
    guest_list_string_t *texts, exports_fastsentiment_predict_predictor_list_list_score_t *answer,
    exports_fastsentiment_predict_predictor_error_t *error) {
  (void)error;
  answer->len = texts->len;
  answer->ptr = calloc(texts->len + 1, sizeof(scores_t));
  for (size_t at = 0; at < texts->len; at++) score(&texts->ptr[at], &answer->ptr[at]);
  guest_list_string_free(texts);
  return true;
}
