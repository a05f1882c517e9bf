// Package export_fastsentiment_predict_predictor scores texts with two lists of words. The
// contract is wit/predict.wit. The bindings expect this name.
package export_fastsentiment_predict_predictor

import (
	"strings"

	. "go.bytecodealliance.org/pkg/wit/types"
	. "wit_component/fastsentiment_predict_predictor"
)

var positive = words(`amazing beautiful best brilliant charming delight delightful enjoyed
	excellent fantastic fun funny good great happy love loved lovely nice perfect superb warm
	wonderful`)

var negative = words(`annoying awful bad boring broke broken disappointing dull hate hated horrible
	lazy mess poor refund sad slow terrible ugly waste wastes worst`)

func words(list string) map[string]bool {
	words := map[string]bool{}
	for _, word := range strings.Fields(list) {
		words[word] = true
	}
	return words
}

// Predict answers every text, in order.
func Predict(texts []string) Result[[][]Score, Error] {
	answer := [][]Score{}
	for _, text := range texts {
		answer = append(answer, score(text))
	}
	return Ok[[][]Score, Error](answer)
}

// score returns every label of a text, highest score first.
func score(text string) []Score {
	isOther := func(letter rune) bool { return letter < 'a' || letter > 'z' }
	// One of each is added, so that a text without known words is a tie.
	good, bad := float32(1), float32(1)
	for _, word := range strings.FieldsFunc(strings.ToLower(text), isOther) {
		if positive[word] {
			good++
		}
		if negative[word] {
			bad++
		}
	}
	first := Score{Label: "POSITIVE", Score: good / (good + bad)}
	second := Score{Label: "NEGATIVE", Score: bad / (good + bad)}
	if second.Score > first.Score {
		first, second = second, first
	}
	return []Score{first, second}
}
