package extauthz

import (
	"strings"
	"unicode/utf8"
)

// canonicalPath gives the one form of a request's path that routes are
// matched against: without the query, percent-escapes decoded once and written
// again the same way for every spelling. ok is false where proxy and
// application may read the path differently (contract §10, Paths): then no
// match on it can be trusted. It does not allocate for a path without escapes.
//
// Never use net/url here: it takes //admin/x for a host (CVE-2026-26205).
func canonicalPath(target string) (path string, ok bool) {
	path, _, _ = strings.Cut(target, "?")
	if path == "" || path[0] != '/' {
		return path, false // empty, "*", or absolute form
	}
	plain := true
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c <= ' ', c == 0x7f, c == '\\', c == ';', c == '#':
			return path, false
		case c == '%', c >= utf8.RuneSelf:
			plain = false
		}
	}
	if plain {
		return path, segmentsPlain(path)
	}
	decoded, ok := unescapeOnce(path)
	if !ok || !segmentsPlain(decoded) || !utf8.ValidString(decoded) || hidesMore(decoded) {
		return path, false
	}
	return escape(decoded), true
}

// segmentsPlain refuses empty and dot segments. A trailing slash is no empty
// segment: /a and /a/ are two paths.
func segmentsPlain(path string) bool {
	for rest := path[1:]; ; {
		segment, tail, more := strings.Cut(rest, "/")
		if segment == "." || segment == ".." || segment == "" && more {
			return false
		}
		if !more {
			return true
		}
		rest = tail
	}
}

// unescapeOnce decodes every percent-escape once. It refuses a broken escape,
// an escaped slash or backslash, and escaped control bytes.
func unescapeOnce(s string) (string, bool) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		c, ok := escapedByte(s[i:])
		if !ok || splitsPath(c) {
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), true
}

// splitsPath are the bytes that must not hide behind an escape.
func splitsPath(c byte) bool { return c == '/' || c == '\\' || c < ' ' || c == 0x7f }

// hidesMore looks through escapes that became visible by decoding (%25...):
// whoever decodes once more must not find a separator, a NUL or a dot there.
func hidesMore(s string) bool {
	for range maxUnescapes {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return false
		}
		var next strings.Builder
		found := false
		for i := 0; i < len(s); i++ {
			c, ok := byte(0), false
			if s[i] == '%' {
				c, ok = escapedByte(s[i:])
			}
			if !ok {
				next.WriteByte(s[i])
				continue
			}
			if splitsPath(c) || c == '.' {
				return true
			}
			next.WriteByte(c)
			found = true
			i += 2
		}
		if !found {
			return false
		}
		s = next.String()
	}
	return true
}

// maxUnescapes bounds how deep escapes are looked through: who nests them
// deeper hides something, and looking costs the length of the path each time.
const maxUnescapes = 4

func escapedByte(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, okHi := unhex(s[1])
	lo, okLo := unhex(s[2])
	return hi<<4 | lo, okHi && okLo
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

const upperHex = "0123456789ABCDEF"

// escape writes a decoded path in the canonical form: RFC 3986 pchar and "/"
// as they are, except ";", everything else escaped with upper-case digits.
func escape(s string) string { return percentEncode(s, literal) }

// percentEncode escapes every byte that is not to stand as it is.
func percentEncode(s string, asItIs func(byte) bool) string {
	var b strings.Builder
	b.Grow(len(s) + 8)
	for i := 0; i < len(s); i++ {
		if c := s[i]; asItIs(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
	return b.String()
}

func literal(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-._~!$&'()*+,=:@/", c) >= 0
}

// canonicalHost is the form of an authority that hosts are compared in: without case,
// port and one trailing dot.
func canonicalHost(host string) (string, bool) {
	name := host
	if strings.HasPrefix(name, "[") { // IPv6 literal
		end := strings.IndexByte(name, ']')
		if end < 0 || !validPort(name[end+1:]) {
			return "", false
		}
		name = name[:end+1]
	} else if i := strings.IndexByte(name, ':'); i >= 0 {
		if !validPort(name[i:]) {
			return "", false
		}
		name = name[:i]
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" || name[0] == '.' || strings.Contains(name, "..") || name[len(name)-1] == '.' {
		return "", false // an empty label
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("@/\\?#%,;", c) >= 0 {
			return "", false
		}
	}
	return lower(name), true
}

// validPort takes "" and ":digits".
func validPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) > len(":65535") {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// lower is strings.ToLower for ASCII; it allocates only where it changes something.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}
