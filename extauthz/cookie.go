package extauthz

import "strings"

// Bounds of all Cookie fields of a request together. Browsers keep a few
// hundred cookies a site, and servers take far less than this.
const (
	maxCookies     = 1000
	maxCookieBytes = 64 << 10
)

// cookieValue looks for a cookie in all Cookie fields of a request, by the
// syntax of RFC 6265bis, 4.2.1. n is how often its name is there: more than
// once means that somebody may have tossed one in from another host or path,
// and no order says which (4.2.2). So, for the caller:
//
//	n == 0, ok    no such cookie
//	n == 1, ok    value is it
//	n == 1, !ok   a value that is not taken: no credential
//	n  > 1, !ok   ambiguous
//	n == 0, !ok   more than maxCookies or maxCookieBytes: nothing was looked for
//
// The name is compared byte by byte. A browser keeps the promise of __Host-
// for __host- and __HOST- too, but a server that took them would take what an
// older browser lets anyone set. "=name=v" has no name and is not ours, nor is
// $Version, after which RFC 2965 would read the rest in another way.
//
// A value in quotes is not taken: readers differ on whether they belong to it.
// Nor is one with a byte that no cookie value has, or an empty one.
//
// Envoy joins Cookie fields in map mode with a comma. A comma inside a value,
// which browsers let any host of the site set, looks the same:
// "theme=a,__Host-session=v" may be two fields or one cookie of a neighbour's.
// So a cookie that a comma touches counts twice, which is ambiguous: no session
// is read out of another cookie's value. Only HTTP/1 clients that send several
// Cookie fields meet this, and raw headers spare them.
//
// value aliases the request. Nothing is allocated.
func cookieValue(req *Request, name string) (value string, n int, ok bool) {
	cookies, bytes := 0, 0
	for i := range req.Headers {
		if !strings.EqualFold(req.Headers[i].Name, "cookie") {
			continue
		}
		field := req.Headers[i].Value
		if bytes += len(field); bytes > maxCookieBytes {
			return "", 0, false
		}
		for before, more := byte(';'), true; more; {
			pair, next := field, byte(0)
			if end := strings.IndexAny(field, ";,"); end >= 0 {
				pair, next, field = field[:end], field[end], field[end+1:]
			} else {
				more = false
			}
			if cookies++; cookies > maxCookies {
				return "", 0, false
			}
			v, ours := cookieNamed(pair, name)
			if ours {
				if n++; before == ',' || next == ',' {
					n++
				}
				value, ok = v, isCookieValue(v)
			}
			before = next
		}
	}
	switch {
	case n == 0:
		return "", 0, true
	case n > 1 || !ok:
		return "", n, false
	}
	return value, 1, true
}

// cookieNamed is the value of a cookie-pair with this name. The white space
// after a semicolon belongs to neither.
func cookieNamed(pair, name string) (value string, ours bool) {
	pair = strings.TrimLeft(pair, " \t")
	if len(pair) <= len(name) || pair[len(name)] != '=' || pair[:len(name)] != name {
		return "", false
	}
	return pair[len(name)+1:], true
}

// isCookieValue tells whether a value consists of cookie-octets: no control
// bytes, white space, quotes, commas, semicolons, backslashes, nor anything
// beyond ASCII.
func isCookieValue(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f, c == '"', c == ',', c == ';', c == '\\':
			return false
		}
	}
	return s != ""
}
