package strict

import (
	"fmt"
	"strings"
)

// nearest is the candidate that s was most likely meant to be, or "".
func nearest(s string, candidates []string) string {
	if len(s) > 64 {
		return ""
	}
	s = strings.ToLower(s)
	best, least := "", min(3, max(1, len(s)/3))+1
	for _, c := range candidates {
		word := strings.ToLower(c)
		d := distance(s, word)
		switch {
		case s == strings.ReplaceAll(word, "_", ""): // camelCase
			d = 0
		case len(s) >= 3 && strings.HasPrefix(word, s):
			d = min(d, 1)
		}
		if d < least && c != "" {
			best, least = c, d
		}
	}
	return best
}

// DidYouMean is the end of a message about an unknown word.
func DidYouMean(s string, candidates []string) string {
	if c := nearest(s, candidates); c != "" {
		return fmt.Sprintf("; did you mean %s?", c)
	}
	return ""
}

// distance counts the edits that make a into b: a letter more, less or other,
// or two neighbours swapped (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
