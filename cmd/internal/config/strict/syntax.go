package strict

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 1 << 20

// splitLines splits where the YAML parser begins to count a new line: at CR LF,
// LF, CR, NEL, LS and PS.
func splitLines(text string) (lines []string) {
	start := 0
	for i, r := range text {
		switch r {
		case '\n', '\r', '\u0085', '\u2028', '\u2029':
		default:
			continue
		}
		if r == '\n' && i > 0 && text[i-1] == '\r' {
			start = i + 1 // CR LF is one
			continue
		}
		lines = append(lines, text[start:i])
		start = i + utf8.RuneLen(r)
	}
	return append(lines, text[start:])
}

const emptyFile = "the file is empty: holdfast config init prints one to begin with"

// document is the one YAML document of a file, or nil after noting why not.
func (f *File) document(text string) *yaml.Node {
	if len(text) > MaxSize {
		f.add(place{}, "is larger than %d MiB: this is no configuration file", MaxSize>>20)
		return nil
	}
	if !utf8.ValidString(text) {
		at, _ := firstInvalid(f.lines)
		f.add(at, "not UTF-8: save the file as UTF-8")
		return nil
	}
	if at, ok := firstControl(f.lines); ok {
		f.add(at, "a control character, which YAML does not allow")
		return nil
	}
	loader, err := yaml.NewLoader(strings.NewReader(text))
	if err != nil {
		f.syntax(err)
		return nil
	}
	var doc, more yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		f.add(place{1, 1}, "%s", emptyFile)
		return nil
	} else if err != nil {
		f.syntax(err)
		return nil
	}
	switch err := loader.Load(&more); {
	case err == nil:
		f.add(place{more.Line, more.Column}, "a second document begins here: a configuration is one document")
		return nil
	case !errors.Is(err, io.EOF):
		f.syntax(err)
		return nil
	}
	return doc.Content[0]
}

// syntax notes an error of the YAML parser in our words. The parser knows no
// way on after one, so that it is the only problem that is shown.
func (f *File) syntax(err error) {
	le, ok := errors.AsType[*yaml.LoadError](err)
	if !ok || le.Mark.Line == 0 {
		f.add(place{1, 1}, "not YAML: %s", err)
		return
	}
	at, opened := place{le.Mark.Line, le.Mark.Column}, place{le.ContextMark.Line, le.ContextMark.Column}
	switch {
	case strings.Contains(le.Message, "tab character") || f.tabAt(at):
		f.add(at, "a tab in the indentation: YAML is indented with spaces only")
	case strings.HasPrefix(le.Message, "mapping values are not allowed"):
		f.add(at, "a ':' that begins no value: is the line indented too far, or does a text with ': ' lack its quotes?")
	case strings.Contains(le.ContextMsg, "quoted scalar"):
		f.add(opened, "this quote is not closed")
	case strings.Contains(le.ContextMsg, "flow sequence"):
		f.add(opened, "this [ is not closed: in line %d stands something other than ',' or ']'", at.line)
	case strings.Contains(le.ContextMsg, "flow mapping"):
		f.add(opened, "this { is not closed: in line %d stands something other than ',' or '}'", at.line)
	case le.Message == "did not find expected key" || strings.Contains(le.Message, "'-' indicator"):
		f.add(at, "the indentation of this line fits none of the lines above")
	case strings.Contains(le.Message, "cannot start any token"):
		f.add(at, "no value can begin with this character: put the text in quotes")
	default:
		context := ""
		if le.ContextMsg != "" {
			context = fmt.Sprintf(" (%s)", le.ContextMsg)
		}
		f.add(at, "not YAML: %s%s", le.Message, context)
	}
}

// tabAt tells whether only blanks with a tab among them stand before a place,
// or the tab stands right there.
func (f *File) tabAt(at place) bool {
	if at.line > len(f.lines) {
		return false
	}
	line := []rune(f.lines[at.line-1])
	before := string(line[:min(at.column, len(line))])
	return strings.Contains(before, "\t") && strings.TrimLeft(before, " \t") == ""
}

// firstInvalid is the place of the first byte that is no UTF-8.
func firstInvalid(lines []string) (place, bool) {
	return firstRune(lines, func(r rune, size int) bool { return r == utf8.RuneError && size == 1 })
}

// firstControl is the place of the first character that YAML does not allow
// (YAML 1.2.2, 5.1), for which the parser knows no line.
func firstControl(lines []string) (place, bool) {
	return firstRune(lines, func(r rune, _ int) bool {
		return r < ' ' && r != '\t' && r != '\r' || r == 0x7f || r >= 0x80 && r < 0xa0 && r != 0x85 ||
			r == '\ufeff' || r == 0xfffe || r == 0xffff
	})
}

func firstRune(lines []string, is func(r rune, size int) bool) (place, bool) {
	for i, line := range lines {
		for column := 1; len(line) > 0; column++ {
			r, size := utf8.DecodeRuneInString(line)
			if is(r, size) {
				return place{i + 1, column}, true
			}
			line = line[size:]
		}
	}
	return place{}, false
}
