package strict

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxProblems = 200  // of one file that are shown; a file with more is not ours at all
	maxKept     = 2000 // that are remembered, of which the first are shown
	maxShown    = 120  // runes of an offending line that are shown
)

// Problem is one thing that is wrong with a file.
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

// printable keeps what is shown from moving a terminal's cursor: tabs become
// blanks and control characters dots.
func printable(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case !unicode.IsPrint(r):
		return '·'
	}
	return r
}

// excerpt is the part of a line around a column that fits on a screen, and the
// blanks that bring a caret below the column.
func excerpt(line string, column int) (text, caret string) {
	runes := []rune(strings.Map(printable, line))
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

// password finds the secret of a URL with a user: messages end up in logs.
var password = regexp.MustCompile(`://[^\s/@"']*@`)

// mask keeps the width, so that columns stay right.
func mask(s string) string { return "://" + strings.Repeat("*", utf8.RuneCountInString(s)-4) + "@" }

// Quote shows a value of the file: short, on one line, harmless to a terminal.
func Quote(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
