package flow

import (
	"fmt"
	"strings"
	"time"
)

// Draw draws the pipeline as text, from top to bottom; what stands side by side runs side by side.
func (p *Pipeline) Draw() string {
	var b strings.Builder
	width := 0
	for _, s := range p.Steps {
		width = max(width, len(s.Name))
	}
	for i, row := range p.Stages() {
		if i > 0 {
			b.WriteString("  │\n")
		}
		for j, s := range row {
			mark := "──"
			switch {
			case len(row) > 1 && j == 0:
				mark = "┬─"
			case len(row) > 1 && j == len(row)-1:
				mark = "└─"
			case len(row) > 1:
				mark = "├─"
			}
			fmt.Fprintf(&b, "  %s %-*s  %s\n", mark, width, s.Name, strings.Join(s.words(), ", "))
		}
	}
	return b.String()
}

// words say what is to be known of a step.
func (s Step) words() []string {
	words := []string{s.Does}
	if s.Over != "" {
		words = append(words, "for each of "+s.Over)
	}
	if s.Gate {
		return append(words, "waits for a person")
	}
	words = append(words, "at most "+short(time.Duration(s.Timeout)))
	if n := s.Retry.Policy().Attempts; n > 1 {
		words = append(words, fmt.Sprintf("%d attempts", n))
	}
	return words
}

// short writes 10m for 10m0s.
func short(d time.Duration) string {
	text := strings.TrimSuffix(d.String(), "0s")
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
