package jose

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// string reads a JSON string from its quote on (RFC 8259 section 7). Where it
// holds no escape the result aliases the source.
func (p *parser) string() (string, error) {
	p.at++ // "
	start := p.at
	for p.at < len(p.src) {
		switch c := p.src[p.at]; {
		case c == '"':
			p.at++
			return p.src[start : p.at-1], nil
		case c == '\\':
			return p.escaped(start)
		case c < ' ':
			return "", p.errorf("control character in a string")
		default:
			p.at++
		}
	}
	return "", p.errorf("string without end")
}

// escaped goes on with a string from its first escape.
func (p *parser) escaped(start int) (string, error) {
	var text strings.Builder
	text.WriteString(p.src[start:p.at])
	for p.at < len(p.src) {
		switch c := p.src[p.at]; {
		case c == '"':
			p.at++
			return text.String(), nil
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			text.WriteRune(r)
		case c < ' ':
			return "", p.errorf("control character in a string")
		default:
			text.WriteByte(c)
			p.at++
		}
	}
	return "", p.errorf("string without end")
}

// shortEscapes maps the letter after a backslash to what it stands for.
const (
	shortEscapes = `"\/bfnrt`
	shortMeaning = "\"\\/\b\f\n\r\t"
)

func (p *parser) escape() (rune, error) {
	p.at++ // backslash
	c := p.peek()
	if c == 'u' {
		return p.unicode()
	}
	i := strings.IndexByte(shortEscapes, c)
	if i < 0 {
		return 0, p.errorf("unknown escape")
	}
	p.at++
	return rune(shortMeaning[i]), nil
}

// unicode reads \uXXXX, and its second half where it is a surrogate. A lone
// surrogate is no character: encoding/json makes U+FFFD of it, so that two
// subjects become one.
func (p *parser) unicode() (rune, error) {
	high, ok := p.hex4()
	if !ok {
		return 0, p.errorf("no four hexadecimal digits after \\u")
	}
	if !utf16.IsSurrogate(high) {
		return high, nil
	}
	if !strings.HasPrefix(p.src[p.at:], `\u`) {
		return 0, p.errorf("lone surrogate")
	}
	p.at++
	low, ok := p.hex4()
	r := utf16.DecodeRune(high, low)
	if !ok || r == utf8.RuneError {
		return 0, p.errorf("lone surrogate")
	}
	return r, nil
}

// hex4 reads the digits after the u that is next.
func (p *parser) hex4() (r rune, ok bool) {
	p.at++ // u
	if len(p.src)-p.at < 4 {
		return 0, false
	}
	for range 4 {
		c := p.src[p.at]
		switch {
		case digit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
		p.at++
	}
	return r, true
}
