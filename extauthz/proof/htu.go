package proof

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// htu is compared after RFC 3986, 6.2.2 (case, percent-encoding, dot segments)
// and 6.2.3 (default port, empty path), and nothing else: what is no URI at
// all has no normal form and equals nothing.

// target is a URI without its query and fragment (RFC 9449, 4.3 check 9).
type target struct{ scheme, authority, path string }

// splitTarget takes an absolute URI with an authority apart.
func splitTarget(uri string) (t target, ok bool) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return target{}, false
	}
	rest = withoutQuery(rest)
	end := strings.IndexByte(rest, '/')
	if end < 0 {
		end = len(rest)
	}
	return target{scheme, rest[:end], rest[end:]}, true
}

func withoutQuery(path string) string {
	if end := strings.IndexAny(path, "?#"); end >= 0 {
		return path[:end]
	}
	return path
}

// appendOrigin writes the normal form of scheme and authority; ok is false for
// what is no http(s) URI.
func (t target) appendOrigin(dst []byte) (normal []byte, ok bool) {
	defaultPort := ""
	switch {
	case equalASCII(t.scheme, "https"):
		dst, defaultPort = append(dst, "https://"...), "443"
	case equalASCII(t.scheme, "http"):
		dst, defaultPort = append(dst, "http://"...), "80"
	default:
		return dst, false
	}
	host, port, ok := splitPort(t.authority)
	if !ok {
		return dst, false
	}
	if dst, ok = appendHost(dst, host); !ok {
		return dst, false
	}
	if port != "" && port != defaultPort {
		dst = append(append(dst, ':'), port...)
	}
	return dst, true
}

// equalASCII compares without case. Of one length, so that no letter of
// another alphabet that folds to one of these passes.
func equalASCII(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// splitPort cuts host[:port] (RFC 3986, 3.2). User information is refused: no
// request line has it, and it dresses one host up as another.
func splitPort(authority string) (host, port string, ok bool) {
	host = authority
	at := strings.LastIndexByte(authority, ':')
	if at >= 0 && at > strings.LastIndexByte(authority, ']') {
		host, port = authority[:at], authority[at+1:]
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return "", "", false
		}
	}
	if literal, bracket := strings.CutPrefix(host, "["); bracket {
		inner, closed := strings.CutSuffix(literal, "]")
		return host, port, closed && inner != "" && !strings.ContainsAny(inner, "[]@%")
	}
	return host, port, host != "" && !strings.ContainsAny(host, ":@[]")
}

func appendHost(dst []byte, host string) (normal []byte, ok bool) {
	start := len(dst)
	if dst, ok = appendDecoded(dst, host); !ok {
		return dst, false
	}
	for i := start; i < len(dst); i++ {
		switch c := dst[i]; {
		case c == '%':
			i += 2 // its digits stay upper case
		case 'A' <= c && c <= 'Z':
			dst[i] = c + ('a' - 'A')
		}
	}
	return dst, true
}

// appendPath writes an absolute path without dot segments (RFC 3986, 5.2.4).
// Segments that are empty or that end in a slash are no dots and stay.
func appendPath(dst []byte, path string) (normal []byte, ok bool) {
	if path == "" {
		return append(dst, '/'), true
	}
	if path[0] != '/' {
		return dst, false // OPTIONS *, or the absolute form
	}
	root := len(dst)
	for path != "" {
		segment, rest := path[1:], ""
		if end := strings.IndexByte(segment, '/'); end >= 0 {
			segment, rest = segment[:end], segment[end:]
		}
		path = rest
		start := len(dst)
		dst = append(dst, '/')
		if dst, ok = appendDecoded(dst, segment); !ok {
			return dst, false
		}
		switch string(dst[start+1:]) {
		case ".":
			dst = dst[:start]
		case "..":
			dst = dst[:start]
			if parent := bytes.LastIndexByte(dst[root:], '/'); parent >= 0 {
				dst = dst[:root+parent]
			}
		default:
			continue
		}
		if rest == "" {
			dst = append(dst, '/')
		}
	}
	return dst, true
}

const upperHex = "0123456789ABCDEF"

// appendDecoded decodes what needs no escape and writes the other escapes in
// upper case (RFC 3986, 6.2.2.1 and 6.2.2.2). %2F stays: it is no slash.
func appendDecoded(dst []byte, text string) (normal []byte, ok bool) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '%':
			if len(text)-i < 3 {
				return dst, false
			}
			high, low := unhex(text[i+1]), unhex(text[i+2])
			if high > 15 || low > 15 {
				return dst, false
			}
			i += 2
			if c = high<<4 | low; unreserved(c) {
				dst = append(dst, c)
			} else {
				dst = append(dst, '%', upperHex[high], upperHex[low])
			}
		case c <= ' ' || c == 0x7f:
			return dst, false
		default:
			dst = append(dst, c)
		}
	}
	return dst, true
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// unreserved are the characters of RFC 3986, 2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// origin is a public scheme and authority that htu may name.
type origin struct {
	normal string // https://api.example:8443
	host   string // api.example
}

func parseOrigin(text string) (o origin, err error) {
	t, ok := splitTarget(text)
	if !ok || strings.ContainsAny(text, "?#") || t.path != "" && t.path != "/" {
		return origin{}, fmt.Errorf("origin %.128q is not scheme://host[:port]", text)
	}
	normal, ok := t.appendOrigin(nil)
	if !ok {
		return origin{}, fmt.Errorf("origin %.128q is not http(s)://host[:port]", text)
	}
	o = origin{normal: string(normal), host: hostName(t.authority)}
	if strings.Contains(o.host, "*") {
		return origin{}, errors.New("an origin has no wildcards: name each one")
	}
	return o, nil
}

// hostName is the host alone, as routes compare hosts: without case, port and
// one trailing dot.
func hostName(authority string) string {
	host, _, ok := splitPort(authority)
	if !ok {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

type origins []origin

// name tells whether htu is the URI of the request. Where origins are
// configured they stand for the request's scheme and authority, which a proxy
// in front may have changed: those of the request's own host, so that a proof
// for one site is none for another; all of them where none has that host.
func (all origins) name(htu, scheme, host, path string) bool {
	var spaceGot, spaceWant [256]byte
	named, ok := splitTarget(htu)
	if !ok {
		return false
	}
	got, okGot := appendPath(spaceGot[:0], named.path)
	want, okWant := appendPath(spaceWant[:0], withoutQuery(path))
	if !okGot || !okWant || !bytes.Equal(got, want) {
		return false
	}
	if got, ok = named.appendOrigin(got[:0]); !ok {
		return false
	}
	if len(all) == 0 {
		want, ok = target{scheme: scheme, authority: host}.appendOrigin(want[:0])
		return ok && bytes.Equal(got, want)
	}
	own := hostName(host)
	var anyNamed, hasOwn, ownNamed bool
	for i := range all {
		same := all[i].normal == string(got)
		anyNamed = anyNamed || same
		if all[i].host == own {
			hasOwn, ownNamed = true, ownNamed || same
		}
	}
	if hasOwn {
		return ownNamed
	}
	return anyNamed
}
