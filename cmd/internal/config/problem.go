package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxProblems = 200 // shown of one file; a file with more is not ours at all
	maxShown    = 120 // runes of an offending line that are shown
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File    string
	Line    int // from 1; 0 where the problem is the file itself
	Column  int // from 1, in characters
	Message string
	Text    string // the line itself
}

// Summary is the problem on one line: file:line:column: message.
func (p Problem) Summary() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// String is the problem with the line that has it and a caret below the place.
func (p Problem) String() string {
	if p.Line == 0 || strings.TrimSpace(p.Text) == "" {
		return p.Summary()
	}
	text, caret := excerpt(p.Text, p.Column)
	return fmt.Sprintf("%s\n    %s\n    %s^", p.Summary(), text, caret)
}

// excerpt is the part of a line around a column that fits on a screen, and the
// blanks that bring a caret below the column. Nothing in it can move a
// terminal's cursor: tabs become blanks and control characters dots.
func excerpt(line string, column int) (text, caret string) {
	runes := []rune(line)
	for i, r := range runes {
		switch {
		case r == '\t':
			runes[i] = ' '
		case !unicode.IsPrint(r):
			runes[i] = '·'
		}
	}
	at := min(max(column-1, 0), len(runes))
	from, to := 0, len(runes)
	if to > maxShown {
		from = max(0, min(at-maxShown/2, to-maxShown))
		to = from + maxShown
	}
	text = string(runes[from:to])
	if from > 0 {
		text, at = "…"+text, at+1
	}
	if to < len(runes) {
		text += "…"
	}
	return text, strings.Repeat(" ", at-from)
}

// place is where something stands in the file.
type place struct{ line, column int }

// source is a file's name and lines, and the problems found in it so far.
type source struct {
	name     string
	lines    []string
	problems []Problem
}

// password finds the secret of a URL with a user: messages end up in logs.
var password = regexp.MustCompile(`://[^\s/@"']*@`)

// mask keeps the width, so that columns stay right.
func mask(s string) string { return "://" + strings.Repeat("*", utf8.RuneCountInString(s)-4) + "@" }

func (s *source) add(at place, format string, args ...any) {
	p := Problem{File: s.name, Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...)}
	if at.line >= 1 && at.line <= len(s.lines) {
		p.Text = password.ReplaceAllStringFunc(s.lines[at.line-1], mask)
	}
	s.problems = append(s.problems, p)
}

// sorted are the problems from the top of the file to its end, without those
// that say the same of the same place (an anchor that is used twice).
func (s *source) sorted() []Problem {
	slices.SortStableFunc(s.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	out := slices.Compact(s.problems)
	if more := len(out) - maxProblems; more > 0 {
		last := out[maxProblems]
		last.Message = fmt.Sprintf("and %d more problems from here on: mend those above first", more)
		out = append(out[:maxProblems:maxProblems], last)
	}
	return out
}

// quote shows a value of the file: short, on one line, harmless to a terminal.
func quote(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

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

// didYouMean is the end of a message about an unknown word.
func didYouMean(s string, candidates []string) string {
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
